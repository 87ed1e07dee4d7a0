package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/slipway-build/slipway/internal/queue"
)

func TestWhatNobodyAnswersIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []error{fmt.Errorf("open: %w", context.DeadlineExceeded), nats.ErrNoResponders, nats.ErrTimeout, nil}
		asked := 0
		got, err := queue.Asked(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (int, error) {
			asked++
			return asked, answers[asked-1]
		})
		if err != nil || got != len(answers) {
			t.Errorf("answer %d of %d: %v", got, len(answers), err)
		}
	})
}

func TestWhatIsRefusedIsNotAskedForAgain(t *testing.T) {
	no := errors.New("no")
	asked := 0
	if _, err := queue.Asked(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (int, error) { asked++; return 0, no }); !errors.Is(err, no) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := queue.Asked(ctx, slog.New(slog.DiscardHandler), func(context.Context) (int, error) { cancel(); return 0, context.DeadlineExceeded })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the end: %v", err)
	}
}
