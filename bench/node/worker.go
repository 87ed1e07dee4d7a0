package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	"github.com/slipway-build/slipway/internal/telemetry"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Worker is a process that leases tasks over the session that real workers use. A task
// whose build has the argument SLEEP is that command, one that has LOG writes, and any other is
// nothing at all.
type Worker struct {
	Name        string         `json:"name"`
	Coordinator string         `json:"coordinator"`
	Token       string         `json:"token"`
	NATS        string         `json:"nats"`
	Slots       map[string]int `json:"slots"` // by capability
	// Sessions is how many workers this process is; 0: one.
	Sessions int    `json:"sessions,omitempty"`
	OTLP     string `json:"otlp,omitempty"` // where spans go; empty: nowhere
}

// Run works until the input ends.
func (w Worker) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	daemon.CollectSeldom()
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	js, hangUp, err := queue.Connect(ctx, queue.Address{URL: w.NATS}, w.Name, log)
	if err != nil {
		return fmt.Errorf("task queue: %w", err)
	}
	defer hangUp()
	// A real worker's runners make spans of what they do. These do nothing: only calls are traced.
	tracing, err := telemetry.NewTracing(ctx, telemetry.TraceConfig{Endpoint: w.OTLP, Service: "slipway-worker", Version: "bench"})
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	defer tracing.Shutdown(context.WithoutCancel(ctx)) //nolint:errcheck // no span of it is waited for
	first := &firstLease{came: make(chan First, 1), gate: newGate()}
	g, ctx := errgroup.WithContext(ctx)
	for range max(1, w.Sessions) {
		conn, err := rpc.Dial(ctx, w.Coordinator, rpc.DialOptions{Token: w.Token, Tracer: tracing.Provider()})
		if err != nil {
			return fmt.Errorf("coordinator: %w", err)
		}
		defer conn.Close()
		hints := map[string]session.Hints{}
		for c := range w.Slots {
			hints[c] = queue.NewPuller(js, c)
		}
		s := session.New(session.Config{
			Client: pb.NewWorkerServiceClient(conn), Name: w.Name, Instance: rand.Text(), Version: "bench", Slots: w.Slots, Hints: hints,
			Drain: time.Second, Log: log, Now: time.Now,
		}, first.around)
		g.Go(func() error { return s.Run(ctx) })
	}
	g.Go(func() error {
		defer cancel()
		return Serve(ctx, in, out, struct{}{}, Ops{"first": Handle(first.wait), "go": Handle(first.gate.release)})
	})
	return g.Wait()
}

// firstLease notes the first task that the process was given.
type firstLease struct {
	once sync.Once
	came chan First
	gate *gate // that tasks which write wait at
}

func (f *firstLease) around(ctx context.Context, l *session.Lease) *pb.Completion {
	f.once.Do(func() { f.came <- First{Run: l.Grant.GetRun(), Task: l.Grant.GetTaskId(), At: time.Now()} })
	if l.Grant.GetBuild().GetArgs()[Log] != "" {
		return f.gate.logged(ctx, l)
	}
	return carryOut(ctx, l)
}

// wait answers it, once.
func (f *firstLease) wait(ctx context.Context, _ struct{}) (any, error) {
	select {
	case first := <-f.came:
		return first, nil
	case <-time.After(5 * time.Minute):
		return nil, errors.New("no task came within five minutes")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func carryOut(ctx context.Context, l *session.Lease) *pb.Completion {
	c := &pb.Completion{Outcome: pb.Outcome_OUTCOME_SUCCEEDED, StartedAt: timestamppb.Now(), Result: &pb.Result{}}
	if d := l.Grant.GetBuild().GetArgs()[Sleep]; d != "" {
		if err := exec.CommandContext(ctx, "sleep", d).Run(); err != nil {
			c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_ERRORED, pb.FailureClass_FAILURE_CLASS_INFRA, "sleep: "+err.Error()
		}
	}
	c.FinishedAt = timestamppb.Now()
	return c
}

// Sleep names the argument of a build that says how many seconds it takes.
const Sleep = "SLEEP"
