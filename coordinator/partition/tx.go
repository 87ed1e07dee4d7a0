package partition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/planted"
)

// Tx is what a command may ask and do. It is valid inside the command only.
type Tx struct{ o *owner }

// State is what the partition serves, for reading and inside the command only. Once the
// partition has ended it does not change.
func (tx *Tx) State() *project.State { return tx.o.st }

// Until ends when the time of this owner does. Whoever follows a run hears nothing more of
// it here then.
func (tx *Tx) Until() context.Context { return tx.o.ctx }

// Epoch of the partition under this owner.
func (tx *Tx) Epoch() uint64 { return tx.o.epoch }

// Unhurried: nobody waits for the answer to this command, which did nothing but give leases
// early.
func (tx *Tx) Unhurried() { tx.o.patient++ }

// Worker is a process that holds leases.
type Worker struct {
	Name     string
	Instance string
}

// Ref names a lease.
type Ref struct {
	Token   string
	Attempt int
	Fence   run.Fence
}

// Sink is the way to a worker. It is called from the partition's goroutine and must not block.
type Sink interface {
	Revoke(ref Ref, message string)
}

type lease struct {
	r        *run.Run
	t        *run.Task
	ref      Ref
	worker   Worker
	sink     Sink
	deadline time.Time
}

func (l *lease) revoke(message string) {
	if l.sink != nil {
		l.sink.Revoke(l.ref, message)
	}
}

// Work is a lease with everything that the task needs from the tasks before it.
type Work struct {
	Ref       Ref
	Run       string
	Project   string
	Commit    string
	TraceID   string
	Trusted   bool // the commit is no stranger's: the task may have secrets, and what it builds be in a cache for others
	Dirty     bool // the commit is somebody's working tree, which nobody else will build
	Task      *plan.Task
	Images    map[string]string // build, test: name of a context → image; render: image name → image
	Manifests string            // apply: what to apply; rollback: what to undo
	Release   string            // the run's
	Stable    project.Stable    // rollback: what to go back to; empty Manifests: nothing was there
	Timing    []plan.Item       // of a shard: how long the items of its test usually take

	Artifacts []plan.Artifact // of each Use of a test, in its order; the zero one: it was not left
}

// Submission is a plan that wants to become a run.
type Submission struct {
	Plan        *plan.Plan
	PlanHash    string // stored already
	SubmittedBy string
	Origin      run.Origin
	Key         string
	RequestHash string
	TraceID     func(runID string) string
}

// Accept makes a run of a plan. replayed: the key was used for the same request before.
func (tx *Tx) Accept(s Submission) (id string, replayed bool, err error) {
	o := tx.o
	p := o.st.Project(s.Plan.Project)
	if k, ok := p.Key(s.Key); ok {
		if k.RequestHash != s.RequestHash {
			return "", false, fmt.Errorf("%w: %q began run %s", ErrKeyReused, s.Key, k.Run)
		}
		return k.Run, true, nil
	}
	id = fmt.Sprintf("%s-%d-%s", s.Plan.Project, p.Next(), o.cfg.Suffix())
	o.plan, o.planHash = s.Plan, s.PlanHash
	defer func() { o.plan = nil }()
	o.emit(run.Accepted{
		Run: id, Number: p.Next(), Project: s.Plan.Project, Repository: s.Plan.Repository, Ref: s.Plan.Ref, Commit: s.Plan.Commit, Dirty: s.Plan.Dirty,
		PlanHash: s.PlanHash, SubmittedBy: s.SubmittedBy, Origin: s.Origin, IdempotencyKey: s.Key, RequestHash: s.RequestHash, TraceID: s.TraceID(id),
	})
	o.supersede(s.Plan, id)
	return id, false, nil
}

// Replayed answers the run that an idempotency key began.
func (tx *Tx) Replayed(project, key, requestHash string) (id string, err error) {
	k, ok := tx.o.st.Project(project).Key(key)
	if !ok {
		return "", ErrNotFound
	}
	if k.RequestHash != requestHash {
		return "", fmt.Errorf("%w: %q began run %s", ErrKeyReused, key, k.Run)
	}
	return k.Run, nil
}

// Run answers a copy of a run by id, by "<project>-<number>", or the newest by "latest". Of
// one that left the state it answers an ArchivedError.
func (tx *Tx) Run(name string) (*run.Run, error) {
	if r, ok := tx.o.st.Run(name); ok {
		return r.Snapshot(), nil
	}
	for _, r := range tx.o.st.Runs("", 1<<30) {
		if name == "latest" || strings.HasPrefix(r.ID, name+"-") && name == fmt.Sprintf("%s-%d", r.Project, r.Number) {
			return r.Snapshot(), nil
		}
	}
	if a, ok := tx.o.st.Archive(name); ok {
		return nil, &ArchivedError{Run: a.Run, Blob: a.Blob, Logs: a.Logs}
	}
	return nil, fmt.Errorf("run %q: %w", name, ErrNotFound)
}

// Runs answers copies without tasks, newest first.
func (tx *Tx) Runs(project string, limit int) []*run.Run {
	runs := tx.o.st.Runs(project, limit)
	out := make([]*run.Run, len(runs))
	for i, r := range runs {
		out[i] = r.Head()
	}
	return out
}

// Token names a task on the wire.
func (tx *Tx) Token(r *run.Run, t *run.Task) string { return tx.o.token(r, t) }

// Known answers the result of a digest in a project.
func (tx *Tx) Known(project, digest string) (project.Known, bool) {
	return tx.o.st.Project(project).Known(digest)
}

// Items are how long the parts of a test usually take; none: it was not measured.
func (tx *Tx) Items(project, test string) []plan.Item { return tx.o.st.Project(project).Items(test) }

// Held are the cases of a test that are in quarantine, sorted.
func (tx *Tx) Held(project, test string) []plan.TestName {
	return tx.o.st.Project(project).Held(test, tx.o.at)
}

// Green is the last commit of a ref whose run succeeded; empty: none.
func (tx *Tx) Green(project, ref string) string { return tx.o.st.Project(project).Green(ref) }

// Overtaken answers an environment of the run's plan that a newer run has begun a rollout
// to, and that run; empty: there is none.
func (tx *Tx) Overtaken(r *run.Run) (environment, by string) {
	p := tx.o.st.Project(r.Project)
	for _, t := range r.Plan.Tasks {
		if t.Kind == plan.KindRollout {
			if e, by := p.MayEnter(r, t.Target.Environment); e == project.EnterSuperseded {
				return t.Target.Environment, by
			}
		}
	}
	return "", ""
}

// Cancel asks a run to stop. A run that has ended stays as it is.
func (tx *Tx) Cancel(name, message string) (*run.Run, error) {
	c, err := tx.Run(name)
	if err != nil {
		return nil, err
	}
	r, _ := tx.o.st.Run(c.ID)
	tx.o.touch(r.ID, "")
	tx.o.halt(r, r.Cancel(message))
	return r.Snapshot(), nil
}

// Lease gives the right to a task's next attempt. early: the answer may be sent before
// the batch is durable, for nothing that it rests on is in the batch and its effects
// need no witness.
func (tx *Tx) Lease(token string, w Worker, sink Sink) (work Work, early bool, err error) {
	o := tx.o
	r, t, err := o.find(token)
	if err != nil {
		return Work{}, true, err
	}
	switch {
	case t.Spec.Can == plan.CapabilityCoordinator:
		return Work{}, true, fmt.Errorf("task %s is the coordinator's own: %w", t.Spec.ID, ErrAborted)
	case t.State != run.TaskReady:
		return Work{}, true, fmt.Errorf("task %s is %s: %w", t.Spec.ID, t.State, ErrAborted)
	case o.somebodys(t) || t.NotBefore.After(o.at) || o.paused(r, t):
		return Work{}, true, fmt.Errorf("task %s is not released yet: %w", t.Spec.ID, ErrAborted)
	}
	if err := o.elsewhere(token, t); err != nil {
		return Work{}, true, err
	}
	if err := o.outside(r, t); err != nil {
		return Work{}, true, err
	}
	if err := o.full(r, t); err != nil {
		return Work{}, true, err
	}
	deploys := t.Spec.Kind.Changes()
	early = !o.moved[r.ID] && !deploys && o.lease.Valid() || planted.GrantsBeforeDurable.On()
	o.count++
	ref := Ref{Token: token, Attempt: len(t.Attempts) + 1, Fence: run.Fence{Epoch: o.epoch, Counter: o.count}}
	if planted.FenceWithoutEpoch.On() {
		ref.Fence.Epoch = 1
	}
	o.emit(run.AttemptStarted{Run: r.ID, Task: t.Spec.ID, Attempt: ref.Attempt, Worker: w.Name, Fence: ref.Fence, LeasedAt: o.at})
	o.take(&lease{r: r, t: t, ref: ref, worker: w, sink: sink, deadline: o.cfg.Now().Add(o.cfg.TTL)})
	o.forget(r, t)
	failpoint.Hit(failpoint.LeaseDecided)
	work = o.work(r, t)
	work.Ref = ref
	return work, early, nil
}

// work gathers what a task needs from the tasks before it.
func (o *owner) work(r *run.Run, t *run.Task) Work {
	w := Work{Run: r.ID, Project: r.Project, Commit: r.Commit, TraceID: r.TraceID, Trusted: !r.Plan.Untrusted, Dirty: r.Dirty, Task: t.Spec, Release: r.Release, Images: map[string]string{}}
	image := func(id string) string {
		if b, ok := r.Find(id); ok {
			return b.Result.Image
		}
		return ""
	}
	switch {
	case t.Spec.Build != nil:
		for name, service := range t.Spec.Build.Contexts {
			w.Images[name] = image(plan.BuildID(service))
		}
	case t.Spec.Command() != nil:
		for name, service := range t.Spec.Command().Build.Contexts {
			w.Images[name] = image(plan.BuildID(service))
		}
		if s := t.Spec.Command().Shard; s != nil && s.List != "" {
			w.Timing = r.Plan.Timing(s.Test)
		}
		for _, u := range t.Spec.Command().Use {
			var left plan.Artifact
			if maker, ok := r.Find(u.Task); ok {
				left, _ = maker.Result.Artifact(u.Artifact)
			}
			w.Artifacts = append(w.Artifacts, left)
		}
	case t.Spec.Render != nil:
		if t.Spec.Render.Image != "" {
			w.Images[t.Spec.Service] = image(t.Spec.Render.Image)
		}
		for name, service := range t.Spec.Render.Images {
			w.Images[name] = image(plan.BuildID(service))
		}
	case t.Spec.Analyze != nil:
		if m, ok := r.Find(t.Spec.Analyze.Manifests); ok {
			w.Manifests = m.Result.Manifests
		}
	case t.Spec.Apply != nil:
		if m, ok := r.Find(t.Spec.Apply.Manifests); ok {
			w.Manifests = m.Result.Manifests
		}
	}
	if t.Spec.Kind == plan.KindRollback {
		w.Stable, _ = o.st.Project(r.Project).Stable(t.Spec.Target.Environment, t.Spec.Target.Cluster, t.Spec.Service)
	}
	return w
}

// Reclaim takes a lease back into a new session of the process that holds it. False:
// it is not that process's any more.
func (tx *Tx) Reclaim(ref Ref, w Worker, sink Sink) bool {
	o := tx.o
	r, t, err := o.find(ref.Token)
	if err != nil {
		return false
	}
	if l, ok := o.leases[ref.Token]; ok {
		if (l.ref.Fence != ref.Fence || l.worker.Instance != "" && l.worker.Instance != w.Instance) && !planted.AnyFenceReclaims.On() {
			return false
		}
		l.worker, l.sink, l.deadline = w, sink, o.cfg.Now().Add(o.cfg.TTL)
		if t.Revoked {
			l.revoke(r.Message)
		}
		return true
	}
	if completed(t, ref) {
		return true
	}
	// Given by the owner just before, whose note of it was not durable. One between the two may
	// have said of it that it is nobody's.
	if t.State == run.TaskReady && t.Spec.Can != plan.CapabilityCoordinator && ref.Attempt == len(t.Attempts)+1 && ref.Fence.Epoch == o.epoch-1 && o.somebodys(t) {
		o.emit(run.AttemptStarted{Run: r.ID, Task: t.Spec.ID, Attempt: ref.Attempt, Worker: w.Name, Fence: ref.Fence, LeasedAt: o.at})
		o.take(&lease{r: r, t: t, ref: ref, worker: w, sink: sink, deadline: o.cfg.Now().Add(o.cfg.TTL)})
		return true
	}
	return false
}

// completed reports that the attempt of that fence has ended durably with a result.
func completed(t *run.Task, ref Ref) bool {
	for _, a := range t.Attempts {
		if a.Number == ref.Attempt && a.Fence == ref.Fence {
			return a.Outcome != "" && a.Outcome != run.OutcomeLost
		}
	}
	return false
}

// Renew keeps leases alive. It answers false for one that the process does not hold.
func (tx *Tx) Renew(ref Ref, w Worker) bool {
	l, ok := tx.o.leases[ref.Token]
	if ok && l.ref.Fence == ref.Fence && l.worker.Instance == w.Instance {
		if planted.RenewKeepsDeadline.On() {
			return true
		}
		l.deadline = tx.o.cfg.Now().Add(tx.o.cfg.TTL)
		if planted.DeadlineHalved.On() {
			l.deadline = l.deadline.Add(-tx.o.cfg.TTL / 2)
		}
		return true
	}
	if _, t, err := tx.o.find(ref.Token); err == nil && completed(t, ref) {
		return true
	}
	return false
}

// Begin notes that the attempt's work has begun.
func (tx *Tx) Begin(ref Ref) {
	if l, ok := tx.o.leases[ref.Token]; ok && l.ref.Fence == ref.Fence {
		l.t.SetRunning(tx.o.at)
		tx.o.touch(l.r.ID, l.t.Spec.ID)
	}
}

// Holder answers the run and task of a lease, if that fence holds it.
func (tx *Tx) Holder(ref Ref) (runID string, t *plan.Task, err error) {
	l, ok := tx.o.leases[ref.Token]
	if !ok || l.ref.Fence != ref.Fence {
		return "", nil, fmt.Errorf("lease %s: %w", ref.Token, ErrAborted)
	}
	return l.r.ID, l.t.Spec, nil
}

// End is Complete by the process that says it holds the lease: one that the owner before
// gave, without its note of it being durable, is taken back first, so that the work was not
// for nothing.
func (tx *Tx) End(ref Ref, w Worker, sink Sink, rep run.Report) error {
	err := tx.Complete(ref, rep)
	if errors.Is(err, ErrAborted) && tx.Reclaim(ref, w, sink) {
		return tx.Complete(ref, rep)
	}
	return err
}

// Complete ends an attempt. A repeat of a durable completion is success; an old fence
// is ErrAborted.
func (tx *Tx) Complete(ref Ref, rep run.Report) error {
	o := tx.o
	l, ok := o.leases[ref.Token]
	if !ok || l.ref.Fence != ref.Fence && !planted.OldFenceCompletes.On() {
		if _, t, err := o.find(ref.Token); err == nil && completed(t, ref) {
			return nil
		}
		return fmt.Errorf("complete %s: %w", ref.Token, ErrAborted)
	}
	o.drop(ref.Token)
	cur := l.t.Current()
	if cur == nil {
		return fmt.Errorf("complete %s: %w", ref.Token, ErrAborted)
	}
	unknown := unknownTo(l.t.Spec, rep.Result)
	rep = fit(rep)
	a := rep.Attempt
	switch a.Outcome {
	case run.OutcomeSucceeded, run.OutcomeFailed, run.OutcomeErrored, run.OutcomeCanceled:
	default: // lost is for the owner to say, and without an outcome the attempt would go on
		a.Message = fmt.Sprintf("worker %s reported the outcome %q\n%s", cur.Worker, a.Outcome, a.Message)
		a.Outcome, a.Class = run.OutcomeErrored, run.ClassInfra
	}
	if a.Outcome == run.OutcomeSucceeded && unknown != "" {
		a.Outcome, a.Class, a.Message = run.OutcomeErrored, run.ClassInfra, "worker "+cur.Worker+" does not know "+unknown+": upgrade it"
	}
	a.Number, a.Worker, a.Fence, a.LeasedAt = cur.Number, cur.Worker, cur.Fence, cur.LeasedAt
	if a.StartedAt.IsZero() {
		a.StartedAt = cur.StartedAt
	}
	if a.FinishedAt.IsZero() {
		a.FinishedAt = o.at
	}
	rep.Attempt = a
	rep.Result.Coverage = o.compared(l.r, l.t, rep.Result.Coverage)
	o.weigh(l, &rep)
	o.emit(l.r.Finish(l.t, rep, o.at)...)
	failpoint.Hit(failpoint.CompleteDecided)
	return nil
}

// unknownTo is what a worker of an older version has not done of a task, because it does not know it; empty: nothing.
func unknownTo(t *plan.Task, left plan.Result) string {
	switch {
	case t.Test != nil && t.Test.Shard != nil && t.Test.Shard.List != "" && (left.Tests == nil || left.Tests.Listed == ""):
		return "lists of tests, and may have tested something else"
	case lacks(t, left):
		return "artifacts, and left none"
	case t.Build != nil && t.Build.SBOM && left.SBOM == "":
		return "SBOMs, and made none"
	}
	return ""
}
