package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/slipway-build/slipway/deploy/analysis"
	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// CapabilityPrefix and a cluster's name are the capability under which its tasks are leased.
const CapabilityPrefix = "deploy_"

// Blobs fetches rendered manifests.
type Blobs interface {
	Get(ctx context.Context, digest string) ([]byte, error)
}

// Cluster is one cluster this deployer serves.
type Cluster struct {
	*cluster.Cluster
	Settings rolling.Settings
	Metrics  analysis.Providers // who is asked about candidates
}

// Agent carries out apply, shift, analyze, rollback and diff tasks. It keeps nothing between attempts: what an attempt left behind is found in the
// cluster by the next one.
type Agent struct {
	clusters map[string]Cluster
	blobs    Blobs
	log      *slog.Logger
	finished func(kind, outcome string, took time.Duration)
}

// New makes an agent. finished hears of each ended attempt, for metrics.
func New(clusters map[string]Cluster, blobs Blobs, log *slog.Logger, finished func(kind, outcome string, took time.Duration)) *Agent {
	return &Agent{clusters: clusters, blobs: blobs, log: log, finished: finished}
}

// attempt is the part of a lease that the work writes to.
type attempt interface {
	io.Writer
	Progress(started bool, steps ...*pb.ProgressStep)
}

// Handle is a session.Handler.
func (a *Agent) Handle(ctx context.Context, l *session.Lease) *pb.Completion {
	g := l.Grant
	log := a.log.With("run", g.GetRun(), "task", g.GetTaskId(), "attempt", g.GetLease().GetAttempt())
	log.InfoContext(ctx, "attempt begins")
	began := time.Now()
	failpoint.Hit(failpoint.DeployLeased)
	c := a.carryOut(ctx, g, l)
	failpoint.Hit(failpoint.DeployEnded)
	log.InfoContext(ctx, "attempt ended", "outcome", c.GetOutcome().String(), "err", c.GetMessage())
	a.finished(kind(g), c.GetOutcome().String(), time.Since(began))
	return c
}

func (a *Agent) carryOut(ctx context.Context, g *pb.Grant, to attempt) *pb.Completion {
	if limit := g.GetTimeout().AsDuration(); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errTimeout)
		defer cancel()
	}
	began := time.Now()
	n := newNarrator(to)
	result, err := a.work(ctx, g, n)
	c := conclude(ctx, g, result, err)
	c.Untouched = !result.Touched && (c.GetOutcome() != pb.Outcome_OUTCOME_SUCCEEDED || g.GetShift() != nil || g.GetAnalyze() != nil)
	c.StartedAt, c.FinishedAt = stamp(began), stamp(time.Now())
	c.Steps = steps(result)
	n.say("%s", c.GetMessage())
	return c
}

var (
	errTimeout   = errors.New("time limit exceeded")
	errNoCluster = errors.New("this deployer does not serve the cluster; correct its deployer.yaml")
	errNoWork    = errors.New("the task is no work for a deployer; are coordinator and deployer of the same version?")
)

func (a *Agent) work(ctx context.Context, g *pb.Grant, n *narrator) (rolling.Result, error) {
	var target *pb.DeployTarget
	switch w := g.GetWork().(type) {
	case *pb.Grant_Apply:
		target = w.Apply.GetTarget()
	case *pb.Grant_Rollback:
		target = w.Rollback.GetTarget()
	case *pb.Grant_Diff:
		target = w.Diff.GetTarget()
	case *pb.Grant_Shift:
		target = w.Shift.GetTarget()
	case *pb.Grant_Analyze:
		target = w.Analyze.GetTarget()
	default:
		return rolling.Result{}, errNoWork
	}
	where, ok := a.clusters[target.GetCluster()]
	if !ok {
		return rolling.Result{}, fmt.Errorf("cluster %q: %w", target.GetCluster(), errNoCluster)
	}
	where.Settings.Timeout = waitFor(g.GetTimeout().AsDuration()-g.GetApply().GetBeside().AsDuration(), where.Settings.Timeout)
	n.say("%s namespace %s of cluster %s (%s)", intent(g), target.GetNamespace(), target.GetCluster(), where.Server())
	switch w := g.GetWork().(type) {
	case *pb.Grant_Diff:
		return a.compare(ctx, where, g, w.Diff, n)
	case *pb.Grant_Rollback:
		return a.rollback(ctx, where, g, w.Rollback, n)
	case *pb.Grant_Shift:
		return a.shift(ctx, where, g, w.Shift, n)
	case *pb.Grant_Analyze:
		return a.analyze(ctx, where, g, w.Analyze, n)
	default:
		return a.apply(ctx, where, g, g.GetApply(), n)
	}
}

func (a *Agent) apply(ctx context.Context, where Cluster, g *pb.Grant, w *pb.ApplyWork, n *narrator) (rolling.Result, error) {
	text, err := a.blobs.Get(ctx, w.GetManifests())
	if err != nil {
		return rolling.Result{}, fmt.Errorf("fetch the manifests of release %s: %w", w.GetRelease(), err)
	}
	n.started()
	return located(text)(canary.Finish(ctx, where.Cluster, apply.Request{
		Target: targetOf(g, w.GetTarget()), Manifests: text, Adopt: w.GetAdopt(), Stamp: stampOf(g, w.GetRelease()),
	}, checkOf(w.GetHealth()), where.Settings, n.listener()))
}

func (a *Agent) shift(ctx context.Context, where Cluster, g *pb.Grant, w *pb.ShiftWork, n *narrator) (rolling.Result, error) {
	text, err := a.blobs.Get(ctx, w.GetManifests())
	if err != nil {
		return rolling.Result{}, fmt.Errorf("fetch the manifests of release %s: %w", w.GetRelease(), err)
	}
	n.started()
	return located(text)(canary.Shift(ctx, where.Cluster, apply.Request{
		Target: targetOf(g, w.GetTarget()), Manifests: text, Adopt: w.GetAdopt(), Stamp: stampOf(g, w.GetRelease()),
	}, partOf(w), checkOf(w.GetHealth()), where.Settings, n.listener()))
}

func (a *Agent) analyze(ctx context.Context, where Cluster, g *pb.Grant, w *pb.AnalyzeWork, n *narrator) (rolling.Result, error) {
	text, err := a.blobs.Get(ctx, w.GetManifests())
	if err != nil {
		return rolling.Result{}, fmt.Errorf("fetch the manifests of release %s: %w", w.GetRelease(), err)
	}
	n.started()
	return located(text)(canary.Analyze(ctx, where.Cluster, canary.Analysis{
		Target: targetOf(g, w.GetTarget()), Manifests: text, Release: w.GetRelease(), Fence: fenceOf(g), Part: partOf(w), Pause: w.GetPause().AsDuration(),
		Judge: judge(g, text, where.Metrics, n),
	}, checkOf(w.GetHealth()), where.Settings, n.listener()))
}

func (a *Agent) compare(ctx context.Context, where Cluster, g *pb.Grant, w *pb.DiffWork, n *narrator) (rolling.Result, error) {
	text, err := a.blobs.Get(ctx, w.GetManifests())
	if err != nil {
		return rolling.Result{}, fmt.Errorf("fetch the manifests: %w", err)
	}
	n.started()
	return located(text)(rolling.Compare(ctx, where.Cluster, apply.Request{
		Target: targetOf(g, w.GetTarget()), Manifests: text, Adopt: w.GetAdopt(), Stamp: apply.Stamp{Run: g.GetRun()},
	}, where.Settings, n.listener()))
}

func (a *Agent) rollback(ctx context.Context, where Cluster, g *pb.Grant, w *pb.RollbackWork, n *narrator) (rolling.Result, error) {
	req := revision.Request{
		Target: targetOf(g, w.GetTarget()), Candidate: w.GetCandidateRelease(),
		Fence: fenceOf(g), Run: g.GetRun(), Traceparent: g.GetTraceparent(),
	}
	if w.GetStableManifests() != "" {
		text, err := a.blobs.Get(ctx, w.GetStableManifests())
		if err != nil {
			return rolling.Result{}, fmt.Errorf("fetch the manifests of the last good release %s: %w", w.GetStableRelease(), err)
		}
		req.Stable = &revision.Release{ID: w.GetStableRelease(), Manifests: text}
	}
	n.started()
	if req.Stable == nil {
		return rolling.Rollback(ctx, where.Cluster, req, checkOf(w.GetHealth()), where.Settings, n.listener())
	}
	return located(req.Stable.Manifests)(rolling.Rollback(ctx, where.Cluster, req, checkOf(w.GetHealth()), where.Settings, n.listener()))
}

// located has refusals name the files that objects come from.
func located(manifests []byte) func(rolling.Result, error) (rolling.Result, error) {
	return func(r rolling.Result, err error) (rolling.Result, error) {
		r.Applied.Refused = manifest.Located(r.Applied.Refused, manifests)
		return r, err
	}
}

func targetOf(g *pb.Grant, t *pb.DeployTarget) apply.Target {
	return apply.Target{Project: g.GetProject(), Service: g.GetService(), Environment: t.GetEnvironment(), Namespace: t.GetNamespace()}
}

func fenceOf(g *pb.Grant) apply.Fence {
	return apply.Fence{Epoch: g.GetLease().GetFence().GetEpoch(), Counter: g.GetLease().GetFence().GetCounter()}
}

func stampOf(g *pb.Grant, release string) apply.Stamp {
	return apply.Stamp{Fence: fenceOf(g), Release: release, Run: g.GetRun(), Traceparent: g.GetTraceparent()}
}

// part is what a shift gives and an analysis watches.
type part interface {
	GetRouter() pb.Router
	GetWeight() int32
	GetFlag() string
}

func partOf(w part) canary.Part {
	out := canary.Part{Weight: int(w.GetWeight()), Flag: w.GetFlag()}
	switch w.GetRouter() {
	case pb.Router_ROUTER_SERVICE:
		out.Router = canary.Service
	case pb.Router_ROUTER_FLAG:
		out.Router = canary.Flag
	case pb.Router_ROUTER_UNSPECIFIED, pb.Router_ROUTER_REPLICAS:
	}
	return out
}

func checkOf(h *pb.HealthCheck) rolling.Check {
	return rolling.Check{Path: h.GetPath(), Port: h.GetPort()}
}

// waitFor leaves a part of the task's time for saying why a release is not healthy: a task that is cut off can only say that.
func waitFor(task, configured time.Duration) time.Duration {
	if task <= 0 {
		return configured
	}
	return task - min(30*time.Second, task/5)
}

func kind(g *pb.Grant) string {
	switch {
	case g.GetRollback() != nil:
		return "rollback"
	case g.GetDiff() != nil:
		return "diff"
	case g.GetShift() != nil:
		return "shift"
	case g.GetAnalyze() != nil:
		return "analyze"
	default:
		return "apply"
	}
}

// intent begins the sentence that an attempt begins with.
func intent(g *pb.Grant) string {
	switch w := g.GetWork().(type) {
	case *pb.Grant_Diff:
		return "diff with"
	case *pb.Grant_Shift:
		return fmt.Sprintf("shift %d %% to the candidate in", w.Shift.GetWeight())
	case *pb.Grant_Analyze:
		return fmt.Sprintf("analyze the candidate at %d %% for %s in", w.Analyze.GetWeight(), w.Analyze.GetPause().AsDuration())
	default:
		return kind(g) + " to"
	}
}
