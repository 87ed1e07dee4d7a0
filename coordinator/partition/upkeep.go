package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot"
)

// Upkeep is how the journal and the state are kept small. The zero Upkeep: not at all.
type Upkeep struct {
	// Blobs are where archived runs are kept.
	Blobs snapshot.Blobs
	// A snapshot is taken when so many records, or bytes of them, are behind the newest. 0:
	// none is because of that.
	Records uint64
	Bytes   int64
	// Keep is how long what has ended is.
	Keep project.Retention
	// Logs of runs are archived so long after their end; nil: they stay where they were written to.
	Logs      Logs
	LogsAfter time.Duration
}

// Snapshots is the part of a Journal that keeps its replay short.
type Snapshots interface {
	// Since says how much was appended behind the newest snapshot.
	Since() (records uint64, size int64)
	// Draft begins a snapshot of what was appended so far, which is taken beside the owner.
	Draft() *journal.Draft
	// Took makes a snapshot known, and answers what takes away that which is surplus then.
	Took(ctx context.Context, at time.Time, t journal.Taken) (trim func(context.Context) error, err error)
}

// ArchivedError: the run has ended, and left the state.
type ArchivedError struct {
	Run, Blob string
	Logs      string // blob of the archive of its logs; empty: there is none
}

func (e *ArchivedError) Error() string {
	return fmt.Sprintf("run %s has ended long ago and was archived", e.Run)
}

const (
	// upkeepEvery is how often the state is looked through for what has ended long ago.
	upkeepEvery = time.Minute
	forgetEvery = time.Hour
	// archiveAtOnce is how many runs are archived in one go.
	archiveAtOnce = 64
)

// upkeep of an owner: one thing at a time, beside its goroutine.
type upkeep struct {
	busy                       bool
	snapshot, archives, forget time.Time // not before
	quarantine                 time.Time // as those
	logs                       logkeep
}

// upkeep begins what is due.
func (o *owner) upkeep() {
	keep := o.cfg.Upkeep
	o.keepLogs()
	if o.up.busy || o.broken != nil {
		return
	}
	records, size := o.j.Since()
	if (keep.Records > 0 && records >= keep.Records || keep.Bytes > 0 && size >= keep.Bytes) && !o.at.Before(o.up.snapshot) {
		o.snapshot()
		return
	}
	if keep.Blobs == nil || o.at.Before(o.up.archives) {
		return
	}
	// Logs come first: the archive of the run names theirs.
	ripe := o.st.Ripe(keep.Keep, o.at, archiveAtOnce, func(r *run.Run) bool {
		owes := keep.Logs != nil && r.OwesLogs()
		o.up.logs.awaited = o.up.logs.awaited || owes
		return owes
	})
	if len(ripe) > 0 {
		o.archive(ripe)
		return
	}
	every := upkeepEvery
	if keep.Keep.Runs > 0 {
		every = min(every, keep.Keep.Runs)
	}
	o.up.archives = o.at.Add(every)
	if !o.at.Before(o.up.forget) {
		o.up.forget = o.at.Add(forgetEvery)
		o.forgetOld()
	}
}

// beside runs work outside the goroutine of the partition, and what it answers inside. Until
// then it is busy.
func (o *owner) beside(busy *bool, work func(ctx context.Context) (then func())) {
	*busy = true
	o.side.Go(func() {
		then := work(o.ctx)
		if o.ctx.Err() != nil {
			return
		}
		end := func(tx *Tx) error {
			if tx.o == o { // not another, who came after it
				*busy = false
				then()
			}
			return nil
		}
		if err := o.submit(o.ctx, end, func(error) {}); err != nil && o.ctx.Err() == nil {
			o.cfg.Log.ErrorContext(o.ctx, "the end of upkeep was not taken", "partition", o.cfg.Number, "err", err)
		}
	})
}

// snapshot takes one from the journal, while the partition goes on.
func (o *owner) snapshot() {
	draft, known, start := o.j.Draft(), o.st.Plans(), o.cfg.Now()
	o.beside(&o.up.busy, func(ctx context.Context) func() {
		taken, err := draft.Take(ctx, func(hash string) (*plan.Plan, error) {
			if p, ok := known[hash]; ok {
				return p, nil
			}
			return o.cfg.Plans(ctx, hash)
		})
		return func() {
			if err != nil {
				o.up.snapshot = o.at.Add(upkeepEvery)
				o.cfg.Log.ErrorContext(o.ctx, "no snapshot was taken; the journal keeps its records", "partition", o.cfg.Number, "err", err)
				return
			}
			o.took(taken)
			o.cfg.Log.InfoContext(o.ctx, "snapshot taken", "partition", o.cfg.Number, "record", taken.Sequence, "took", o.cfg.Now().Sub(start))
		}
	})
}

// took journals a snapshot. What that makes surplus is taken away once the record is
// durable, by an owner that still is one.
func (o *owner) took(t journal.Taken) {
	trim, err := o.j.Took(o.ctx, o.at, t)
	if err != nil {
		o.broken = err
		return
	}
	if !o.lease.Valid() {
		return
	}
	o.beside(&o.up.busy, func(ctx context.Context) func() {
		if err := trim(ctx); err != nil && ctx.Err() == nil {
			o.cfg.Log.WarnContext(ctx, "what a snapshot made surplus is still there", "partition", o.cfg.Number, "err", err)
		}
		return func() {}
	})
}

// archive stores runs that have ended, which nothing changes any more, and then lets them
// leave the state.
func (o *owner) archive(runs []*run.Run) {
	o.beside(&o.up.busy, func(ctx context.Context) func() {
		var events []run.Event
		var err error
		for _, r := range runs {
			var blob string
			if blob, err = snapshot.PutRun(ctx, o.cfg.Upkeep.Blobs, r); err != nil {
				break
			}
			events = append(events, run.Archived{Run: r.ID, Blob: blob})
		}
		return func() {
			if err != nil {
				o.up.archives = o.at.Add(upkeepEvery)
				o.cfg.Log.WarnContext(o.ctx, "a run was not archived", "partition", o.cfg.Number, "err", err)
			}
			o.emit(events...)
		}
	})
}

// forgetOld lets go what is too old, and then the archives with it.
func (o *owner) forgetOld() {
	e, gone, some := o.st.Forget(o.cfg.Upkeep.Keep, o.at)
	if !some {
		return
	}
	o.emit(e)
	if len(gone.Archives)+len(gone.Logs) == 0 {
		return
	}
	o.after = append(o.after, func() {
		o.beside(&o.up.busy, func(ctx context.Context) func() {
			o.removeLogs(ctx, gone.Logs)
			for _, a := range gone.Archives {
				if err := o.cfg.Upkeep.Blobs.Delete(ctx, a.Blob); err != nil && ctx.Err() == nil {
					o.cfg.Log.WarnContext(ctx, "an archive that nobody knows is still there", "run", a.Run, "err", err)
				}
			}
			return func() {}
		})
	})
}

// loads is how many plans are read at once when a partition begins.
const loads = 16

// load reads the plans of runs that were saved.
func (p *Partition) load(ctx context.Context, saved project.Saved) (map[string]*plan.Plan, error) {
	hashes := map[string]*plan.Plan{}
	for _, r := range saved.Runs {
		hashes[r.Accepted.PlanHash] = nil
	}
	type loaded struct {
		hash string
		plan *plan.Plan
	}
	all := make(chan loaded, len(hashes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loads)
	for hash := range hashes {
		g.Go(func() error {
			one, err := p.cfg.Plans(ctx, hash)
			all <- loaded{hash, one}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("plans of a snapshot: %w", err)
	}
	close(all)
	for l := range all {
		hashes[l.hash] = l.plan
	}
	return hashes, nil
}

// Archived reads a run that left the state.
func (p *Partition) Archived(ctx context.Context, e *ArchivedError) (*run.Run, error) {
	if p.cfg.Upkeep.Blobs == nil {
		return nil, e
	}
	r, err := snapshot.Run(ctx, p.cfg.Upkeep.Blobs, e.Blob, func(hash string) (*plan.Plan, error) { return p.cfg.Plans(ctx, hash) })
	if err != nil {
		return nil, fmt.Errorf("%w: %w", e, err)
	}
	if r.Logs != "" && e.Logs == "" { // the archive is from before that
		r.Logs, r.LogsForgotten = "", true
	}
	return r, nil
}

// with runs a command with a copy of a run, or with one that was archived.
func (p *Partition) with(ctx context.Context, name string, do func(*Tx, *run.Run) error) error {
	err := p.Do(ctx, func(tx *Tx) error {
		r, err := tx.Run(name)
		if err != nil {
			return err
		}
		return do(tx, r)
	})
	var gone *ArchivedError
	if !errors.As(err, &gone) {
		return err
	}
	r, err := p.Archived(ctx, gone)
	if err != nil {
		return err
	}
	return p.Do(ctx, func(tx *Tx) error { return do(tx, r) })
}
