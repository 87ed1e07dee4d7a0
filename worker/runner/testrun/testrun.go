// Package testrun runs tests through BuildKit: a stage of a Dockerfile whose building
// is the test, or a command in a container of a stage.
//
// It decides only whether the test passed. Whether it must run at all is decided
// before, by the coordinator, so nothing here is answered from BuildKit's cache but
// what the test stands on. The package is not called test, which is the name of Go's
// own test binaries.
package testrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/coverage"
)

// errDaemonLost is why a command's context ends when the daemon has gone: the stream
// of the process does not notice.
var errDaemonLost = errors.New("the connection to BuildKit was lost while the test ran")

// Runner is the runner of test tasks.
type Runner struct {
	client *buildkit.Client
	cache  *buildkit.Cache // nil: none
	keeps  storing
}

// New makes the runner of test tasks.
func New(c *buildkit.Client) *Runner { return &Runner{client: c} }

// With has stages stand on steps from a cache that builds left there. Nil: none.
func (r *Runner) With(cache *buildkit.Cache) *Runner {
	out := *r
	out.cache = cache
	return &out
}

// Run runs the test.
func (r *Runner) Run(ctx context.Context, t runner.Task, report runner.Report) runner.Outcome {
	work, ok := t.Work.(runner.Test)
	if !ok {
		return runner.Err("task %s is no test but %T", t.ID, t.Work)
	}
	attrs, bad := buildkit.Frontend(t.Workspace, t.Commit, work.Build)
	if bad != nil {
		return *bad
	}
	report.Started()
	a := &attempt{task: t, work: work, attrs: attrs, watch: buildkit.NewWatch(report, t.Mask), keeps: r.keeps}
	release, bad := a.fetch(ctx)
	defer release()
	if bad != nil {
		return *bad
	}
	if bad := r.carryOut(ctx, a); bad != nil {
		return *bad
	}
	o := a.judged(a.judge())
	o.Steps = a.watch.Steps()
	return o
}

// Command runs the command of a test, for those who want the files that match its Report and judge
// themselves: a command that fails is no failure here. The outcome is of what could not be run, else
// nil.
func (r *Runner) Command(ctx context.Context, t runner.Task, report runner.Report) (runner.Ran, *runner.Outcome) {
	work, ok := t.Work.(runner.Test)
	if !ok || work.Run == "" {
		bad := runner.Err("task %s has no command to run: %T", t.ID, t.Work)
		return runner.Ran{}, &bad
	}
	attrs, bad := buildkit.Frontend(t.Workspace, t.Commit, work.Build)
	if bad != nil {
		return runner.Ran{}, bad
	}
	report.Started()
	a := &attempt{task: t, work: work, attrs: attrs, watch: buildkit.NewWatch(report, t.Mask), raw: true}
	bad = r.carryOut(ctx, a)
	return runner.Ran{Exit: int(a.exit), Output: buildkit.Tail(a.output), Dir: a.dir, Files: a.files, Steps: a.watch.Steps()}, bad
}

// carryOut runs an attempt to its end, or says why that cannot be.
func (r *Runner) carryOut(ctx context.Context, a *attempt) *runner.Outcome {
	session := r.client.Session
	if r.cache != nil {
		session = r.cache.Session
	}
	err := session(ctx, a.task, a.work.Build, a.watch, a.solve)
	if a.err != nil && !errors.Is(err, buildkit.ErrHung) {
		err = a.err // with its types; the session's error has passed through more hands
	}
	if err != nil || ctx.Err() != nil {
		o := a.broken(ctx, err, r.client.Where(a.work.Build))
		return &o
	}
	return nil
}

// attempt is one run of one test.
type attempt struct {
	task  runner.Task
	work  runner.Test
	attrs map[string]string
	watch *buildkit.Watch
	raw   bool // the files that match Report are wanted as they are

	err     error  // of the stage or the container
	exit    uint32 // of the command
	output  []byte // of the command or the stage
	reports []report
	files   []runner.File // instead of reports, if they are wanted as they are
	dir     string        // in which the command ran

	listed string        // a hash of all that a shard's list named
	items  []string      // those of a shard that is given them
	took   time.Duration // by the command

	used  []gateway.Mount   // what other tests left
	keeps storing           // where artifacts go
	kept  []runner.Artifact // those that are there
	lost  []lost            // and those that should be

	covered   *coverage.Summary
	uncovered string // what is wrong with that
}

// solve is called with the daemon's gateway and keeps what it finds in a.
func (a *attempt) solve(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	a.err, a.kept, a.lost, a.covered, a.uncovered = nil, nil, nil, nil, "" // it may be the second time: what was taken from a cache may turn out to be broken
	attrs := maps.Clone(a.attrs)
	if a.work.Run == "" && a.work.Build.Target != "" && !a.work.Build.Fresh {
		// The stage is the test: it is built again even if nothing changed.
		attrs["no-cache"] = a.work.Build.Target
	}
	res, err := c.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: attrs, Evaluate: true})
	if err != nil {
		a.err = err
		return nil, err
	}
	ref, err := res.SingleRef()
	if err != nil {
		a.err = fmt.Errorf("stage %q: %w", a.work.Build.Target, err)
		return nil, a.err
	}
	config, err := stageConfig(res)
	if err != nil {
		a.err = err
		return nil, err
	}
	if a.work.Run == "" {
		a.output = a.watch.Output()
		if ref != nil {
			a.collect(ctx, refFiles{ref}, config.WorkingDir)
		}
		return gateway.NewResult(), nil
	}
	if a.err = a.command(ctx, c, ref, config); a.err != nil {
		return nil, a.err
	}
	return gateway.NewResult(), nil
}

func stageConfig(res *gateway.Result) (ocispecs.ImageConfig, error) {
	var image ocispecs.Image
	if data := res.Metadata[exptypes.ExporterImageConfigKey]; len(data) > 0 {
		if err := json.Unmarshal(data, &image); err != nil {
			return image.Config, fmt.Errorf("read the stage's configuration: %w", err)
		}
	}
	if image.Config.WorkingDir == "" {
		image.Config.WorkingDir = "/"
	}
	return image.Config, nil
}

// command runs the command in a container of the stage. A container, and not a build
// step: it is never cached, and its files can be read after it failed.
func (a *attempt) command(ctx context.Context, c gateway.Client, stage gateway.Reference, config ocispecs.ImageConfig) error {
	used, err := a.uses(ctx, c, config)
	if err != nil {
		return err
	}
	a.used = used
	given, err := a.given(ctx, c, stage, config)
	if err != nil {
		return err
	}
	if a.work.Shard != nil && len(a.items) == 0 { // run would test everything
		return nil
	}
	sidecars, err := a.pullSidecars(ctx, c)
	if err != nil {
		return err
	}
	ctr, err := a.container(ctx, c, stage, sidecars, given...)
	if err != nil {
		return err
	}
	defer func() {
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = ctr.Release(release)
		stopSidecars(sidecars)
	}()
	if err := a.startSidecars(ctx, ctr, sidecars); err != nil {
		return err
	}
	step := a.watch.Begin(fmt.Sprintf("[test %s] %s", a.work.Name, a.work.Run), "exec")
	live, stop := alive(ctx, c)
	began := time.Now()
	err = a.wait(live, ctr, config, step)
	a.took = time.Since(began)
	lost := context.Cause(live)
	stop()
	var exit *gatewaypb.ExitError
	switch {
	case err == nil:
		a.output = step.End("")
	case lost != nil:
		a.output = step.End(lost.Error())
		return lost
	case errors.As(err, &exit):
		a.exit = exit.ExitCode
		a.output = step.End(fmt.Sprintf("exit code %d", exit.ExitCode))
	default:
		a.output = step.End(err.Error())
		return err
	}
	a.collect(ctx, containerFiles{ctr}, config.WorkingDir)
	return nil
}

func (a *attempt) wait(ctx context.Context, ctr gateway.Container, config ocispecs.ImageConfig, step *buildkit.Running) error {
	p, err := ctr.Start(ctx, gateway.StartRequest{
		Args: []string{"/bin/sh", "-c", a.script()}, Env: a.env(config.Env), SecretEnv: a.secretEnv(), User: config.User, Cwd: config.WorkingDir,
		Stdout: step, Stderr: step.Stderr(),
	})
	if err != nil {
		return err
	}
	return p.Wait()
}

// script is the command below the attempt's span. BuildKit sets TRACEPARENT itself, to
// a span of its own that need not be exported anywhere, so that the environment
// cannot say it.
func (a *attempt) script() string {
	if !traceparent(a.task.Traceparent) {
		return a.work.Run
	}
	return "export TRACEPARENT=" + a.task.Traceparent + "\n" + a.work.Run
}

func traceparent(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef-") == ""
}

// env: what the stage sets, then what the test sets.
func (a *attempt) env(stage []string) []string {
	env := append(slices.Clone(stage), "CI=true")
	for _, k := range slices.Sorted(maps.Keys(a.work.Env)) {
		env = append(env, k+"="+a.work.Env[k])
	}
	if a.work.Shard != nil {
		env = append(env, "SLIPWAY_TESTS="+path.Join(givenFolder, givenFile))
	}
	return env
}

// secretEnv names what the daemon asks this worker for: the values are in no definition.
func (a *attempt) secretEnv() []*pb.SecretEnv {
	out := make([]*pb.SecretEnv, 0, len(a.work.Secret))
	for _, k := range slices.Sorted(maps.Keys(a.work.Secret)) {
		out = append(out, &pb.SecretEnv{ID: buildkit.SecretEnv(k), Name: k})
	}
	return out
}

// alive ends the context when the daemon no longer knows the build.
func alive(ctx context.Context, c gateway.Client) (context.Context, func()) {
	return buildkit.Pulse(ctx, func(ctx context.Context) error {
		if _, err := c.Inputs(ctx); err != nil {
			return fmt.Errorf("%w: %w", errDaemonLost, err)
		}
		return nil
	})
}

// collect reads the report files. What is wrong with them is part of the result.
func (a *attempt) collect(ctx context.Context, f files, workdir string) {
	a.dir = workdir
	a.keep(ctx, f, workdir)
	a.cover(ctx, f, workdir)
	if a.work.Report == "" {
		return
	}
	pattern := a.work.Report
	if !path.IsAbs(pattern) {
		pattern = path.Join(workdir, pattern)
	}
	if a.raw {
		a.files = readFiles(ctx, f, pattern, a.task.Mask)
		return
	}
	a.reports = readReports(ctx, f, pattern, a.task.Mask)
}
