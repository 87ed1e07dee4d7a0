package rolling

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/release"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// Check is the HTTP check of a service; an empty path means none.
type Check struct {
	Path string
	Port int32
}

// Settings are what a deployer decides for all its rollouts.
type Settings struct {
	Policy   manifest.Policy
	Timeout  time.Duration // of the wait for health
	Patience time.Duration // with a silent cluster
	Grace    health.Grace
}

// Listener hears what happens while it happens. Any field may be nil.
type Listener struct {
	Changed  func(apply.Change)
	Progress func(health.Progress)
	Step     func(Step)
}

// Step is one part of the work and when it took place.
type Step struct {
	Name       string // connect, check, prepare, hook Job/…, apply, healthy, http, prune, helm release
	Began, End time.Time
}

// Result is the answer about a rollout. Verdict says which of the parts said no.
type Result struct {
	Verdict Verdict
	Touched bool // writing was begun
	Applied apply.Outcome
	Hooks   []apply.Change // what was carried out before and after
	Pruned  []apply.Change
	Health  health.Report
	HTTP    health.HTTPReport
	Helm    release.Outcome
	Steps   []Step
	Path    string        // that was asked over HTTP
	Note    string        // what else there is to say of a success, or what was measured
	hook    manifest.Hook // that did not succeed
}

// Verdict of the work. "The farm could not tell" is no verdict: it is an error.
type Verdict string

// Verdicts.
const (
	Healthy    Verdict = "healthy"
	Refused    Verdict = "refused"    // invalid, not allowed, or somebody else's
	Unhealthy  Verdict = "unhealthy"  // applied, and does not work
	Unanswered Verdict = "unanswered" // ready, and HTTP says no
	Worse      Verdict = "worse"      // works, and what was measured of it says no: Note
)

// Explanation is why the verdict is not Healthy, for people.
func (r Result) Explanation() string {
	switch r.Verdict {
	case Refused:
		text := ""
		for i, refusal := range r.Applied.Refused {
			if i > 0 {
				text += "\n"
			}
			text += refusal.String()
		}
		return text
	case Unhealthy:
		text := r.Health.Explanation()
		if r.Health.TimedOut {
			text = "not healthy in time:\n" + text
		}
		switch r.hook.Phase {
		case manifest.Before:
			return fmt.Sprintf("%s, which comes before the rest, did not succeed, and nothing that runs was changed:\n%s", r.hook.Ref, text)
		case manifest.After:
			return fmt.Sprintf("%s, which comes after the rest, did not succeed:\n%s", r.hook.Ref, text)
		default:
			return text
		}
	case Unanswered:
		return r.HTTP.Explanation(r.Path)
	case Worse:
		return r.Note
	default:
		return ""
	}
}

// Deploy brings a release onto its target and sees it work. An error means that the farm could not tell (*cluster.Error), that
// the lease is lost (apply.ErrSuperseded), or that ctx ended.
func Deploy(ctx context.Context, c *cluster.Cluster, req apply.Request, check Check, set Settings, to Listener) (Result, error) {
	return DeployBehind(ctx, c, nil, req, check, set, to)
}

// Begin is DeployBehind of a release that is not as it will be in the end: nothing is pruned, hooks that come after wait, and Helm is
// not told.
func Begin(ctx context.Context, c *cluster.Cluster, first []byte, req apply.Request, check Check, set Settings, to Listener) (Result, error) {
	return deploy(ctx, c, first, req, check, set, to, true)
}

// DeployBehind is Deploy of a release whose objects are written in two parts: first, what they are at first, which must work before
// the rest of what they are is written. None: all at once.
func DeployBehind(ctx context.Context, c *cluster.Cluster, first []byte, req apply.Request, check Check, set Settings, to Listener) (Result, error) {
	return deploy(ctx, c, first, req, check, set, to, false)
}

func deploy(ctx context.Context, c *cluster.Cluster, first []byte, req apply.Request, check Check, set Settings, to Listener, part bool) (Result, error) {
	r := &rollout{cluster: c, target: req.Target, fence: req.Stamp.Fence, check: check, set: set, to: to, clean: !part, part: part}
	req.Policy, req.Changed = set.Policy, to.Changed
	if req.Since.IsZero() {
		req.Since = time.Now()
	}
	r.req = req
	r.record = release.Request{Target: req.Target, Stamp: req.Stamp, Manifests: req.Manifests, Adopt: req.Adopt}
	objects := req.Objects
	if objects == nil {
		objects, _ = manifest.Parse(req.Manifests) // its mistakes are reported by Apply
	}
	r.before, r.after = manifest.Hooks(objects, manifest.Before), manifest.Hooks(objects, manifest.After)
	return r.run(ctx, func() (apply.Outcome, error) {
		before, err := r.first(ctx, first)
		if err != nil || r.result.Verdict != "" || len(before.Refused) > 0 {
			return before, err
		}
		if first != nil || len(r.before) > 0 { // which took their time
			req.Since = time.Now()
		}
		after, err := apply.Apply(ctx, c, req)
		return before.Then(after), err
	})
}

// first writes the first part, if there is one, and sees it work. The verdict is empty when it does.
func (r *rollout) first(ctx context.Context, manifests []byte) (apply.Outcome, error) {
	if manifests == nil {
		return apply.Outcome{}, nil
	}
	req := r.req
	req.Manifests, req.Objects = manifests, nil
	out, err := apply.Apply(ctx, r.cluster, req)
	if err != nil || len(out.Refused) > 0 {
		return out, err
	}
	if r.result.Health, err = health.Wait(ctx, r.cluster, r.wait(out.Refs())); err == nil && !r.result.Health.Healthy {
		r.result.Verdict = Unhealthy
	}
	return out, err
}

func (r *rollout) wait(live []manifest.Ref) health.Request {
	return health.Request{
		Namespace: r.target.Namespace, Objects: live, Timeout: r.set.Timeout, Patience: r.set.Patience, Grace: r.set.Grace, Progress: r.to.Progress,
	}
}

// Compare asks what Deploy would change on the target, and changes nothing.
func Compare(ctx context.Context, c *cluster.Cluster, req apply.Request, set Settings, to Listener) (Result, error) {
	r := &rollout{cluster: c, target: req.Target, set: set, to: to}
	req.Policy, req.Changed = set.Policy, to.Changed
	if err := r.connect(ctx); err != nil {
		return r.result, err
	}
	err := r.step("compare", func() (err error) {
		if r.result.Applied, err = apply.Compare(ctx, c, req); err != nil {
			return err
		}
		refused, err := release.Check(ctx, c, release.Request{Target: req.Target, Stamp: apply.Stamp{Fence: apply.Unfenced(), Run: req.Stamp.Run}, Manifests: req.Manifests, Adopt: req.Adopt})
		r.result.Applied.Refused = append(r.result.Applied.Refused, refused...)
		return err
	})
	if r.result.Verdict = Healthy; len(r.result.Applied.Refused) > 0 {
		r.result.Verdict = Refused
	}
	return r.result, err
}

// Rollback takes a candidate back and, when a stable release stands again, sees that one work.
func Rollback(ctx context.Context, c *cluster.Cluster, req revision.Request, check Check, set Settings, to Listener) (Result, error) {
	r := &rollout{cluster: c, target: req.Target, fence: req.Fence, check: check, set: set, to: to}
	req.Policy, req.Changed = set.Policy, to.Changed
	r.record = release.Request{Target: req.Target, Stamp: apply.Stamp{Fence: req.Fence, Run: req.Run}, Back: true}
	if req.Stable != nil {
		r.record.Stamp.Release, r.record.Manifests = req.Stable.ID, req.Stable.Manifests
	}
	return r.run(ctx, func() (apply.Outcome, error) { return revision.Rollback(ctx, c, req) })
}

type rollout struct {
	cluster *cluster.Cluster
	target  apply.Target
	fence   apply.Fence
	check   Check
	set     Settings
	to      Listener
	clean   bool // prune what the release no longer has
	part    bool // the release is not whole yet
	req     apply.Request
	record  release.Request // what Helm is to know of it in the end
	before  []manifest.Hook // none for a rollback: hooks are not carried out
	after   []manifest.Hook
	result  Result
}

func (r *rollout) run(ctx context.Context, write func() (apply.Outcome, error)) (Result, error) {
	r.result.Path = r.check.Path
	if err := r.connect(ctx); err != nil {
		return r.result, err
	}
	if err := r.survey(ctx); err != nil || r.result.Verdict != "" {
		return r.result, err
	}
	if err := r.prepare(ctx); err != nil || r.result.Verdict != "" {
		return r.result, err
	}
	if err := r.hooks(ctx, r.before); err != nil || r.result.Verdict != "" {
		return r.result, err
	}
	err := r.step("apply", func() (err error) {
		r.result.Touched = true
		r.result.Applied, err = write()
		return err
	})
	if err != nil || r.result.Verdict != "" {
		return r.result, err
	}
	if len(r.result.Applied.Refused) > 0 {
		r.result.Verdict = Refused
		// There is nothing to take back of a release that was refused as a whole.
		r.result.Touched = r.result.Applied.Wrote() > 0 || len(r.before) > 0
		return r.result, nil
	}
	failpoint.Hit(failpoint.ApplyDone)
	return r.verify(ctx)
}

func (r *rollout) connect(ctx context.Context) error {
	return r.step("connect", func() error {
		_, err := r.cluster.Ping(ctx)
		return err
	})
}

func (r *rollout) verify(ctx context.Context) (Result, error) {
	r.result.Verdict = Healthy
	live := r.result.Applied.Refs()
	if len(live) == 0 && !r.clean { // a first release was taken back
		return r.result, r.tellHelm(ctx)
	}
	if err := r.step("healthy", func() (err error) {
		r.result.Health, err = health.Wait(ctx, r.cluster, r.wait(live))
		return err
	}); err != nil {
		return r.result, err
	}
	if !r.result.Health.Healthy {
		r.result.Verdict = Unhealthy
		return r.result, nil
	}
	if err := r.ask(ctx, live); err != nil || r.result.Verdict != Healthy || r.part {
		return r.result, err
	}
	if !r.clean {
		return r.result, r.tellHelm(ctx)
	}
	if err := r.hooks(ctx, r.after); err != nil || r.result.Verdict != Healthy {
		return r.result, err
	}
	err := r.step("prune", func() (err error) {
		since := time.Now() // who overtook this lease may have written meanwhile
		switch hooks := len(r.before) + len(r.after); {
		case hooks == 0 && r.result.Applied.First:
			since = time.Time{}
		case hooks == 0 && r.result.Applied.Wrote() == 0:
			since = r.req.Since // nothing took time
		}
		r.result.Pruned, err = apply.Prune(ctx, r.cluster, r.target, r.fence, slices.Concat(live, r.hookRefs()), since)
		return err
	})
	r.announce(r.result.Pruned)
	if err != nil {
		return r.result, err
	}
	return r.result, r.tellHelm(ctx)
}

func (r *rollout) ask(ctx context.Context, live []manifest.Ref) error {
	if r.check.Path == "" || r.result.Health.Simulated { // nothing listens behind simulated pods
		return nil
	}
	return r.step("http", func() (err error) {
		r.result.HTTP, err = health.CheckHTTP(ctx, r.cluster, health.HTTPRequest{
			Namespace: r.target.Namespace, Service: r.target.Service, Path: r.check.Path, Port: r.check.Port,
			Objects: live, Pods: r.result.Health.ReadyPods,
		})
		if err == nil && !r.result.HTTP.OK {
			r.result.Verdict = Unanswered
		}
		return err
	})
}

func (r *rollout) announce(changes []apply.Change) {
	if r.to.Changed == nil {
		return
	}
	for _, change := range changes {
		r.to.Changed(change)
	}
}

func (r *rollout) step(name string, do func() error) error {
	return r.result.Do(name, r.to, do)
}

// Do carries out one part of the work, and notes when it took place.
func (r *Result) Do(name string, to Listener, do func() error) error {
	began := time.Now()
	err := do()
	step := Step{Name: name, Began: began, End: time.Now()}
	r.Steps = append(r.Steps, step)
	if to.Step != nil {
		to.Step(step)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
