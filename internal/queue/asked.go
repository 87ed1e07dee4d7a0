package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// Unanswered reports that NATS let a request pass without an answer: a cluster has no leader,
// as while it starts or after one of its servers was killed, or is not reached at all.
func Unanswered(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders)
}

// Asked asks for what is kept in NATS again and again, until there is an answer or the context
// ends: of several programs that make the same stream at once, too, some get none.
func Asked[T any](ctx context.Context, log *slog.Logger, ask func(context.Context) (T, error)) (T, error) {
	for {
		v, err := ask(ctx)
		if !Unanswered(err) || ctx.Err() != nil {
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
