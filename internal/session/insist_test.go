package session_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
)

// TestInsist: a store that is away for half a minute is waited for, one that is away for long is said, and so is every other answer at once.
func TestInsist(t *testing.T) {
	away := fmt.Errorf("put blob: %w", status.Error(codes.Unavailable, "no leader"))
	full := fmt.Errorf("put blob: %w", status.Error(codes.ResourceExhausted, "full"))
	for name, c := range map[string]struct {
		answer func(since time.Duration) error
		want   error
		within time.Duration
	}{
		"there":     {func(time.Duration) error { return nil }, nil, 0},
		"back soon": {func(d time.Duration) error { return pick(d < 30*time.Second, away) }, nil, 40 * time.Second},
		"gone":      {func(time.Duration) error { return away }, away, time.Minute},
		"refused":   {func(time.Duration) error { return full }, full, 0},
		"then full": {func(d time.Duration) error {
			return errors.Join(pick(d < time.Second, away), pick(d >= time.Second, full))
		}, full, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				v, err := session.Insist(t.Context(), func() (string, error) { return "v", c.answer(time.Since(began)) })
				if status.Code(err) != status.Code(c.want) || v != "v" || (err != nil) != (c.want != nil) {
					t.Errorf("answered %q, %v; want %v", v, err, c.want)
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("took %s, of %s", took, c.within)
				}
			})
		})
	}
	t.Run("called off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := session.Insist(ctx, func() (string, error) { return "", away }); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("answered %v", err)
			}
		})
	})
}

func pick(is bool, err error) error {
	if is {
		return err
	}
	return nil
}
