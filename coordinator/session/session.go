// Package session is the coordinator's end of WorkerService: one stream per worker or
// deployer. It turns frames into commands of the partitions and their answers into
// frames, tells dispatch what the worker can take, and sees to it that the log of an
// attempt is durable before its end is. What may be leased is the partition's decision.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/placement"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/watch"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Hub is where progress goes.
type Hub = watch.Hub[[]*pb.ProgressStep]

// Change is one change of a run, as followers see it.
type Change = watch.Change[[]*pb.ProgressStep]

// Presence is told which workers are there, and what they have.
type Presence interface {
	Slots
	Places
}

// Slots are what workers can take.
type Slots interface {
	Worker(capability, instance string, slots int)
	// Aside says why a worker takes no task, in words that begin with its name; empty: it does.
	Aside(capability, instance, why string)
	// Take answers the task that a slot which became free is to have next; not ok: none.
	Take(capability, instance string) (token string, ok bool)
}

// Places are told what makes one worker better for a task than another.
type Places interface {
	// Holds says that a worker answers offers, and keys of what it holds.
	Holds(instance string, keys []uint64)
	// Held says what it holds since then, and does not any more.
	Held(instance string, added, dropped []uint64)
	// Free says how many of its slots are free.
	Free(capability, instance string, free, slots int)
	// Declined says that it does not take a task that it was offered.
	Declined(token string)
	// Forget says that it is gone.
	Forget(instance string)
}

// Secrets reads the values of a task's secrets, for one lease.
type Secrets interface {
	Resolve(ctx context.Context, t *plan.Task, project string, trusted bool) (map[string][]byte, error)
}

// Config of the server's end.
type Config struct {
	Partitions *partition.Set
	// Peers own what this coordinator does not; nil: there are none.
	Peers    Peers
	Presence Presence
	// Cordons are the workers that are given nothing; nil: there are none.
	Cordons Cordons
	Logs    *logstore.Store
	Hub     *Hub
	// Puller of hints, for workers without a connection to the queue.
	Puller  func(capability string) *queue.Puller
	TTL     time.Duration
	Secrets Secrets
	// Artifacts is how large those of tests may be.
	Artifacts ArtifactLimits
	// Packed says whether all who may read what workers write now can unpack it; nil: they can.
	Packed func() bool
	// Traceparent is the W3C context of an attempt's span.
	Traceparent func(traceID, task string, attempt int) string
	Log         *slog.Logger
}

// ArtifactLimits are in bytes: of the files of one artifact, and of all of a task.
type ArtifactLimits struct{ Each, All int64 }

// Server serves sessions.
type Server struct {
	cfg     Config
	codec   *wire.Codec
	mu      sync.Mutex
	streams map[string]*stream // by instance: the newest of each process
	alone   chan struct{}      // closed when the last of them has ended; nil: there are none, or no Peers
}

// New makes a server.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, codec: wire.NewCodec(), streams: map[string]*stream{}}
}

// Source answers what the holder of a lease may fetch.
func (s *Server) Source(ctx context.Context, ref *pb.LeaseRef) (repository, commit string, with plan.Source, err error) {
	p, err := s.cfg.Partitions.Of(ref.GetToken())
	if err != nil {
		return "", "", plan.Source{}, err
	}
	err = p.Do(ctx, func(tx *partition.Tx) error {
		id, _, err := tx.Holder(fromRef(ref))
		if err != nil {
			return err
		}
		r, err := tx.Run(id)
		if err != nil {
			return err
		}
		repository, commit, with = r.Repository, r.Commit, r.Plan.Source // a run that goes on has its plan
		return nil
	})
	return repository, commit, with, err
}

// stream is one session.
type stream struct {
	*Server
	ctx    context.Context //nolint:containedctx // the stream's
	cancel context.CancelFunc
	worker partition.Worker
	hello  *pb.Hello
	mu     sync.Mutex
	out    *pb.SessionResponse
	wake   chan struct{}
	tasks  map[string]held // by token
	relay  *relay
	parts  sync.WaitGroup // what runs beside the reading of frames
	ended  bool           // nothing more may begin in parts
	row    int            // leases in a row that were given without the queue
	since  time.Time
	held   int                // leases that the worker says it has
	says   standing           // what it says of itself
	stood  standing           // what others were told; guarded by Server.mu
	unused map[string]int32   // slots that were free, by the last heartbeat
	heard  int                // how many there were
	ready  bool               // the welcome was said
	told   sync.Mutex         // held while dispatch is told what is free
	keys   placement.Holdings // of the worker, where it answers offers

	// forwarded: another coordinator holds the worker's own session.
	forwarded bool
	ups       map[string]*upstream      // sessions with other coordinators, by their ids
	doubt     map[string]*doubt         // leases that the worker says it has and nobody has confirmed, by token
	strange   map[string]*doubt         // leases that are nobody's here, and of which log was not taken, by token
	owed      map[string]int64          // leases of which log was not taken, from an offset on, that comes again, by token
	ending    map[string]*pb.Completion // what no owner has answered yet, by token
	beat      *beat                     // the last heartbeat, until all owners have answered
}

// held is a lease that was given to, or taken back by, this stream.
type held struct {
	ref       *pb.LeaseRef
	run, task string
	can       string // whose slot it occupies; empty: not known
	beat      int    // how many heartbeats had come before
}

// Session serves one stream until the worker hangs up.
func (s *Server) Session(g grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	first, err := g.Recv()
	if err != nil {
		return fmt.Errorf("wait for hello: %w", err)
	}
	if first.GetHello() == nil {
		return status.Error(codes.InvalidArgument, "the first frame of a session must carry a hello") //nolint:wrapcheck // the edge
	}
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	st := &stream{
		Server: s, ctx: ctx, cancel: cancel, hello: first.GetHello(), out: &pb.SessionResponse{}, wake: make(chan struct{}, 1), tasks: map[string]held{},
		forwarded: rpc.Forwarded(ctx), ups: map[string]*upstream{}, doubt: map[string]*doubt{}, strange: map[string]*doubt{}, owed: map[string]int64{}, ending: map[string]*pb.Completion{},
		worker: partition.Worker{Name: first.GetHello().GetName(), Instance: first.GetHello().GetInstance()},
		since:  time.Now(), held: len(first.GetHello().GetRunning()),
	}
	if st.hello.GetOffers() {
		st.relay = newRelay(st)
	}
	if !st.enter() {
		return status.Error(codes.Aborted, "the worker has a newer session") //nolint:wrapcheck // the edge
	}
	defer st.leave()
	defer st.end()
	defer cancel()
	if err := st.welcome(); err != nil {
		return err
	}
	log := s.cfg.Log.With("worker", st.worker.Name)
	if !st.forwarded {
		log.InfoContext(ctx, "worker connected", "capacity", capacity(st.hello.GetCapacity()), "running", len(st.hello.GetRunning()))
	}
	if st.relay != nil {
		st.parts.Go(st.relay.run)
	}
	if st.follows() {
		st.meet()
	}
	read := make(chan error, 1)
	go func() { // it ends with the stream, and that with this call
		read <- st.read(g, first)
		cancel()
	}()
	if err := st.send(g); err != nil {
		return err
	}
	select {
	case err := <-read:
		if !st.forwarded {
			log.InfoContext(ctx, "worker disconnected", "err", err)
		}
		return err
	default:
		return status.Error(codes.Aborted, "the worker has a newer session") //nolint:wrapcheck // the edge
	}
}

// read takes frames until the worker hangs up.
func (st *stream) read(g grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse], m *pb.SessionRequest) error {
	for {
		err := st.frame(m)
		if err != nil {
			return err
		}
		if m, err = g.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err //nolint:wrapcheck // the stream's own status
		}
	}
}

// beside runs f beside the reading of frames, unless the stream has ended.
func (st *stream) beside(f func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.ended {
		st.parts.Go(f)
	}
}

func (st *stream) end() {
	st.mu.Lock()
	st.ended = true
	st.mu.Unlock()
	st.parts.Wait()
}

func capacity(in []*pb.Capacity) map[string]int32 {
	out := map[string]int32{}
	for _, c := range in {
		out[c.GetCapability()] = c.GetSlots()
	}
	return out
}

func (st *stream) note(ref *pb.LeaseRef, h held) {
	h.ref = ref
	st.mu.Lock()
	h.beat = st.heard
	st.tasks[ref.GetToken()] = h
	st.mu.Unlock()
	st.free()
}

// holds answers the lease if it is this stream's.
func (st *stream) holds(ref *pb.LeaseRef) (held, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	h, ok := st.tasks[ref.GetToken()]
	return h, ok && same(h.ref, ref)
}

func same(a, b *pb.LeaseRef) bool {
	return wire.FromFence(a.GetFence()) == wire.FromFence(b.GetFence())
}

// drop forgets a lease that has ended.
func (st *stream) drop(ref *pb.LeaseRef) {
	defer st.free()
	st.mu.Lock()
	defer st.mu.Unlock()
	if h, ok := st.tasks[ref.GetToken()]; ok && same(h.ref, ref) {
		delete(st.tasks, ref.GetToken())
	}
	delete(st.doubt, ref.GetToken())
	delete(st.strange, ref.GetToken())
	delete(st.owed, ref.GetToken())
}

// later adds to the next frame.
func (st *stream) later(f func(*pb.SessionResponse)) {
	st.mu.Lock()
	f(st.out)
	st.mu.Unlock()
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// send writes what gathers. The first frame carries the welcome.
func (st *stream) send(g grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	for {
		runtime.Gosched() // those who are about to say something do so in this frame
		st.mu.Lock()
		out := st.out
		st.out = &pb.SessionResponse{}
		st.mu.Unlock()
		if !empty(out) {
			err := g.Send(out)
			forget(out)
			if err != nil {
				return fmt.Errorf("send to %s: %w", st.worker.Name, err)
			}
		}
		select {
		case <-st.wake:
		case <-st.ctx.Done():
			return nil
		}
	}
}

func empty(m *pb.SessionResponse) bool {
	return m.GetWelcome() == nil && m.GetHeartbeatAck() == nil && m.GetStanding() == nil &&
		len(m.GetGrants())+len(m.GetRefusals())+len(m.GetCompletionAcks())+len(m.GetLogAcks())+len(m.GetRevocations())+len(m.GetOffers())+len(m.GetPassed()) == 0
}

// frame turns what a worker says into commands, in the order that the protocol needs:
// logs before the completions that count on them.
func (st *stream) frame(m *pb.SessionRequest) error {
	for _, c := range m.GetLogs() {
		if err := st.log(c); err != nil {
			return err
		}
	}
	for _, p := range m.GetProgress() {
		st.progress(p)
	}
	if err := st.complete(m.GetCompletions()); err != nil {
		return err
	}
	st.holdings(m.GetHoldings())
	st.lease(m.GetLeaseRequests())
	st.declined(m.GetDeclined())
	if h := m.GetHeartbeat(); h != nil {
		return st.heartbeat(h)
	}
	return nil
}

// log takes a stretch of a log, packed or not.
func (st *stream) log(c *pb.LogChunk) error {
	ref := c.GetLease()
	if !st.takes(ref, c.GetOffset()) || !logstore.Valid(ref.GetToken()) { // a log is written by the holder alone
		return nil
	}
	b := logblock.Received(c.GetData(), c.GetPacked())
	if err := b.Check(); err != nil {
		return status.Errorf(codes.InvalidArgument, "log of %s at byte %d: %v", ref.GetToken(), c.GetOffset(), err) //nolint:wrapcheck // the edge
	}
	err := st.cfg.Logs.Append(key(ref), st.hello.GetSession(), c.GetOffset(), b, func(offset int64) {
		st.later(func(m *pb.SessionResponse) { m.LogAcks = append(m.LogAcks, &pb.LogAck{Lease: ref, Offset: offset}) })
	})
	if err != nil {
		st.cfg.Log.WarnContext(st.ctx, "log chunk not taken", "worker", st.worker.Name, "err", err)
	}
	return nil
}

func key(ref *pb.LeaseRef) logstore.Key {
	return logstore.Key{Token: ref.GetToken(), Epoch: ref.GetFence().GetEpoch(), Counter: ref.GetFence().GetCounter()}
}

func fromRef(r *pb.LeaseRef) partition.Ref {
	return partition.Ref{Token: r.GetToken(), Attempt: int(r.GetAttempt()), Fence: wire.FromFence(r.GetFence())}
}

func toRef(r partition.Ref) *pb.LeaseRef {
	return &pb.LeaseRef{Token: r.Token, Attempt: int32(r.Attempt), Fence: wire.Fence(r.Fence)}
}

func (st *stream) progress(p *pb.LeaseProgress) {
	token := p.GetLease().GetToken()
	h, ok := st.holds(p.GetLease())
	if !ok {
		return
	}
	part, err := st.cfg.Partitions.Of(token)
	if err != nil {
		return
	}
	up, err := st.elsewhere(part.Number())
	switch {
	case err != nil:
		return // it is not durable anyway
	case up != nil:
		up.later(func(m *pb.SessionRequest) { m.Progress = append(m.Progress, p) })
		return
	}
	if p.GetStarted() {
		_ = part.Go(st.ctx, func(tx *partition.Tx) error { tx.Begin(fromRef(p.GetLease())); return nil }, func(error) {})
	}
	if len(p.GetSteps()) > 0 {
		st.cfg.Hub.Progress(h.run, watch.Step[[]*pb.ProgressStep]{Task: h.task, Attempt: int(p.GetLease().GetAttempt()), Steps: p.GetSteps()})
	}
}
