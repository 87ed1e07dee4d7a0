package experiment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/load"
	"github.com/slipway-build/slipway/chaos/node"
	"github.com/slipway-build/slipway/internal/failpoint"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// r11: kill -9 of deployers between the steps of rollouts, and clusters that do not answer as they should. Another deployer finishes
// what one began.
func r11() Experiment {
	n := len(failpoint.Deployer()) + len(farm.Harms())
	return Experiment{
		Name: "R11", What: "rollouts hurt", Counts: [3]int{n, 2 * n, 25 * n}, PerFarm: 5 * n,
		Run: func(ctx context.Context, e *Env, n int) (*Outcome, error) {
			return rollOut(ctx, e, "R11", false, n)
		},
		Mistake: "a cluster to which each write of a Deployment comes a second time",
		Control: func(ctx context.Context, e *Env) (*Outcome, error) {
			return rollOut(ctx, e, "R11-control", true, 1)
		},
	}
}

// lanes are projects that are rolled out side by side, each on clusters of its own.
const lanes = 6

// rollouts hurts rollouts.
type rollouts struct {
	*trial

	clusters kubernetes.Interface
	figures  map[string]any
	wrong    []string
	releases map[string]int // that came to each namespace
}

func rollOut(ctx context.Context, e *Env, name string, doubles bool, n int) (*Outcome, error) {
	deployer, err := farm.Build(ctx, e.Dir, "./deploy", "deployer-broken", "chaos")
	if err != nil {
		return nil, err
	}
	cluster, err := farm.StartCluster(ctx, filepath.Join(e.Dir, name+"-cluster"))
	if err != nil {
		return nil, err
	}
	defer cluster.Stop()
	cfg := config(e, name)
	cfg.Coordinators, cfg.Workers, cfg.Projects = 1, 2, min(lanes, n)
	cfg.Worker = node.Worker{Slots: 12, Hold: 50 * time.Millisecond, Renders: true}
	cfg.Deployer, cfg.Cluster, cfg.Doubles = deployer, cluster, doubles
	f, err := farm.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r := &rollouts{trial: &trial{Farm: f, env: e}, figures: map[string]any{}}
	defer f.Stop()
	if r.clusters, err = kubernetes.NewForConfig(cluster.Config); err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	if r.load, err = load.Start(ctx, f, 0, func(*load.Load) {}); err != nil {
		return nil, err
	}
	todo := r.plan(n)
	g, gctx := errgroup.WithContext(ctx)
	for _, l := range f.Lanes {
		g.Go(func() error { return (&lane{Lane: l, of: r}).work(gctx, todo) })
	}
	if err := g.Wait(); err != nil {
		r.load.Close()
		return nil, err
	}
	o, err := r.end(ctx, r.figures)
	if err != nil {
		return nil, err
	}
	o.Verdict.Wrong = append(r.wrong, o.Verdict.Wrong...)
	return o, r.audited(o, cluster.Audit)
}

// hurt is what is done in one rollout: a deployer is killed when it comes by a point for the nth time, or prod's cluster does harm.
type hurt struct {
	point failpoint.Point
	times int
	harm  farm.Harm
	bad   bool // the candidate crashes
}

func (h hurt) String() string {
	text := string(h.harm)
	if h.point != "" {
		text = fmt.Sprintf("%s:%d", h.point, h.times)
	}
	if h.bad {
		text += " of a candidate that crashes"
	}
	return text
}

// fails: it does not get beyond prod.
func (h hurt) fails() bool { return h.bad || h.harm == farm.Away }

// lasting is how long a cluster does harm. Deployers wait two seconds for an answer and a rollout is tried four times, which takes 16.
func lasting(h farm.Harm) time.Duration {
	if h == farm.Away {
		return 25 * time.Second
	}
	return 3 * time.Second
}

// plan has every point and every harm as often as every other.
func (r *rollouts) plan(n int) <-chan hurt {
	points, harms, rand := failpoint.Deployer(), farm.Harms(), r.env.Rand
	todo := make(chan hurt, n)
	all := rand.Perm(n)
	for _, i := range all {
		i %= len(points) + len(harms)
		if i >= len(points) {
			todo <- hurt{harm: harms[i-len(points)], bad: rand.IntN(3) == 0}
			continue
		}
		p := points[i]
		h := hurt{point: p, times: 1 + rand.IntN(passes(p)), bad: strings.HasPrefix(string(p), "rollback.")}
		if !h.bad && rand.IntN(3) == 0 {
			h.bad, h.times = true, 1
		}
		todo <- h
	}
	close(todo)
	return todo
}

// passes is how often a rollout comes by a point, at least.
func passes(p failpoint.Point) int {
	switch p { //nolint:exhaustive // once is enough to know of the others
	case failpoint.ApplyWriting, failpoint.ApplyWritten:
		return 9
	case failpoint.DeployLeased, failpoint.DeployEnded:
		return 5
	case failpoint.ApplyPlanned, failpoint.ApplyDone, failpoint.DeleteBefore, failpoint.DeleteDone, failpoint.RecordBefore, failpoint.RecordWritten:
		return 3
	default:
		return 1
	}
}

func (r *rollouts) note(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count(r.figures, name)
}

func (r *rollouts) bad(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// lane is one project, whose rollouts are hurt one after the other.
type lane struct {
	*farm.Lane

	of    *rollouts
	next  int // deployer to be started
	runs  int
	stood map[string]standing // by environment: what was seen last
}

var errRollout = errors.New("a rollout that nobody hurts does not end")

// work takes what is to be done until there is nothing left.
func (l *lane) work(ctx context.Context, todo <-chan hurt) error {
	if err := l.start(); err != nil {
		return err
	}
	if run := l.run(ctx, farm.Good); run.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		return fmt.Errorf("%w: %v", errRollout, run)
	} else if err := l.compare(ctx, "the first", run, false); err != nil {
		return err
	}
	for h := range todo {
		did, err := l.hurt(ctx, h)
		for range 2 { // it may not have come by
			if err == nil && !did {
				h.times = 1
				did, err = l.hurt(ctx, h)
			}
		}
		if err != nil {
			return err
		}
		what := "cluster_" + string(h.harm)
		if h.point != "" {
			what = "killed_at_" + string(h.point)
		}
		if !did {
			what = "not_" + what
		}
		l.of.note(what)
	}
	return nil
}

// start starts the other deployer than the last time.
func (l *lane) start(env ...string) error {
	d := l.Deployers[l.next%2]
	l.next++
	return d.Start(env...)
}

// run is one from its beginning to its end.
func (l *lane) run(ctx context.Context, branch string) *pb.Run {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	l.runs++
	return l.of.load.Run(ctx, l.Project, fmt.Sprintf("lane-%d-%d", l.Project, l.runs), l.Project, branch)
}

// hurt has one run, which is hurt, and compares what stands in the end. False: it did not come by.
func (l *lane) hurt(ctx context.Context, h hurt) (did bool, err error) {
	live := l.Deployers[(l.next+1)%2]
	var killed <-chan struct{}
	if h.point != "" {
		live.Stop()
		if err := l.start(fmt.Sprintf("SLIPWAY_FAILPOINT=%s:%d", h.point, h.times)); err != nil {
			return false, err
		}
		killed = l.Deployers[(l.next+1)%2].Ended()
	} else {
		l.Gates["prod"].Hurt(h.harm, lasting(h.harm))
	}
	branch := farm.Good
	if h.bad {
		branch = farm.Bad
	}
	done := make(chan *pb.Run, 1)
	go func() { done <- l.run(ctx, branch) }() // it answers once the run has ended
	var run *pb.Run
	select {
	case <-killed:
		did = true
		if err := l.start(); err != nil {
			return true, err
		}
		run = <-done
	case run = <-done:
		did = l.Gates["prod"].Heal()
	}
	want := pb.RunState_RUN_STATE_SUCCEEDED
	if h.fails() {
		want = pb.RunState_RUN_STATE_FAILED
	}
	if run.GetState() != want {
		l.of.bad("%s: run %s is %s, not %s: %s", h, run.GetId(), run.GetState(), want, why(run))
	}
	return did, l.compare(ctx, h.String(), run, h.fails())
}

// why a run ended as it did.
func why(run *pb.Run) string {
	text := run.GetMessage()
	for _, t := range run.GetTasks() {
		if s := t.GetState(); s == pb.TaskState_TASK_STATE_FAILED || s == pb.TaskState_TASK_STATE_ERRORED {
			text += fmt.Sprintf("; %s: %s", t.GetId(), t.GetMessage())
		}
	}
	return text
}
