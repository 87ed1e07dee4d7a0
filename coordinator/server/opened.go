package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// opened opens what is kept in NATS. A cluster without a leader, as while it starts, lets
// requests pass without an answer, and of several coordinators that make the same stream at
// once some get none: it is asked for again until the context ends, as a server is that
// cannot be reached at all.
func opened[T any](ctx context.Context, log *slog.Logger, open func(context.Context) (T, error)) (T, error) {
	for {
		v, err := open(ctx)
		unanswered := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders)
		if !unanswered || ctx.Err() != nil {
			return v, err
		}
		log.WarnContext(ctx, "no answer from NATS, asking again", "err", err)
		t := time.NewTimer(500 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return v, err
		}
	}
}
