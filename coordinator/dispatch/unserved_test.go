package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/partition"
)

// lines is a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestTasksThatNobodyCanCarryOut are in the log, whether or not there is a queue: once a
// minute, and not when they have waited less, or a worker is there.
func TestTasksThatNobodyCanCarryOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		d := dispatch.New(dispatch.Config{
			Open: func(context.Context) (dispatch.Queue, error) { return nil, errors.New("no server") }, //nolint:err113 // what it is does not matter
			Log:  slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})), Now: time.Now,
		})
		d.Ready("build", "a", partition.Priority{Project: "shop", Run: "shop-1"})
		d.Ready("build", "b", partition.Priority{Project: "shop", Run: "shop-1", Index: 1})
		d.Worker("render", "w0", 1)
		d.Ready("render", "c", partition.Priority{Project: "shop", Run: "shop-1", Index: 2})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		said := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
			if got := strings.Count(log.String(), `carry them out" capability=build tasks=2`); got != want {
				t.Errorf("said %d times, want %d:\n%s", got, want, log.String())
			}
		}
		said(59*time.Second, 0)
		said(2*time.Second, 1)
		said(time.Minute, 2)
		d.Worker("build", "w1", 1)
		said(5*time.Minute, 2)
		d.Worker("build", "w1", 0)
		said(30*time.Second, 2)
		said(31*time.Second, 3)
		// Those that are there and take nothing are named.
		d.Aside("build", "w2", "w2 is cordoned (its disk is slow)")
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if want := `could carry them out is held back" capability=build tasks=2 workers="[w2 is cordoned (its disk is slow)]"`; !strings.Contains(log.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, log.String())
		}
		if got := d.Place("build").HeldBack; len(got) != 1 || len(d.Place("render").HeldBack)+len(d.Place("none").HeldBack) > 0 {
			t.Errorf("held back: %q", got)
		}
		if strings.Contains(log.String(), "capability=render") {
			t.Errorf("a capability that has a worker is in the log:\n%s", log.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
