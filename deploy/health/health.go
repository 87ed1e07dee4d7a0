package health

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// Grace says how long a bad sign may last before waiting on is hopeless. Zero fields take the default.
type Grace struct {
	// ImagePull: two tries of the kubelet fit into 20 s; a registry that hiccups is back by then.
	ImagePull time.Duration
	// CrashLoop: 30 s from the first crash, or the third restart. A container may crash once while what it needs starts.
	CrashLoop time.Duration
	// Config: 20 s for a Secret or ConfigMap that another controller makes.
	Config time.Duration
	// Unschedulable: 2 min, in which an autoscaler brings a node.
	Unschedulable time.Duration
	// Create: 30 s of pods refused by a quota or a policy, while old pods still hold their share.
	Create time.Duration
	// Stalled: 10 s after the cluster itself says that a rollout makes no progress; an old sign is renewed by then.
	Stalled time.Duration
	// Unready: 30 s in which pods that are observed may be not ready, or fewer than there should be.
	Unready time.Duration
	// Restarts that end the CrashLoop grace early; 3.
	Restarts int32
}

func (g Grace) withDefaults() Grace {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&g.ImagePull, 20*time.Second)
	set(&g.CrashLoop, 30*time.Second)
	set(&g.Config, 20*time.Second)
	set(&g.Unschedulable, 2*time.Minute)
	set(&g.Create, 30*time.Second)
	set(&g.Stalled, 10*time.Second)
	set(&g.Unready, 30*time.Second)
	if g.Restarts == 0 {
		g.Restarts = 3
	}
	return g
}

// Defaults of a Request.
const (
	DefaultTimeout  = 10 * time.Minute
	DefaultPatience = 20 * time.Second
)

// Request names the objects to wait for, as they were applied: with uid and generation.
type Request struct {
	Namespace string
	Objects   []manifest.Ref
	Timeout   time.Duration // until the release is given up; DefaultTimeout
	Patience  time.Duration // with a cluster that stopped answering; DefaultPatience
	Grace     Grace
	// Progress hears of every change of an object's readiness; it may be nil.
	Progress func(Progress)
}

// Progress of one object.
type Progress struct {
	Object         manifest.Ref
	Ready, Desired int
	Done           bool
}

func (p Progress) String() string {
	return fmt.Sprintf("%s %d/%d ready", p.Object, p.Ready, p.Desired)
}

// Report is the answer about the release. It is complete in itself: nothing is in an error.
type Report struct {
	Healthy   bool
	TimedOut  bool // not healthy, and nothing was hopeless: the deadline ended it
	Simulated bool // every pod runs on a simulated node: no process exists
	Reasons   []Reason
	Warnings  []string
	Pods      []PodTimes
	// ReadyPods are names of pods of the release that are ready.
	ReadyPods []string
}

// Reason is one cause of not being healthy.
type Reason struct {
	Object    manifest.Ref
	Pod       string // empty: the object itself
	Also      int    // further pods with the very same sign
	Container string
	State     string // waiting, running, terminated, pending, failed
	Reason    string // CrashLoopBackOff, Unschedulable, …
	Message   string
	ExitCode  *int32
	Restarts  int32
	Event     string // "FailedMount: …", the latest warning about the pod
	Logs      []string
}

func (r Reason) String() string {
	var b strings.Builder
	b.WriteString(r.Object.String())
	if r.Pod != "" {
		b.WriteString(": pod " + r.Pod)
	}
	if r.Also > 0 {
		fmt.Fprintf(&b, " (and %d more)", r.Also)
	}
	if r.Container != "" {
		b.WriteString(", container " + r.Container)
	}
	b.WriteString(": " + r.Reason)
	if r.ExitCode != nil {
		fmt.Fprintf(&b, ", exit code %d", *r.ExitCode)
	}
	if r.Restarts > 0 {
		fmt.Fprintf(&b, ", %d restarts", r.Restarts)
	}
	if r.Message != "" {
		b.WriteString(": " + r.Message)
	}
	if r.Event != "" && !strings.Contains(r.Event, r.Message) || r.Event != "" && r.Message == "" {
		b.WriteString("; event " + r.Event)
	}
	if len(r.Logs) > 0 {
		b.WriteString("; last log lines:\n  | " + strings.Join(r.Logs, "\n  | "))
	}
	return b.String()
}

// Explanation is the report's reasons as text for people, one a line.
func (r Report) Explanation() string {
	lines := make([]string, 0, len(r.Reasons))
	for _, reason := range r.Reasons {
		lines = append(lines, reason.String())
	}
	return strings.Join(lines, "\n")
}

// Wait returns when every object works, when waiting on is hopeless, or at the deadline. An error means that the farm could not
// tell: the cluster is gone (*cluster.Error) or ctx ended (its cause).
func Wait(ctx context.Context, c *cluster.Cluster, req Request) (Report, error) {
	return look(ctx, c, req, (*watch).follow)
}

// look watches the objects while do goes on.
func look(ctx context.Context, c *cluster.Cluster, req Request, do func(*watch, context.Context) (Report, error)) (Report, error) {
	if req.Timeout == 0 {
		req.Timeout = DefaultTimeout
	}
	if req.Patience == 0 {
		req.Patience = DefaultPatience
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := newWatch(c, req, cancel)
	defer w.stop()
	if err := w.start(ctx); err != nil {
		return Report{}, err
	}
	return do(w, ctx)
}

func (w *watch) follow(ctx context.Context) (Report, error) {
	deadline := time.NewTimer(w.req.Timeout)
	defer deadline.Stop()
	memory := memory{since: map[string]time.Time{}}
	grace := w.req.Grace.withDefaults()
	said := map[string]Progress{}
	for {
		v := assess(w.view(), w.req.Objects, grace, &memory, time.Now())
		w.tell(v.progress, said)
		if v.healthy() || len(v.fatal) > 0 {
			return w.report(ctx, v, v.conclusive(), false)
		}
		failpoint.Hit(failpoint.HealthWaiting)
		over, err := w.next(ctx, v.recheck, deadline.C)
		if err != nil {
			return Report{}, err
		}
		if over {
			return w.report(ctx, v, v.pending, true)
		}
	}
}

// next returns when something changed or a grace may have ended; over: the deadline has come.
func (w *watch) next(ctx context.Context, recheck time.Duration, deadline <-chan time.Time) (over bool, err error) {
	again := time.NewTimer(recheck)
	defer again.Stop()
	select {
	case <-w.changed:
	case <-again.C:
	case <-deadline:
		return true, nil
	case <-ctx.Done():
		return false, fmt.Errorf("wait for %s: %w", w.req.Namespace, context.Cause(ctx))
	}
	return false, nil
}

func (w *watch) tell(all []Progress, said map[string]Progress) {
	for _, p := range all {
		if key := p.Object.Key(); said[key] != p {
			said[key] = p
			if w.req.Progress != nil {
				w.req.Progress(p)
			}
		}
	}
}

func (w *watch) report(ctx context.Context, v verdict, findings []finding, timedOut bool) (Report, error) {
	r := Report{Healthy: v.healthy(), TimedOut: timedOut, Pods: w.times.all(v.pods)}
	for _, pod := range v.pods {
		if podReady(pod) {
			r.ReadyPods = append(r.ReadyPods, pod.Name)
		}
	}
	var err error
	if r.Simulated, err = Simulated(ctx, w.cluster, v.pods); err != nil {
		return Report{}, err
	}
	if !r.Healthy {
		r.Reasons = w.evidence(ctx, findings)
		return r, ctx.Err()
	}
	// What watches show may be from before the cluster went away.
	if _, err := w.cluster.Answered(ctx, time.Now().Add(-time.Second)); err != nil {
		return Report{}, err
	}
	r.Warnings = w.warnings()
	return r, nil
}
