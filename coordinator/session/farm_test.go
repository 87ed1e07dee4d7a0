package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/session"
	"github.com/slipway-build/slipway/coordinator/watch"
	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/natstest"
	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// The clock of an embedded NATS server outlives it for a moment.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

const (
	// patience bounds every wait of these tests; nothing waits that long.
	patience = 20 * time.Second
	// ttl is what leases last by the farm's clock, which stands still but for advance.
	ttl        = time.Minute
	repository = "https://git.example.com/shop.git"
	commit     = "0123456789012345678901234567890123456789"
)

// farm is a coordinator without its API: one partition, the queue, the logs and sessions.
type farm struct {
	t        *testing.T
	js       jetstream.JetStream
	parts    *partition.Set
	logs     *logstore.Store
	hub      *session.Hub
	sessions *session.Server
	presence *presence
	cordons  *cordons
	client   pb.WorkerServiceClient
	unpack   atomic.Bool  // everybody can unpack logs
	clock    atomic.Int64 // nanoseconds since began
	began    time.Time
	run      string
	tokens   []string
}

// presence remembers what the dispatcher is told.
type presence struct {
	*dispatch.Dispatcher

	mu    sync.Mutex
	slots map[string]int
}

// cordons is what people have decided.
type cordons struct {
	mu      sync.Mutex
	known   map[string]cordon.Cordon
	changed chan struct{}
}

func (c *cordons) Of(name string) (cordon.Cordon, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, ok := c.known[name]
	return got, ok
}

func (c *cordons) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *cordons) change(f func(map[string]cordon.Cordon)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.known)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cordons) set(name, reason string) {
	c.change(func(known map[string]cordon.Cordon) { known[name] = cordon.Cordon{Name: name, Reason: reason} })
}

func (c *cordons) lift(name string) {
	c.change(func(known map[string]cordon.Cordon) { delete(known, name) })
}

func (p *presence) Worker(capability, instance string, slots int) {
	p.mu.Lock()
	p.slots[instance] = slots
	p.mu.Unlock()
	p.Dispatcher.Worker(capability, instance, slots)
}

func (p *presence) of(instance string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots[instance]
}

// effects: these plans have no task that needs them.
type effects struct{}

func (effects) Pin(context.Context, string, string, string) error { return errors.ErrUnsupported }
func (effects) PutBlob(context.Context, string, []byte) (string, error) {
	return "", errors.ErrUnsupported
}

func (effects) Judge(context.Context, string, findings.Input) (plan.FindingsSummary, string, error) {
	return plan.FindingsSummary{}, "", errors.ErrUnsupported
}

func (effects) Sign(context.Context, string, string, plan.Result) (string, error) {
	return "", errors.ErrUnsupported
}

// service is the part of WorkerService that the package serves.
type service struct {
	pb.UnimplementedWorkerServiceServer

	sessions *session.Server
}

func (s service) Session(g grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	return s.sessions.Session(g)
}

// newFarm serves a run of so many independent builds.
func newFarm(t *testing.T, tasks int) *farm {
	t.Helper()
	return newFarmOf(t, builds(tasks), nil)
}

// newFarmOf serves a run of a plan whose tasks need nothing of each other.
func newFarmOf(t *testing.T, p *plan.Plan, secrets session.Secrets) *farm {
	t.Helper()
	f := &farm{t: t, js: natstest.Start(t).JetStream(t), began: time.Now()}
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { return f.began.Add(time.Duration(f.clock.Load())) }
	var err error
	if f.logs, err = logstore.Open(t.Context(), f.js, 1, 0, log); err != nil {
		t.Fatal(err)
	}
	f.hub = watch.New[[]*pb.ProgressStep](func(*run.Run, []*run.Task) {})
	f.presence = &presence{slots: map[string]int{}, Dispatcher: dispatch.New(dispatch.Config{
		Open: func(ctx context.Context) (dispatch.Queue, error) { return queue.Open(ctx, f.js, 1) }, Log: log, Now: now,
		Offer: func(instance, capability, token string) bool { return f.sessions.Offer(instance, capability, token) },
	})}
	f.parts, err = partition.NewSet(t.Context(), 1, partition.Config{
		JS: f.js, TTL: ttl, Journal: func(ctx context.Context, number int) (partition.Journal, error) {
			return journal.Open(ctx, f.js, journal.Config{Partition: number, Owner: "test", Log: log, Now: now})
		},
		Dispatch: f.presence, Effects: effects{}, Listener: f.hub, Log: log, Now: now,
		Plans: func(context.Context, string) (*plan.Plan, error) { return p, nil }, Suffix: func() string { return "test" },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.cordons = &cordons{known: map[string]cordon.Cordon{}, changed: make(chan struct{})}
	f.unpack.Store(true)
	f.sessions = session.New(session.Config{
		Partitions: f.parts, Presence: f.presence, Cordons: f.cordons, Logs: f.logs, Hub: f.hub, TTL: ttl, Log: log,
		Puller:      func(capability string) *queue.Puller { return queue.NewPuller(f.js, capability) },
		Secrets:     secrets,
		Packed:      f.unpack.Load,
		Traceparent: func(id, task string, attempt int) string { return fmt.Sprintf("%s/%s/%d", id, task, attempt) },
	})
	f.serve()
	f.accept(p)
	f.advance(ttl + 2*time.Second) // the time that a new owner leaves to leases of the one before
	return f
}

func (f *farm) serve() {
	f.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(f.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	srv := grpc.NewServer()
	pb.RegisterWorkerServiceServer(srv, service{sessions: f.sessions})
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	var parts sync.WaitGroup
	parts.Go(func() { _ = f.parts.Run(ctx) })
	for _, p := range f.parts.All() {
		for !p.Here() { // until then commands are refused: it is nobody's
			runtime.Gosched()
		}
	}
	parts.Go(func() { _ = f.presence.Run(ctx) })
	parts.Go(func() { _ = f.sessions.Steer(ctx) })
	parts.Go(func() { _ = srv.Serve(l) })
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = cc.Close()
		srv.Stop()
		cancel()
		parts.Wait()
		f.logs.Close()
	})
	f.client = pb.NewWorkerServiceClient(cc)
}

func builds(n int) *plan.Plan {
	p := &plan.Plan{Version: plan.Version, Project: "shop", Repository: repository, Commit: commit}
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		p.Services = append(p.Services, plan.Service{Name: name})
		p.Tasks = append(p.Tasks, plan.Task{
			ID: plan.BuildID(name), Kind: plan.KindBuild, Service: name, Can: plan.CapabilityBuild, Timeout: 60, Infra: 3,
			Build: &plan.Build{Paths: []string{name}, Dockerfile: name + "/Dockerfile", Platform: "linux/amd64"},
		})
	}
	return p
}

func (f *farm) accept(p *plan.Plan) {
	f.t.Helper()
	home, err := f.parts.Home(f.t.Context(), p.Project)
	if err != nil {
		f.t.Fatal(err)
	}
	err = home.Do(f.t.Context(), func(tx *partition.Tx) error {
		var err error
		f.run, _, err = tx.Accept(partition.Submission{Plan: p, PlanHash: "h", Key: fmt.Sprint("k", len(f.tokens)), TraceID: func(string) string { return "trace" }})
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.find(func(tx *partition.Tx, r *run.Run) {
		for _, t := range r.Tasks {
			f.tokens = append(f.tokens, tx.Token(r, t))
		}
	})
}

// find looks at the run.
func (f *farm) find(do func(*partition.Tx, *run.Run)) {
	f.t.Helper()
	err := f.parts.Find(f.t.Context(), f.run, func(tx *partition.Tx, r *run.Run) error { do(tx, r); return nil })
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) advance(d time.Duration) { f.clock.Add(int64(d)) }

// fetch takes n hints from the queue, as another worker would.
func (f *farm) fetch(n int) []queue.Hint {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	var got []queue.Hint
	for len(got) < n {
		err := queue.NewPuller(f.js, "build").Fetch(ctx, n-len(got), time.Second, func(h queue.Hint) { got = append(got, h) })
		if ctx.Err() != nil { // else it may be that its consumer is not made yet
			f.t.Fatalf("%d of %d hints: %v", len(got), n, err)
		}
	}
	return got
}

// log is what is stored of an attempt's log, all of size bytes.
func (f *farm) log(ref *pb.LeaseRef, size int64) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	var out []byte
	err := f.logs.Read(ctx, key(ref), 0, func() (int64, bool) { return size, true }, func(_ int64, b logblock.Block) error {
		data, err := b.Bytes()
		out = append(out, data...)
		return err //nolint:wrapcheck // it says what
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return string(out)
}

func key(ref *pb.LeaseRef) logstore.Key {
	return logstore.Key{Token: ref.GetToken(), Epoch: ref.GetFence().GetEpoch(), Counter: ref.GetFence().GetCounter()}
}
