package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"time"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/journal/journaltest"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
)

// kept is how long a run that has ended stays in the state: longer than anybody who speaks
// of it may be late.
const kept = time.Minute

// disk is the journal as a coordinator has it. What is done beside the owner waits first for a
// time that nothing else has, so that a seed replays.
type disk struct {
	*journaltest.Memory
	c *coordinator
}

// Bounds is what a snapshot begins with.
func (d disk) Bounds(ctx context.Context) (first, last uint64, err error) {
	if err := d.c.pause(ctx, "bounds"); err != nil {
		return 0, 0, err
	}
	return d.Memory.Bounds(ctx)
}

func (d disk) Purge(ctx context.Context, before uint64) error {
	if err := d.c.pause(ctx, "purge"); err != nil {
		return err
	}
	return d.Memory.Purge(ctx, before)
}

// blobs are those of all, as a coordinator reaches them.
type blobs struct {
	*snapshottest.Blobs
	c  *coordinator
	of string // what they are used for, for two uses at the same time take other times
}

func (b blobs) Put(ctx context.Context, data []byte) (string, error) {
	if err := b.c.pause(ctx, b.of+"put"); err != nil {
		return "", err
	}
	return b.Blobs.Put(ctx, data)
}

func (b blobs) Get(ctx context.Context, digest string) ([]byte, error) {
	if err := b.c.pause(ctx, b.of+"get "+digest); err != nil {
		return nil, err
	}
	return b.Blobs.Get(ctx, digest)
}

func (b blobs) Delete(ctx context.Context, digest string) error {
	if err := b.c.pause(ctx, b.of+"delete "+digest); err != nil {
		return err
	}
	return b.Blobs.Delete(ctx, digest)
}

// pause takes a time that depends on what is done and when, and fails now and then.
func (c *coordinator) pause(ctx context.Context, what string) error {
	h := fnv.New64a()
	_, _ = io.WriteString(h, fmt.Sprint(c.name, what, time.Since(c.w.began)))
	select {
	case <-time.After(time.Duration(h.Sum64()%uint64(50*time.Millisecond)) | 1):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.faults && h.Sum64()%30 == 0 {
		return errors.New("the store is broken")
	}
	return nil
}

// resume is the state with which the next owner begins.
func (w *world) resume(m *journaltest.Memory, b *snapshottest.Blobs) (*project.State, error) {
	st := project.New(w.plans.find)
	j := journal.New(m, journal.Config{Owner: "reader", Snapshots: b, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	_, err := j.Resume(context.Background(), func(s project.Saved) (err error) {
		st, err = project.Restore(s, w.plans.find)
		return err
	}, func(rec journal.Record) error { return st.Fold(rec.Events, rec.Time) })
	return st, err
}

// begins: what the next owner begins with is what the whole journal adds up to. I9.
func (w *world) begins(whole *project.State) {
	st, err := w.resume(w.disk.Copy(), w.blobs.Copy())
	if err != nil {
		w.bad("I9: the next owner could not begin: %v", err)
		return
	}
	if d := partitiontest.Diff(whole, st); d != "" {
		w.bad("I9: a snapshot is not its replay (-replayed +restored):\n%s", d)
	}
}

// known is a run of the state, or one that was archived.
func (w *world) known(st *project.State, id string) (*run.Run, bool) {
	if r, ok := st.Run(id); ok {
		return r, true
	}
	a, ok := st.Archive(id)
	if !ok {
		return nil, false
	}
	r, err := snapshot.Run(context.Background(), w.blobs.Copy(), a.Blob, w.plans.find)
	if err != nil {
		w.bad("I1: %v", err)
		return nil, false
	}
	return r, true
}

// harmSnapshot flips a bit of a blob, or cuts it short: the next owner begins with what
// was, or does not begin. I10.
func (w *world) harmSnapshot(whole *project.State) {
	b := w.blobs.Copy()
	digests := b.Digests()
	if len(digests) == 0 {
		return
	}
	which := digests[w.rng.IntN(len(digests))]
	b.Change(which, func(data []byte) []byte {
		if len(data) == 0 || w.chance(30) {
			return data[:len(data)/2]
		}
		data[w.rng.IntN(len(data))] ^= 1 << w.rng.IntN(8)
		return data
	})
	st, err := w.resume(w.disk.Copy(), b)
	switch {
	case errors.Is(err, journal.ErrCorrupt):
	case err != nil:
		w.bad("I10: blob %s was harmed, and the next owner says %v", which, err)
	default:
		if d := partitiontest.Diff(whole, st); d != "" {
			w.bad("I10: blob %s was harmed, and the next owner begins with (-replayed +restored):\n%s", which, d)
		}
	}
}
