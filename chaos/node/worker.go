package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Worker is a process that leases tasks as real workers do: builds and renders by hints
// from the queue, deployments by offers over its session. A task's work is to wait for a
// while, and then one effect at the witness under the lease's fence.
type Worker struct {
	Name        string        `json:"name"`
	Coordinator string        `json:"coordinator"`
	Token       string        `json:"token"`
	NATS        string        `json:"nats"`
	Witness     string        `json:"witness"`
	Slots       int           `json:"slots"`    // of each capability
	Hold        time.Duration `json:"hold"`     // how long a task takes on average
	LogLines    int           `json:"logLines"` // that each attempt writes
	// Renders: what it renders is a release for a cluster, which it stores, and not just said to be one.
	Renders bool `json:"renders,omitempty"`
	// Blind: its clock stands still, so that it never notices by itself that the time of a
	// lease is over: the worst that a process does that was stopped at the wrong moment.
	Blind bool `json:"blind,omitempty"`
	// Deaf: it goes on when it is told that a lease is lost.
	Deaf bool `json:"deaf,omitempty"`
}

// deploys is the capability of deployers to the one cluster of an experiment.
const deploys = "deploy_one"

// Run works until the input ends.
func (w Worker) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	see, err := witness.Dial(w.Witness, w.Name)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	js, hangUp, err := queue.Connect(ctx, queue.Address{URL: w.NATS}, w.Name, log)
	if err != nil {
		return fmt.Errorf("task queue: %w", err)
	}
	defer hangUp()
	conn, err := rpc.Dial(ctx, w.Coordinator, rpc.DialOptions{Token: w.Token})
	if err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	defer conn.Close()
	c := session.Config{
		Client: tap{pb.NewWorkerServiceClient(conn), see}, Version: "chaos", Drain: time.Second, Log: log, Now: time.Now,
	}
	if w.Blind {
		began := time.Now()
		c.Now = func() time.Time { return began }
	}
	h := handler{Worker: w, see: see, blobs: c.Client}
	builder, deployer := c, c
	var held holdings
	if number(w.Name)%2 == 0 { // half of them are offered tasks, as workers with BuildKit are
		builder.Holdings = held.keys
	}
	builder.Name, builder.Instance = w.Name, rand.Text()
	builder.Slots = map[string]int{"build": w.Slots, "render": w.Slots}
	builder.Hints = map[string]session.Hints{"build": queue.NewPuller(js, "build"), "render": queue.NewPuller(js, "render")}
	deployer.Name, deployer.Instance = w.Name+"-d", rand.Text()
	deployer.Slots = map[string]int{deploys: w.Slots}
	g, ctx := errgroup.WithContext(ctx)
	building := session.New(builder, held.around(h.carryOut))
	held.say = building.Hold
	g.Go(func() error { return building.Run(ctx) })
	g.Go(func() error { return session.New(deployer, h.carryOut).Run(ctx) })
	g.Go(func() error { return untilEOF(cancel, in, out, Ready{}) })
	return g.Wait()
}

// holdings are what earlier tasks have left.
type holdings struct {
	say func(added, dropped []uint64)

	mu  sync.Mutex
	all []uint64
}

func (h *holdings) keys() []uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// around says what a task that was carried out has left.
func (h *holdings) around(next session.Handler) session.Handler {
	return func(ctx context.Context, l *session.Lease) *pb.Completion {
		c := next(ctx, l)
		var added []uint64
		h.mu.Lock()
		for _, k := range l.Grant.GetKeys() {
			if !slices.Contains(h.all, k) {
				h.all, added = append(h.all, k), append(added, k)
			}
		}
		h.mu.Unlock()
		h.say(added, nil)
		return c
	}
}

// number made of words.
func number(words ...any) uint32 {
	f := fnv.New32a()
	fmt.Fprint(f, words...)
	return f.Sum32()
}

// handler carries out tasks.
type handler struct {
	Worker

	see   *witness.Client
	blobs pb.WorkerServiceClient
}

func (h handler) carryOut(ctx context.Context, l *session.Lease) *pb.Completion {
	started := timestamppb.Now()
	ref := l.Grant.GetLease()
	a := witness.Attempt{
		Run: l.Grant.GetRun(), Task: l.Grant.GetTaskId(), Number: ref.GetAttempt(),
		Fence: witness.Fence{Epoch: ref.GetFence().GetEpoch(), Counter: ref.GetFence().GetCounter()},
	}
	c := &pb.Completion{Outcome: pb.Outcome_OUTCOME_ERRORED, FailureClass: pb.FailureClass_FAILURE_CLASS_INFRA, Result: &pb.Result{}, StartedAt: started}
	defer func() { c.FinishedAt = timestamppb.Now() }()
	if !h.see.Begin(a) && !h.Deaf {
		c.Message = "an attempt after this one has begun"
		return c
	}
	l.Started()
	if !h.work(ctx, l, a) {
		h.see.Left(a)
		c.Message = context.Cause(ctx).Error()
		return c
	}
	if !h.see.Effect(a) {
		c.Message = "the effect was refused: an attempt after this one has begun"
		return c
	}
	c.Outcome, c.FailureClass = pb.Outcome_OUTCOME_SUCCEEDED, pb.FailureClass_FAILURE_CLASS_UNSPECIFIED
	result(l.Grant, c.Result)
	if l.Grant.GetRender() != nil && h.Renders {
		var err error
		if c.Result.Manifests, err = h.store(ctx, release(l.Grant)); err != nil {
			c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_ERRORED, pb.FailureClass_FAILURE_CLASS_INFRA, err.Error()
		}
	}
	return c
}

// work waits, and says so. False: it was told to end.
func (h handler) work(ctx context.Context, l *session.Lease, a witness.Attempt) bool {
	stop := ctx.Done()
	if h.Deaf {
		stop = nil
	}
	lines := max(1, h.LogLines)
	for i := range lines {
		if h.LogLines > 0 {
			fmt.Fprint(l, witness.Line(a, i))
		}
		if i%100 != 99 && i != lines-1 {
			continue
		}
		select {
		case <-time.After(h.takes(a) * time.Duration(min(100, lines)) / time.Duration(lines)):
		case <-stop:
			return false
		}
	}
	return true
}

// takes is between a half and one and a half of the average.
func (h handler) takes(a witness.Attempt) time.Duration {
	return h.Hold/2 + h.Hold*time.Duration(number(a.Run, a.Task, a.Number)%1000)/1000
}

// result is what a task of its kind leaves.
func result(g *pb.Grant, r *pb.Result) {
	digest := "sha256:" + strings.Repeat(fmt.Sprintf("%02x", len(g.GetTaskId())), 32)
	switch w := g.GetWork().(type) {
	case *pb.Grant_Build:
		r.Image = w.Build.GetPush() + "@" + digest
	case *pb.Grant_Render:
		r.Manifests = digest
	case *pb.Grant_Apply:
		r.Deploy = &pb.Deployed{State: "healthy"}
	case *pb.Grant_Rollback:
		r.Deploy = &pb.Deployed{State: "removed"}
	}
}
