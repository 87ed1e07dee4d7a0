package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// link is a TCP relay to the coordinator that can be broken.
type link struct {
	l     net.Listener
	to    string
	mu    sync.Mutex
	conns []net.Conn
	down  bool
	wg    sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{l: l, to: to}
	k.wg.Go(k.accept)
	t.Cleanup(func() { _ = l.Close(); k.set(true); k.wg.Wait() })
	return k
}

func (k *link) accept() {
	for {
		in, err := k.l.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", k.to)
		k.mu.Lock()
		if err != nil || k.down {
			_ = in.Close()
			if out != nil {
				_ = out.Close()
			}
			k.mu.Unlock()
			continue
		}
		k.conns = append(k.conns, in, out)
		k.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			k.wg.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_, _ = pair[0].Close(), pair[1].Close()
			})
		}
	}
}

// set closes every connection; while it is down no new ones go through.
func (k *link) set(down bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = down
	for _, c := range k.conns {
		_ = c.Close()
	}
	k.conns = nil
}

func (k *link) client(t *testing.T, token string) pb.WorkerServiceClient {
	t.Helper()
	auth := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	c, err := grpc.NewClient(k.l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, m string, s grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			return s(auth(ctx), d, cc, m, o...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return pb.NewWorkerServiceClient(c)
}

// lone runs one session that is offered every task.
func (f *farm) lone(t *testing.T, c pb.WorkerServiceClient, name string, slots int, h session.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := session.New(session.Config{
		Client: c, Name: name, Instance: rpc.NewToken()[:16], Slots: map[string]int{"build": slots, "render": slots, "deploy_one": slots, "deploy_two": slots},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now, Spool: 64 << 10,
	}, h)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("session: %v", err)
		}
	})
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

func TestALostConnectionKeepsTheLeaseAndItsLogWhole(t *testing.T) {
	f := start(t)
	k := newLink(t, f.address)
	const lines = 4000
	var tries, running, most atomic.Int32
	stop := f.lone(t, k.client(t, f.worker), "w", 1, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetTaskId() != "build/api" {
			return good(ctx, l)
		}
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		tries.Add(1)
		for i := range lines {
			fmt.Fprintf(l, "line %06d of what the build says\n", i)
			if i%1000 == 999 {
				k.set(false)
			}
		}
		return &pb.Completion{Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Result: &pb.Result{Image: l.Grant.GetBuild().GetPush() + "@" + digest("api")}}
	})
	defer stop()
	r := f.end(t, f.submit(t, "k1").GetId())
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || tries.Load() != 1 || most.Load() > 1 {
		t.Fatalf("run is %s: %s; %d attempts of build/api, want 1\n%s", r.GetState(), r.GetMessage(), tries.Load(), states(r))
	}
	log, err := pb.NewLogServiceClient(f.dial(t, f.admin)).Tail(t.Context(), &pb.TailRequest{Run: r.GetId(), Task: "build/api"})
	if err != nil {
		t.Fatal(err)
	}
	var got, want strings.Builder
	for {
		m, err := log.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got.Write(m.GetData())
	}
	for i := range lines {
		fmt.Fprintf(&want, "line %06d of what the build says\n", i)
	}
	if got.String() != want.String() {
		t.Errorf("the log has %d bytes and is not the %d that were written, in order", got.Len(), want.Len())
	}
}

func TestAWorkerThatIsCutOffStopsBeforeAnotherBegins(t *testing.T) {
	f := start(t)
	k := newLink(t, f.address)
	begun, stopped := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	stop := f.lone(t, k.client(t, f.worker), "cut", 1, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetTaskId() != "build/api" {
			return good(ctx, l)
		}
		once.Do(func() { close(begun) })
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return &pb.Completion{Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Result: &pb.Result{Image: "late"}}
	})
	id := f.submit(t, "k1").GetId()
	<-begun
	k.set(true)
	var cause error
	stop2 := f.lone(t, f.workers, "other", 1, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetTaskId() == "build/api" {
			select {
			case cause = <-stopped:
			default:
				t.Error("the task was given to another while the first still worked on it")
			}
		}
		return good(ctx, l)
	})
	r := f.end(t, id)
	stop2()
	if !errors.Is(cause, session.ErrLost) {
		t.Errorf("the handler was stopped with %v, want %v", cause, session.ErrLost)
	}
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("run is %s: %s", r.GetState(), r.GetMessage())
	}
	for _, task := range r.GetTasks() {
		if task.GetId() == "build/api" && (len(task.GetAttempts()) != 2 || task.GetResult().GetImage() == "late") {
			t.Errorf("attempts %v, result %v", task.GetAttempts(), task.GetResult())
		}
	}
	stop()
}

func TestALateCompletionIsAborted(t *testing.T) {
	f := start(t)
	id := f.submit(t, "k1").GetId()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := f.workers.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	say := func(m *pb.SessionRequest) {
		t.Helper()
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	slots := []*pb.Capacity{{Capability: "build", Slots: 1}}
	say(&pb.SessionRequest{Hello: &pb.Hello{Name: "late", Instance: "0123456789", Capacity: slots, Offers: true}, Heartbeat: &pb.Heartbeat{Sequence: 1, Free: slots}})
	var grant *pb.Grant
	for grant == nil {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range m.GetOffers() {
			say(&pb.SessionRequest{LeaseRequests: []*pb.LeaseRequest{{Token: o.GetToken()}}})
		}
		for _, g := range m.GetGrants() {
			grant = g
		}
	}
	// No heartbeat: the lease runs out, and somebody else does it.
	defer f.work(t, good)()
	if r := f.end(t, id); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("run is %s: %s", r.GetState(), r.GetMessage())
	}
	say(&pb.SessionRequest{Completions: []*pb.Completion{{Lease: grant.GetLease(), Outcome: pb.Outcome_OUTCOME_FAILED}}})
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range m.GetCompletionAcks() {
			if !a.GetAborted() {
				t.Error("a late completion was used")
			}
			return
		}
	}
}
