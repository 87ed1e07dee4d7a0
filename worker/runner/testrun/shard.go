package testrun

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/split"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

// Where a command finds the items of its shard, each on a line.
const (
	givenFolder = "/.slipway/given"
	givenFile   = "tests"
)

// listError is a list that names nothing that could be split: the test's own business.
type listError struct{ short, message string }

func (e *listError) Error() string { return e.message }

// given is where the command finds its items: nowhere, if it is no shard that is given any. Every
// shard makes the list itself, of the same stage, so that none waits for another.
func (a *attempt) given(ctx context.Context, c gateway.Client, stage gateway.Reference, config ocispecs.ImageConfig) ([]gateway.Mount, error) {
	shard := a.work.Shard
	if shard == nil {
		return nil, nil
	}
	step := a.watch.Begin(fmt.Sprintf("[test %s] list: %s", a.work.Name, shard.List), "exec")
	printed, err := a.list(ctx, c, stage, config, step)
	if err != nil {
		if bad := (*listError)(nil); errors.As(err, &bad) {
			bad.message += after(buildkit.Tail(step.End(bad.short)))
		} else {
			step.End(err.Error())
		}
		return nil, err
	}
	all, err := split.List(printed)
	if err != nil {
		step.End(err.Error())
		return nil, &listError{message: fmt.Sprintf("list: `%s`: %v; it must print what there is to test, each on a line", shard.List, err)}
	}
	a.listed = split.Hash(all)
	a.items = split.Part(all, shard.Usual, shard.Number, shard.Of)
	fmt.Fprintf(step, "shard %d of %d is given %d of %d tests; %s\n", shard.Number, shard.Of, len(a.items), len(all), measured(all, shard.Usual))
	step.End("")
	def, err := llb.Scratch().File(llb.Mkfile("/"+givenFile, 0o444, []byte(strings.Join(append(a.items, ""), "\n"))), llb.WithCustomName("[test "+a.work.Name+"] its part of the tests")).Marshal(ctx)
	if err != nil {
		return nil, fmt.Errorf("give a shard its tests: %w", err)
	}
	res, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, fmt.Errorf("give a shard its tests: %w", err)
	}
	ref, err := res.SingleRef()
	if err != nil {
		return nil, fmt.Errorf("give a shard its tests: %w", err)
	}
	return []gateway.Mount{{Dest: givenFolder, MountType: pb.MountType_BIND, Ref: ref, Readonly: true}}, nil
}

func measured(all []string, usual map[string]time.Duration) string {
	n := 0
	for _, name := range all {
		if _, ok := usual[name]; ok {
			n++
		}
	}
	switch n {
	case 0:
		return "none was measured before: each counts the same"
	case len(all):
		return "all were measured before"
	default:
		return fmt.Sprintf("%d were measured before; the others count as the average", n)
	}
}

// list is what the list command prints.
func (a *attempt) list(ctx context.Context, c gateway.Client, stage gateway.Reference, config ocispecs.ImageConfig, step *buildkit.Running) ([]byte, error) {
	ctr, err := a.container(ctx, c, stage, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = ctr.Release(release)
	}()
	live, stop := alive(ctx, c)
	defer stop()
	printed := &bounded{limit: split.MaxList}
	p, err := ctr.Start(live, gateway.StartRequest{
		Args: []string{"/bin/sh", "-c", a.work.Shard.List}, Env: a.env(config.Env), SecretEnv: a.secretEnv(), User: config.User, Cwd: config.WorkingDir,
		Stdout: printed, Stderr: step.Stderr(),
	})
	if err == nil {
		err = p.Wait()
	}
	var exit *gatewaypb.ExitError
	switch lost := context.Cause(live); {
	case lost != nil:
		return nil, lost
	case errors.As(err, &exit):
		short := fmt.Sprintf("exit code %d", exit.ExitCode)
		return nil, &listError{short: short, message: fmt.Sprintf("list: `%s` ended with %s", a.work.Shard.List, short)}
	case err != nil:
		return nil, err
	case printed.more:
		short := fmt.Sprintf("printed more than %d bytes", printed.limit)
		return nil, &listError{short: short, message: fmt.Sprintf("list: `%s` %s", a.work.Shard.List, short)}
	}
	return printed.Bytes(), nil
}

// bounded keeps what fits.
type bounded struct {
	answer

	limit int
	more  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); len(p) > room {
		b.more = true
		b.answer.Write(p[:room])
		return len(p), nil
	}
	return b.answer.Write(p)
}

// times are what each item of the shard took.
func (a *attempt) times(took []testreport.Took) []split.Item {
	cases := make([]split.Case, len(took))
	for i, t := range took {
		cases[i] = split.Case{Suite: t.Suite, Name: t.Name, File: t.File, Took: t.Duration}
	}
	items := split.Measure(a.items, cases, a.took)
	for i := range items {
		items[i].Name = a.task.Mask.Text(items[i].Name)
	}
	return items
}
