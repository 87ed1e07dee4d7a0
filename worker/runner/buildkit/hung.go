package buildkit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrHung is the error of a solve whose daemon does not answer any more, though it is connected. Nothing else would end
// it before the time limit of the task, which is the user's.
var ErrHung = errors.New("BuildKit does not answer")

// pulse is how often a daemon is asked while a solve runs.
const pulse = 2 * time.Second

// Pulse asks over and over, and ends ctx with the first error that is answered. stop must be called.
func Pulse(ctx context.Context, ask func(context.Context) error) (asked context.Context, stop func()) {
	asked, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pulse)
		defer tick.Stop()
		for {
			select {
			case <-asked.Done():
				return
			case <-tick.C:
			}
			if err := ask(asked); err != nil && asked.Err() == nil {
				cancel(err)
				return
			}
		}
	}()
	return asked, func() { cancel(nil); <-done }
}

// watched asks the daemon while a solve runs, and ends ctx when it leaves a question unanswered. end must be called with
// what came of the solve, and answers the reason if it was that.
func (c *Client) watched(ctx context.Context) (watched context.Context, end func(error) error) {
	watched, stop := Pulse(ctx, func(ctx context.Context) error {
		if c.silent(ctx) {
			return fmt.Errorf("%w: BuildKit at %s has left a question unanswered for %s", ErrHung, c.cfg.Address, c.cfg.Patience)
		}
		return nil
	})
	return watched, func(err error) error {
		stop()
		if cause := context.Cause(watched); err != nil && errors.Is(cause, ErrHung) {
			return cause
		}
		return err
	}
}

// silent says that the daemon did not answer in time. One that cannot be reached is none of it: the solve says so itself.
func (c *Client) silent(ctx context.Context) bool {
	asked, cancel := context.WithTimeout(ctx, c.cfg.Patience)
	defer cancel()
	_, err := c.bk.ListWorkers(asked)
	return err != nil && (asked.Err() != nil || status.Code(err) == codes.DeadlineExceeded)
}
