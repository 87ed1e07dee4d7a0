// Package agent carries out leased attempts: it fetches the source, runs the runner of
// the kind of work within the chain of decorators, and answers a completion.
//
// Leases, heartbeats and reconnecting are internal/session's, which calls Handle; what
// a kind of work means is its runner's.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/report"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/workspace"
)

// Config of an agent.
type Config struct {
	Coordinator pb.WorkerServiceClient
	Runner      runner.Runner // of all kinds
	Workspaces  *workspace.Cache
	// Around wraps every attempt, the first one outermost; fetching the source is within it.
	Around []runner.Decorator
	// Left is told the keys of what an attempt that came to an end has left in the machine's caches; nil: nobody is.
	Left func(keys []uint64)
	Log  *slog.Logger
	Now  func() time.Time
}

// Agent carries out attempts. It may be used from many goroutines.
type Agent struct {
	cfg Config
}

// New makes an agent.
func New(cfg Config) *Agent { return &Agent{cfg: cfg} }

// Handle is the session's handler.
func (a *Agent) Handle(ctx context.Context, l *session.Lease) *pb.Completion {
	t := report.Task(l.Grant)
	l.Grant.Secrets = nil // the task has them; nobody else looks at them
	defer func() {
		for _, value := range t.Secrets {
			clear(value)
		}
	}()
	log := a.cfg.Log.With("run", t.Run, "task", t.ID, "attempt", t.Attempt)
	log.InfoContext(ctx, "attempt begins")
	begin := a.cfg.Now()
	sink := report.NewSink(l, a.cfg.Now)
	ctx, stop := causes(ctx)
	defer stop()
	run := runner.Func(func(ctx context.Context, t runner.Task, r runner.Report) runner.Outcome {
		return a.prepared(ctx, l.Grant, t, r)
	})
	o := runner.Decorate(run, a.cfg.Around...).Run(ctx, t, sink)
	sink.Flush()
	if o.Kind != runner.Succeeded && o.Message != "" {
		_, _ = fmt.Fprintf(sink, "\n%s: %s\n", o.Kind, o.Message)
	}
	end := a.cfg.Now()
	log.InfoContext(ctx, "attempt ended", "outcome", o.Kind, "class", o.Class, "took", end.Sub(begin), "err", problem(o))
	if at := sink.Begun(); !at.IsZero() {
		begin = at
	}
	if a.cfg.Left != nil && !sink.Begun().IsZero() && (o.Kind == runner.Succeeded || o.Kind == runner.Failed) {
		a.cfg.Left(l.Grant.GetKeys())
	}
	return report.Completion(o, begin, end)
}

// problem is the first line of what went wrong, for the log.
func problem(o runner.Outcome) string {
	if o.Kind == runner.Succeeded {
		return ""
	}
	line, _, _ := strings.Cut(o.Message, "\n")
	return line
}

// causes makes the session's reasons for ending an attempt the runner's.
func causes(ctx context.Context) (context.Context, func()) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		switch {
		case errors.Is(cause, session.ErrCanceled):
			// The session's text is "canceled: <why>"; the sentinel is told apart, the reason kept.
			why := strings.TrimPrefix(strings.TrimPrefix(cause.Error(), session.ErrCanceled.Error()), ": ")
			if why == "" {
				cancel(runner.ErrCanceled)
				return
			}
			cancel(fmt.Errorf("%w: %s", runner.ErrCanceled, why))
		case errors.Is(cause, session.ErrLost):
			cancel(runner.ErrLost)
		default:
			cancel(runner.ErrShutdown)
		}
	})
	return out, func() { stop(); cancel(nil) }
}

// prepared runs the runner on the source of the attempt.
func (a *Agent) prepared(ctx context.Context, g *pb.Grant, t runner.Task, r runner.Report) runner.Outcome {
	if t.Work == nil {
		return a.cfg.Runner.Run(ctx, t, r) // which says so
	}
	begin := a.cfg.Now()
	src := workspace.Source{Project: t.Project, Commit: t.Commit, Paths: t.Work.SourcePaths(), Untrusted: g.GetUntrusted()}
	step := runner.Step{Name: "fetch source", Kind: "fetch", Started: begin, Attributes: map[string]string{"paths": strings.Join(src.Paths, " ")}}
	state := runner.Progress{ID: "source", Name: step.Name, Started: begin}
	r.Progress(state)
	got, release, err := a.cfg.Workspaces.Acquire(ctx, src, origin{a.cfg.Coordinator, g.GetLease()})
	step.Finished, step.Cached = a.cfg.Now(), got.Reused
	state.Finished, state.Cached = step.Finished, got.Reused
	if err != nil {
		o := fetchFailed(ctx, t, err)
		step.Error, state.Error = o.Message, o.Message
		r.Progress(state)
		o.Steps = []runner.Step{step}
		return o
	}
	defer release()
	if !got.Reused {
		step.Attributes["files"], step.Attributes["fetched_bytes"] = strconv.Itoa(got.Files), strconv.FormatInt(got.Fetched, 10)
	}
	r.Progress(state)
	t.Workspace, t.Keep = got.Dir, a.keeper(ctx, src)
	o := a.cfg.Runner.Run(ctx, t, r)
	o.Steps = append([]runner.Step{step}, o.Steps...)
	return o
}

// keeper is Task.Keep: it takes a source again, which is there.
func (a *Agent) keeper(ctx context.Context, src workspace.Source) func() func() {
	return func() func() {
		_, release, err := a.cfg.Workspaces.Acquire(context.WithoutCancel(ctx), src, ended{})
		if err != nil {
			return nil
		}
		return release
	}
}

// ended is the origin of what is not fetched any more.
type ended struct{}

var errEnded = errors.New("the attempt has ended")

func (ended) List(context.Context, workspace.Source, []string) (string, []workspace.Entry, error) {
	return "", nil, errEnded
}

func (ended) Read(context.Context, workspace.Source, string, []int, func(int64, io.Reader) error) error {
	return errEnded
}

func fetchFailed(ctx context.Context, t runner.Task, err error) runner.Outcome {
	if o, ok := runner.Interrupted(ctx); ok {
		return o
	}
	var st interface{ GRPCStatus() *status.Status }
	switch {
	case errors.Is(err, workspace.ErrRefused):
		return runner.Fail("the source of commit %.12s cannot be used: %v", t.Commit, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return runner.Err("this worker has no disk space left for the source of commit %.12s: %v", t.Commit, err)
	case errors.As(err, &st) && slices.Contains([]codes.Code{codes.FailedPrecondition, codes.InvalidArgument}, st.GRPCStatus().Code()):
		// The commit has no such path, or is larger than what a coordinator serves.
		return runner.Fail("the source of commit %.12s lacks what %s needs: %s", t.Commit, t.ID, st.GRPCStatus().Message())
	case errors.As(err, &st) && st.GRPCStatus().Code() == codes.Unimplemented:
		return runner.Err("the coordinator is older than this worker and has no sources for it: update the coordinator first")
	default:
		return runner.Err("the source of commit %.12s could not be fetched from the coordinator: %v", t.Commit, err)
	}
}
