package api

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/session"
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
	if req.GetOffset() > 0 && req.GetAttempt() == 0 {
		return status.Error(codes.InvalidArgument, "an offset is of one attempt: name the attempt too") //nolint:wrapcheck // the edge
	}
	task, err := s.follow(req, out, func() { left(partition.ErrElsewhere) })
	if err != nil || task == nil {
		return err
	}
	number, offset := int(req.GetAttempt()), req.GetOffset()
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
		if err := s.copy(ctx, task, a, offset, req.GetFollow(), out); err != nil {
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

// copy sends the log of one attempt until it has ended, or without follow what is there.
func (s *logs) copy(ctx context.Context, task *followed, a *run.Attempt, offset int64, follow bool, out grpc.ServerStreamingServer[pb.TailResponse]) error {
	key := logstore.Key{Token: task.token, Epoch: a.Fence.Epoch, Counter: a.Fence.Counter}
	var known *int64
	end := func() (int64, bool) {
		if known != nil {
			return *known, true
		}
		now := task.number(a.Number)
		switch {
		case now.Outcome == "" && follow:
			return 0, false
		case now.Outcome == "" || now.Outcome == run.OutcomeLost: // nobody said how long it is
			size, err := s.cfg.Logs.Size(ctx, key)
			if err != nil {
				return 0, false
			}
			known = &size
		default:
			known = &now.LogSize
		}
		return *known, true
	}
	return s.cfg.Logs.Read(ctx, key, offset, end, func(at int64, data []byte) error {
		return out.Send(&pb.TailResponse{Attempt: int32(a.Number), Offset: at, Data: data})
	})
}

// followed is a task that is kept up to date.
type followed struct {
	token string

	mu      sync.Mutex
	task    *run.Task
	changed chan struct{} // closed at the next change
	gone    bool          // no change will come
}

// follow finds the task; nil without an error: its owner is another coordinator, whose
// answer was handed on. left is called when this coordinator hears nothing more of the run.
func (s *logs) follow(req *pb.TailRequest, out grpc.ServerStreamingServer[pb.TailResponse], left func()) (f *followed, err error) {
	ctx := out.Context()
	err = s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) error {
		t, ok := r.Find(req.GetTask())
		if !ok {
			return fmt.Errorf("task %q of run %s: %w", req.GetTask(), r.ID, partition.ErrNotFound)
		}
		f = &followed{changed: make(chan struct{}), task: t, token: tx.Token(r, t), gone: r.State.Ended()}
		if f.gone || !req.GetFollow() {
			return nil
		}
		changes := s.cfg.Hub.Follow(r.ID)
		stop := context.AfterFunc(tx.Until(), left)
		context.AfterFunc(ctx, func() { stop(); changes.Close() })
		s.cfg.Go(func() { f.update(changes.C); changes.Close() })
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) error {
		in, err := pb.NewLogServiceClient(c).Tail(ctx, &pb.TailRequest{
			Run: id, Task: req.GetTask(), Attempt: req.GetAttempt(), Offset: req.GetOffset(), Follow: req.GetFollow(),
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
