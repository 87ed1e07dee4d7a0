package simulation_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/logarchive"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

const (
	// moved is how long after the end of a run its logs are archived.
	moved = 3 * time.Second
	// logSize is how much of its log every worker says that it wrote.
	logSize = 10
)

// said is the log of an attempt; one that was lost wrote all of it.
func said(k logstore.Key) string { return fmt.Sprintf("log %d-%d of %s", k.Epoch, k.Counter, k.Token) }

// logs are those of all, as a coordinator reaches them.
type logs struct{ c *coordinator }

func (l logs) Frames(ctx context.Context, k logstore.Key, each func(int64, []byte) error) error {
	if err := l.c.pause(ctx, "frames "+said(k)); err != nil {
		return err
	}
	l.c.w.mu.Lock()
	gone := l.c.w.unlogged[k]
	l.c.w.mu.Unlock()
	if gone {
		return nil
	}
	return each(0, []byte(said(k)))
}

func (l logs) Purge(ctx context.Context, all ...logstore.Key) error {
	for _, k := range all {
		if err := l.c.pause(ctx, "purge "+said(k)); err != nil {
			return err
		}
		l.c.w.mu.Lock()
		l.c.w.unlogged[k] = true
		l.c.w.mu.Unlock()
	}
	return nil
}

func (w *world) archiver(c *coordinator) *logarchive.Archiver {
	return logarchive.New(logarchive.Config{Blobs: blobs{w.blobs, c, "logs "}, Frames: logs{c}, AtOnce: 1, Log: slog.New(slog.DiscardHandler)})
}

// logged: what an attempt wrote is where it was written to, or in the archive that the journal
// names. I1.
func (w *world) logged(h *partitiontest.History, st *project.State) {
	for k := range w.unlogged {
		if id := strings.Split(k.Token, "_")[1]; h.Logs[id] == "" {
			w.bad("I1: %s is purged, and the logs of run %s are not archived", said(k), id)
		}
	}
	for _, id := range h.Order {
		if h.Logs[id] == "" {
			continue
		}
		r, ok := w.known(st, id)
		if !ok {
			continue
		}
		if r.Logs != h.Logs[id] {
			w.bad("I1: run %s names the logs %q, and the journal %q", id, r.Logs, h.Logs[id])
		}
		w.kept(r)
	}
	w.moved = len(h.Logs)
}

// kept reads the archived logs of a run.
func (w *world) kept(r *run.Run) {
	a, err := logarchive.Open(context.Background(), w.blobs.Copy(), r.Logs)
	if err != nil {
		w.bad("I1: logs of run %s: %v", r.ID, err)
		return
	}
	r.Written(func(t *run.Task, at run.Attempt) {
		want := said(logstore.Key{Token: fmt.Sprintf("0_%s_%d", r.ID, t.Index), Epoch: at.Fence.Epoch, Counter: at.Fence.Counter})
		if at.Outcome != run.OutcomeLost {
			want = want[:at.LogSize]
		}
		var got []byte
		err := a.Read(context.Background(), t.Index, at.Number, 0, 1<<20, func(_ int64, data []byte) error {
			got = slices.Concat(got, data)
			return nil
		})
		if err != nil || string(got) != want {
			w.bad("I1: the log of %s %s, attempt %d, is %q, %v; want %q", r.ID, t.Spec.ID, at.Number, got, err, want)
		}
	})
}
