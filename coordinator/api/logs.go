package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/logarchive"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/session"
	"github.com/slipway-build/slipway/internal/logblock"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

type logs struct {
	pb.UnimplementedLogServiceServer
	cfg Config
}

// Tail answers one attempt after the other: the one that was asked for; or the last and,
// with follow, those after it.
func (s *logs) Tail(req *pb.TailRequest, out grpc.ServerStreamingServer[pb.TailResponse]) error {
	ctx, left := context.WithCancelCause(out.Context())
	defer left(nil)
	if (req.GetOffset() > 0 || req.GetBytes() > 0) && req.GetAttempt() == 0 {
		return status.Error(codes.InvalidArgument, "a range is of one attempt: name the attempt too") //nolint:wrapcheck // the edge
	}
	task, err := s.follow(req, out, func() { left(partition.ErrElsewhere) })
	if err != nil || task == nil {
		return err
	}
	number, offset, stop := int(req.GetAttempt()), req.GetOffset(), int64(-1)
	if n := req.GetBytes(); n > 0 {
		stop = offset + min(n, math.MaxInt64-offset)
	}
	if number == 0 {
		number = max(1, task.attempts())
	}
	for {
		a, err := task.attempt(ctx, number, req.GetFollow())
		if err != nil {
			return toStatus(because(ctx, err))
		}
		if a == nil {
			if req.GetAttempt() > 0 {
				return status.Errorf(codes.NotFound, "task %s has no attempt %d", req.GetTask(), number) //nolint:wrapcheck // the edge
			}
			return nil
		}
		if err := s.copy(ctx, &span{task: task, attempt: a, next: offset, stop: stop, follow: req.GetFollow(), packed: req.GetPacked(), out: out}); err != nil {
			return toStatus(because(ctx, err))
		}
		if req.GetAttempt() > 0 || !req.GetFollow() {
			return nil
		}
		number, offset = number+1, 0
	}
}

// because is the cause of an error, if it is that another coordinator goes on with the run.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, partition.ErrElsewhere) {
		return cause
	}
	return err
}

// span is what of a log is still to be sent.
type span struct {
	task    *followed
	attempt *run.Attempt
	next    int64
	stop    int64 // -1: all is wanted
	follow  bool
	packed  bool // who asks unpacks
	out     grpc.ServerStreamingServer[pb.TailResponse]
}

var errEnough = errors.New("all that was wanted was sent")

// block sends a stretch of a log, packed as it is if it may be.
func (p *span) block(at int64, b logblock.Block) error {
	if end := at + int64(b.Size()); p.packed && b.Packed != 0 && (p.stop < 0 || end < p.stop) {
		p.next = end
		return p.out.Send(&pb.TailResponse{Attempt: int32(p.attempt.Number), Offset: at, Data: b.Data, Packed: int64(b.Packed)}) //nolint:wrapcheck // the stream's own status
	}
	data, err := b.Bytes()
	if err != nil {
		return err //nolint:wrapcheck // it says what
	}
	return p.send(at, data)
}

func (p *span) send(at int64, data []byte) error {
	if p.stop >= 0 && at+int64(len(data)) > p.stop {
		data = data[:max(0, p.stop-at)]
	}
	if len(data) > 0 {
		if err := p.out.Send(&pb.TailResponse{Attempt: int32(p.attempt.Number), Offset: at, Data: data}); err != nil {
			return err //nolint:wrapcheck // the stream's own status
		}
	}
	if p.next = at + int64(len(data)); p.next == p.stop {
		return errEnough
	}
	return nil
}

// copy sends the log of one attempt until it has ended, or without follow what is there.
func (s *logs) copy(ctx context.Context, p *span) error {
	if p.next == p.stop {
		return nil
	}
	for {
		where := p.task.where()
		var err error
		if where.archived() {
			err = s.archived(ctx, p, where)
		} else {
			err = s.written(ctx, p)
		}
		var missing *logstore.MissingError
		switch {
		case errors.Is(err, errEnough):
			return nil
		case where.archived() || err != nil && !errors.As(err, &missing) || err == nil && p.task.number(p.attempt.Number).Outcome != run.OutcomeLost:
			return err
		}
		// Meanwhile it may have been moved into the archive, which goes on where the stream ends.
		switch moved, unknown := s.locate(ctx, p.task); {
		case unknown != nil:
			return unknown
		case !moved:
			return err
		}
	}
}

// archived sends what an archive has.
func (s *logs) archived(ctx context.Context, p *span, w place) error {
	if w.forgotten {
		return fmt.Errorf("the logs of the run were kept as long as retention.logs says, and are gone: %w", partition.ErrNotFound)
	}
	a, err := logarchive.Open(ctx, s.cfg.Blobs, w.archive)
	if err != nil {
		return err
	}
	size, ok := a.Size(p.task.index, p.attempt.Number)
	if !ok {
		return nil // an attempt of the coordinator itself, which writes nothing
	}
	if p.stop >= 0 {
		size = min(size, p.stop)
	}
	return a.Read(ctx, p.task.index, p.attempt.Number, p.next, size, p.send)
}

// written sends what is in the stream of logs.
func (s *logs) written(ctx context.Context, p *span) error {
	key := p.task.key(p.attempt)
	var known *int64
	end := func() (int64, bool) {
		if known != nil {
			return *known, true
		}
		now := p.task.number(p.attempt.Number)
		if now.Outcome == "" && p.follow {
			return 0, false
		}
		size, err := s.size(ctx, key, now)
		if err != nil {
			return 0, false
		}
		if p.stop >= 0 {
			size = min(size, p.stop)
		}
		known = &size
		return size, true
	}
	return s.cfg.Logs.Read(ctx, key, p.next, end, p.block)
}

// size of a log in the stream, so far.
func (s *logs) size(ctx context.Context, key logstore.Key, a run.Attempt) (int64, error) {
	if a.Outcome == "" || a.Outcome == run.OutcomeLost { // nobody said how long it is
		return s.cfg.Logs.Size(ctx, key)
	}
	return a.LogSize, nil
}

// locate asks again where the logs of the run are.
func (s *logs) locate(ctx context.Context, f *followed) (archived bool, err error) {
	err = s.cfg.find(ctx, f.run, func(_ *partition.Tx, r *run.Run) error {
		f.move(r)
		return nil
	}, func(context.Context, *grpc.ClientConn, string) error { return partition.ErrElsewhere })
	return f.where().archived(), err
}

// Stat answers how long a log is.
func (s *logs) Stat(ctx context.Context, req *pb.StatRequest) (*pb.StatResponse, error) {
	var out *pb.StatResponse
	var f *followed
	err := s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) (err error) {
		f, err = newFollowed(tx, r, req.GetTask())
		return err
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		out, err = pb.NewLogServiceClient(c).Stat(ctx, &pb.StatRequest{Run: id, Task: req.GetTask(), Attempt: req.GetAttempt()})
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	number := int(req.GetAttempt())
	if number == 0 {
		number = max(1, f.attempts())
	}
	if number > f.attempts() {
		return nil, status.Errorf(codes.NotFound, "task %s has no attempt %d", req.GetTask(), number) //nolint:wrapcheck // the edge
	}
	a := f.number(number)
	out = &pb.StatResponse{Attempt: int32(number), Ended: a.Outcome != ""}
	if out.Size, err = s.length(ctx, f, &a); err != nil {
		return nil, toStatus(err)
	}
	return out, nil
}

// length of a log, wherever it is.
func (s *logs) length(ctx context.Context, f *followed, a *run.Attempt) (int64, error) {
	if a.Outcome != "" && a.Outcome != run.OutcomeLost {
		return a.LogSize, nil
	}
	w := f.where()
	if w.archive == "" {
		size, err := s.size(ctx, f.key(a), *a)
		if err != nil || size > 0 || a.Outcome == "" {
			return size, err
		}
		if moved, err := s.locate(ctx, f); err != nil || !moved {
			return 0, err
		}
		w = f.where()
	}
	if w.forgotten {
		return 0, nil
	}
	archive, err := logarchive.Open(ctx, s.cfg.Blobs, w.archive)
	if err != nil {
		return 0, err
	}
	size, _ := archive.Size(f.index, a.Number)
	return size, nil
}

// followed is a task that is kept up to date.
type followed struct {
	run   string
	index int
	token string

	mu      sync.Mutex
	task    *run.Task
	place   place
	changed chan struct{} // closed at the next change
	gone    bool          // no change will come
}

// place is where the logs of a run are: in the stream, or in an archive.
type place struct {
	archive   string
	forgotten bool
}

func (p place) archived() bool { return p.archive != "" || p.forgotten }

func newFollowed(tx *partition.Tx, r *run.Run, task string) (*followed, error) {
	t, ok := r.Find(task)
	if !ok {
		return nil, fmt.Errorf("task %q of run %s: %w", task, r.ID, partition.ErrNotFound)
	}
	f := &followed{run: r.ID, index: t.Index, token: tx.Token(r, t), changed: make(chan struct{}), task: t, gone: r.State.Ended()}
	f.move(r)
	return f, nil
}

// move notes where the logs of the run are now.
func (f *followed) move(r *run.Run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.place = place{r.Logs, r.LogsForgotten}
}

func (f *followed) where() place {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place
}

func (f *followed) key(a *run.Attempt) logstore.Key {
	return logstore.Key{Token: f.token, Epoch: a.Fence.Epoch, Counter: a.Fence.Counter}
}

// follow finds the task; nil without an error: its owner is another coordinator, whose
// answer was handed on. left is called when this coordinator hears nothing more of the run.
func (s *logs) follow(req *pb.TailRequest, out grpc.ServerStreamingServer[pb.TailResponse], left func()) (f *followed, err error) {
	ctx := out.Context()
	err = s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) (err error) {
		if f, err = newFollowed(tx, r, req.GetTask()); err != nil || f.gone || !req.GetFollow() {
			return err
		}
		changes := s.cfg.Hub.Follow(r.ID)
		stop := context.AfterFunc(tx.Until(), left)
		context.AfterFunc(ctx, func() { stop(); changes.Close() })
		s.cfg.Go(func() { f.update(changes.C); changes.Close() })
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) error {
		in, err := pb.NewLogServiceClient(c).Tail(ctx, &pb.TailRequest{
			Run: id, Task: req.GetTask(), Attempt: req.GetAttempt(), Offset: req.GetOffset(), Follow: req.GetFollow(), Bytes: req.GetBytes(), Packed: req.GetPacked(),
		})
		return relay(in, out, err)
	})
	return f, err
}

func (f *followed) update(changes <-chan session.Change) {
	for c := range changes {
		f.mu.Lock()
		for _, t := range c.Tasks {
			if t.Spec.ID == f.task.Spec.ID {
				f.task = t
			}
		}
		ended := c.Run != nil && c.Run.State.Ended()
		if len(c.Tasks) > 0 || ended {
			close(f.changed)
			f.changed = make(chan struct{})
		}
		f.mu.Unlock()
		if ended {
			break
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *followed) attempts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.task.Attempts)
}

func (f *followed) number(n int) run.Attempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.task.Attempts[n-1]
}

// attempt waits for an attempt to begin; nil: it will not, or is not to be waited for.
func (f *followed) attempt(ctx context.Context, n int, wait bool) (*run.Attempt, error) {
	for {
		f.mu.Lock()
		t, changed, gone := f.task, f.changed, f.gone
		f.mu.Unlock()
		switch {
		case n <= len(t.Attempts):
			return &t.Attempts[n-1], nil
		case wait && ctx.Err() != nil: // gone, then, may be for want of an owner
			return nil, context.Cause(ctx)
		case !wait || gone || t.State.Ended():
			return nil, nil //nolint:nilnil // no attempt is an answer
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
