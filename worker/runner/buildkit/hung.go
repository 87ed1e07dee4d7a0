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

// watched asks the daemon over and over while a solve runs, and ends ctx when it leaves a question unanswered. end
// must be called with what came of the solve, and answers the reason if it was that.
func (c *Client) watched(ctx context.Context) (watched context.Context, end func(error) error) {
	watched, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pulse)
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
			}
			if c.silent(watched) {
				cancel(fmt.Errorf("%w: BuildKit at %s has left a question unanswered for %s", ErrHung, c.cfg.Address, c.cfg.Patience))
				return
			}
		}
	}()
	return watched, func(err error) error {
		cancel(nil)
		<-done
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
	return err != nil && ctx.Err() == nil && (asked.Err() != nil || status.Code(err) == codes.DeadlineExceeded)
}
