package session_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; nothing waits that long.
const patience = 20 * time.Second

// coordinator is the other end of the wire, real down to the sockets, that says only
// what a test tells it to.
type coordinator struct {
	pb.UnimplementedWorkerServiceServer

	client  pb.WorkerServiceClient
	streams chan *conn
	silent  bool // of the next sessions
}

// conn is one session as the coordinator sees it.
type conn struct {
	t     *testing.T
	hello *pb.Hello
	st    grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]
	end   chan error // what the handler answers
	// silent: heartbeats are acknowledged by the test alone.
	silent bool

	sending sync.Mutex
	mu      sync.Mutex
	frames  []*pb.SessionRequest
	came    chan struct{} // closed and made anew with every frame
}

func newCoordinator(t *testing.T) *coordinator {
	t.Helper()
	c := &coordinator{streams: make(chan *conn, 16)}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	pb.RegisterWorkerServiceServer(srv, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cc.Close()
		srv.Stop()
		serving.Wait()
	})
	c.client = pb.NewWorkerServiceClient(cc)
	return c
}

// Session implements pb.WorkerServiceServer: it hands the stream to the test and
// collects what comes.
func (c *coordinator) Session(st grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	n := &conn{hello: first.GetHello(), st: st, end: make(chan error, 1), came: make(chan struct{}), silent: c.silent}
	c.streams <- n
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			m, err := st.Recv()
			if err != nil {
				n.hangUp(err)
				return
			}
			n.mu.Lock()
			n.frames = append(n.frames, m)
			close(n.came)
			n.came = make(chan struct{})
			n.mu.Unlock()
			if h := m.GetHeartbeat(); h != nil && !n.silent {
				_ = n.write(&pb.SessionResponse{HeartbeatAck: &pb.HeartbeatAck{Sequence: h.GetSequence()}})
			}
		}
	})
	err = <-n.end // reading ends with the handler: gRPC cancels the stream
	return err
}

func (n *conn) hangUp(err error) {
	select {
	case n.end <- err:
	default:
	}
}

// accept waits for the next session.
func (c *coordinator) accept(t *testing.T) *conn {
	t.Helper()
	n := await(t, "a session", c.streams)
	n.t = t
	return n
}

// ttl is what leases last by the test's clock, which stands still; heartbeats come four
// times as often by the real one.
const ttl = time.Second

// welcome accepts the next session and lets it work.
func (c *coordinator) welcome(t *testing.T, rejected ...*pb.LeaseRef) *conn {
	t.Helper()
	n := c.accept(t)
	n.send(&pb.SessionResponse{Welcome: &pb.Welcome{Ttl: durationpb.New(ttl), Rejected: rejected}})
	return n
}

func (n *conn) send(m *pb.SessionResponse) {
	n.t.Helper()
	if err := n.write(m); err != nil {
		n.t.Fatalf("the coordinator sends: %v", err)
	}
}

func (n *conn) write(m *pb.SessionResponse) error {
	n.sending.Lock()
	defer n.sending.Unlock()
	return n.st.Send(m)
}

// until waits until what has come on this session satisfies ok.
func (n *conn) until(what string, ok func(frames []*pb.SessionRequest) bool) {
	n.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		n.mu.Lock()
		frames, came := n.frames, n.came
		n.mu.Unlock()
		if ok(frames) {
			return
		}
		select {
		case <-came:
		case <-timeout.C:
			n.t.Fatalf("no %s among %d frames", what, len(frames))
		}
	}
}

// requests waits for n lease requests and answers all tokens that were asked for.
func (n *conn) requests(count int) []string {
	n.t.Helper()
	var tokens []string
	n.until("lease request", func(frames []*pb.SessionRequest) bool {
		tokens = nil
		for _, m := range frames {
			for _, r := range m.GetLeaseRequests() {
				tokens = append(tokens, r.GetToken())
			}
		}
		return len(tokens) >= count
	})
	return tokens
}

// completion waits for the completion of a token.
func (n *conn) completion(token string) *pb.Completion {
	n.t.Helper()
	var found *pb.Completion
	n.until("completion of "+token, func(frames []*pb.SessionRequest) bool {
		for _, m := range frames {
			for _, c := range m.GetCompletions() {
				if c.GetLease().GetToken() == token {
					found = c
				}
			}
		}
		return found != nil
	})
	return found
}

// beat waits for a heartbeat that is younger than a sequence and satisfies ok.
func (n *conn) beat(after uint64, ok func(*pb.Heartbeat) bool) *pb.Heartbeat {
	n.t.Helper()
	var found *pb.Heartbeat
	n.until("heartbeat", func(frames []*pb.SessionRequest) bool {
		for _, m := range frames {
			if h := m.GetHeartbeat(); h.GetSequence() > after && ok(h) {
				found = h
			}
		}
		return found != nil
	})
	return found
}

func (n *conn) ack(h *pb.Heartbeat) {
	n.t.Helper()
	n.send(&pb.SessionResponse{HeartbeatAck: &pb.HeartbeatAck{Sequence: h.GetSequence()}})
}

// log is what has come of a token's log, which must have no gap after from.
func (n *conn) log(token string, from int64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []byte
	for _, m := range n.frames {
		for _, c := range m.GetLogs() {
			if c.GetLease().GetToken() != token {
				continue
			}
			if at := from + int64(len(out)); c.GetOffset() != at {
				n.t.Errorf("log chunk of %s begins at %d, want %d", token, c.GetOffset(), at)
			}
			data, err := logblock.Received(c.GetData(), c.GetPacked()).Bytes()
			if err != nil {
				n.t.Error(err)
			}
			out = append(out, data...)
		}
	}
	return string(out)
}

func holds(tokens ...string) func(*pb.Heartbeat) bool {
	return func(h *pb.Heartbeat) bool {
		have := map[string]bool{}
		for _, ref := range h.GetHeld() {
			have[ref.GetToken()] = true
		}
		for _, t := range tokens {
			if !have[t] {
				return false
			}
		}
		return len(have) == len(tokens)
	}
}

func ref(token string, counter uint64) *pb.LeaseRef {
	return &pb.LeaseRef{Token: token, Attempt: 1, Fence: &pb.Fence{Epoch: 7, Counter: counter}}
}

func grant(token string) *pb.SessionResponse {
	return &pb.SessionResponse{Grants: []*pb.Grant{{Lease: ref(token, 1), Run: "run", TaskId: "build/" + token}}}
}

func offer(tokens ...string) *pb.SessionResponse {
	m := &pb.SessionResponse{}
	for _, t := range tokens {
		m.Offers = append(m.Offers, &pb.Offer{Token: t, Capability: "build"})
	}
	return m
}

// work is a handler that tells the test what begins, and ends when the test says so.
type work struct {
	begun chan *attempt
}

type attempt struct {
	ctx    context.Context //nolint:containedctx // the handler's, for the test to look at
	lease  *session.Lease
	finish chan pb.Outcome
}

func (w *work) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	a := &attempt{ctx: ctx, lease: l, finish: make(chan pb.Outcome, 1)}
	w.begun <- a
	select {
	case o := <-a.finish:
		return &pb.Completion{Outcome: o}
	case <-ctx.Done():
		return &pb.Completion{Outcome: pb.Outcome_OUTCOME_CANCELED, Message: context.Cause(ctx).Error()}
	}
}

// worker is a running session.
type worker struct {
	*work

	session *session.Session
	stop    func() // what SIGTERM does
	done    chan error
	clock   atomic.Int64 // nanoseconds since the test began
}

func run(t *testing.T, c *coordinator, change func(*session.Config)) *worker {
	t.Helper()
	w := &worker{work: &work{begun: make(chan *attempt, 16)}, done: make(chan error, 1)}
	began := time.Now()
	cfg := session.Config{
		Client: c.client, Name: "w", Instance: "instance-1", Version: "test", Slots: map[string]int{"build": 2},
		Log:   slog.New(slog.DiscardHandler),
		Drain: time.Second, // what a test that has failed leaves is not waited for
		Now:   func() time.Time { return began.Add(time.Duration(w.clock.Load())) },
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w.stop = cancel
	s := session.New(cfg, w.handle)
	w.session = s
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer close(ended)
		w.done <- s.Run(ctx)
	})
	t.Cleanup(func() {
		cancel()
		for { // whoever still waits for an acknowledgment is refused for good
			select {
			case n := <-c.streams:
				n.hangUp(errGone)
				continue
			case <-ended:
			}
			break
		}
		running.Wait()
	})
	return w
}

func await[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s after %s", what, patience)
		panic("unreachable")
	}
}
