package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"helm.sh/helm/v4/pkg/release/common"
	helm "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/failpoint"
)

const (
	maxHistory = 10 // as Helm itself keeps
	maxTries   = 10 // of finding a revision that nobody else takes
)

var errBusy = errors.New("others keep writing revisions of it")

// Request asks for the record of one release on one target.
type Request struct {
	Target    apply.Target
	Stamp     apply.Stamp
	Manifests []byte
	Adopt     bool // take over a release that Slipway did not write
	Back      bool // a rollback: a release of others is left alone
}

// Outcome is what became of the record.
type Outcome struct {
	Name     string // of the Helm release; empty: none is wanted
	Revision int    // the newest
	Written  bool   // now, not before
	Removed  int    // records, of a release that is no Helm release any more
	Left     string // why nothing was written
	Refused  []manifest.Refusal
}

// String is for people; empty: there is nothing to say.
func (o Outcome) String() string {
	switch {
	case o.Left != "":
		return fmt.Sprintf("Helm release %q is left as it is: %s", o.Name, o.Left)
	case o.Name != "":
		return fmt.Sprintf("Helm release %q has revision %d", o.Name, o.Revision)
	case o.Removed > 0:
		return fmt.Sprintf("%d revisions of the Helm release deleted", o.Removed)
	default:
		return ""
	}
}

// book is the history of one release.
type book struct {
	store  *storage.Storage
	wanted *helm.Release
	req    Request
	cl     *cluster.Cluster
}

func newBook(ctx context.Context, c *cluster.Cluster, req Request, dry bool) (*book, error) {
	wanted := manifest.ChartOf(req.Manifests)
	if wanted == nil {
		return nil, nil //nolint:nilnil // Helm is to know nothing
	}
	record, err := describe(req, wanted)
	if err != nil {
		return nil, fmt.Errorf("record of Helm release %q: %w", wanted.Release, err)
	}
	return &book{store: open(ctx, c, req.Target.Namespace, dry), wanted: record, req: req, cl: c}, nil
}

// Check asks whether the record could be written: that the release is Slipway's or to be taken over, that the deployer may write
// it, and that the cluster takes its size. It writes nothing.
func Check(ctx context.Context, c *cluster.Cluster, req Request) ([]manifest.Refusal, error) {
	b, err := newBook(ctx, c, req, true)
	if b == nil || err != nil {
		return nil, err
	}
	history, err := b.history()
	if err != nil {
		return nil, err
	}
	last := newest(history)
	if refused, err := b.admit(last); err != nil || len(refused) > 0 {
		return refused, err
	}
	record := follow(b.wanted, last, req, 0)
	err = b.store.Driver.Create(key(record), record)
	if errors.Is(err, driver.ErrReleaseExists) || apierrors.IsNotFound(err) { // taken meanwhile, or no namespace yet: the write will tell
		return nil, nil
	}
	return b.refusal(err)
}

// Write makes the record the newest revision, unless the newest says the same already. The error is in ErrSuperseded's chain when
// a newer lease was there first.
func Write(ctx context.Context, c *cluster.Cluster, req Request) (Outcome, error) {
	b, err := newBook(ctx, c, req, false)
	if err != nil {
		return Outcome{}, err
	}
	if b == nil {
		return remove(ctx, c, req)
	}
	out := Outcome{Name: b.wanted.Name}
	for range maxTries {
		history, err := b.history()
		if err != nil {
			return out, err
		}
		last := newest(history)
		refused, err := b.admit(last)
		switch {
		case err != nil:
			return out, err
		case len(refused) > 0 && req.Back:
			out.Left = refused[0].Reason
			return out, nil
		case len(refused) > 0:
			out.Refused = refused
			return out, nil
		case last != nil && b.ours(last) && last.Info.Status == common.StatusDeployed && same(last, b.wanted):
			out.Revision = last.Version
			return out, b.supersede(history, last.Version)
		}
		record := follow(b.wanted, last, req, b.earlier(history))
		failpoint.Hit(failpoint.RecordBefore)
		err = b.store.Create(record)
		c.Reads.Forget(func(key any) bool { return key == bareKey(req.Target.Namespace) })
		if errors.Is(err, driver.ErrReleaseExists) {
			continue
		}
		if out.Refused, err = b.refusal(err); err != nil || len(out.Refused) > 0 {
			return out, err
		}
		out.Revision, out.Written = record.Version, true
		failpoint.Hit(failpoint.RecordWritten)
		return out, b.supersede(history, record.Version)
	}
	return out, fmt.Errorf("cluster %q: Helm release %q: %w (%d tries)", c.Name(), out.Name, errBusy, maxTries)
}

// admit refuses a release that is not Slipway's to go on with.
func (b *book) admit(last *helm.Release) ([]manifest.Refusal, error) {
	if last == nil {
		return nil, nil
	}
	if b.ours(last) {
		return nil, checkFence(last.Name, last.Labels, b.req)
	}
	status := last.Info.Status
	what := fmt.Sprintf("exists in namespace %s already at revision %d (%s), which Slipway did not write", b.req.Target.Namespace, last.Version, status)
	switch {
	case status == common.StatusUninstalled:
		return nil, nil
	case status.IsPending() || status == common.StatusUninstalling:
		what += "; Helm is in the middle of it: let it end, or end it with helm rollback or helm uninstall"
	case b.req.Adopt:
		return nil, nil
	default:
		what += "; slipway run --adopt takes it over and goes on with its next revision, or give the service another name"
	}
	return []manifest.Refusal{{Object: fmt.Sprintf("Helm release %q", last.Name), Reason: what}}, nil
}

// checkFence reads the fence of a record, which Helm has only labels for.
func checkFence(name string, labels map[string]string, req Request) error {
	ref := manifest.Ref{Name: name}
	ref.Kind = "Helm release"
	return apply.CheckFence(&metav1.ObjectMeta{Annotations: labels}, ref, req.Stamp.Fence)
}

func (b *book) ours(r *helm.Release) bool {
	return owned(r.Labels, strconv.Itoa(r.Version), b.req.Target)
}

// earlier is the revision that a rollback goes back to; 0: none that is kept.
func (b *book) earlier(history []*helm.Release) int {
	if !b.req.Back {
		return 0
	}
	for _, r := range slices.Backward(history) {
		if b.ours(r) && same(r, b.wanted) {
			return r.Version
		}
	}
	return 0
}

// supersede marks what came before a revision. A repeat does what an earlier attempt left undone.
func (b *book) supersede(history []*helm.Release, revision int) error {
	for _, r := range history {
		if r.Version >= revision || r.Info.Status != common.StatusDeployed {
			continue
		}
		r.Info.Status = common.StatusSuperseded
		if err := b.store.Update(r); err != nil && !apierrors.IsNotFound(err) { // the oldest made room
			return b.explain("supersede revision "+strconv.Itoa(r.Version), err)
		}
	}
	return nil
}

// history are the revisions, the oldest first.
func (b *book) history() ([]*helm.Release, error) {
	found, err := b.store.History(b.wanted.Name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, b.explain("read", err)
	}
	var out []*helm.Release
	for _, r := range found {
		if record, ok := r.(*helm.Release); ok && record.Info != nil {
			out = append(out, record)
		}
	}
	slices.SortFunc(out, func(a, b *helm.Release) int { return a.Version - b.Version })
	return out, nil
}

func newest(history []*helm.Release) *helm.Release {
	if len(history) == 0 {
		return nil
	}
	return history[len(history)-1]
}

func key(r *helm.Release) string {
	return fmt.Sprintf("%s.%s.v%d", storage.HelmStorageType, r.Name, r.Version)
}

func (b *book) explain(doing string, err error) error {
	return b.cl.Explain(fmt.Sprintf("%s Helm release %q", doing, b.wanted.Name), err)
}

// refusal tells a "no" to the record from a cluster that could not be asked.
func (b *book) refusal(err error) ([]manifest.Refusal, error) {
	if err == nil {
		return nil, nil
	}
	explained := b.explain("record", err)
	var farm *cluster.Error
	no := apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsRequestEntityTooLargeError(err)
	if errors.As(explained, &farm) || !no {
		return nil, explained
	}
	return []manifest.Refusal{{
		Object: fmt.Sprintf("Helm release %q", b.wanted.Name),
		Reason: fmt.Sprintf("the cluster does not take the Secret that Helm keeps it in: %v; with mode: apply none is kept", err),
	}}, nil
}
