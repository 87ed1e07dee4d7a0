package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/journal/journaltest"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// act does one thing at random.
func (w *world) act() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now == nil && w.chance(60) {
		w.restarts++
		w.start()
		return
	}
	k := w.workers[w.rng.IntN(len(w.workers))]
	switch n := w.rng.IntN(100); {
	case n < 25:
		w.submit()
	case n < 33:
		w.cancel()
	case n < 38 && w.now != nil:
		w.kill(w.now)
	case n < 43 && w.now != nil:
		w.say("%s is replaced", w.now.name)
		w.restarts++
		w.start()
	case n < 51:
		k.stop(w.between(ttl/2, 3*ttl))
	case n < 56:
		k.die()
	case n < 60:
		w.say("the queue is lost")
		clear(w.queue)
	case n < 72:
		w.audit()
	case n < 80:
		w.late()
	case n < 84 && w.now != nil:
		w.drain(w.now)
	case n < 90:
		w.steer()
	case n < 92:
		w.cut = []string{"", "a", "b", "b"}[w.rng.IntN(4)]
		w.say("cluster %q is away", w.cut)
	}
}

// steer holds, pauses, frees or aborts what goes on in an environment.
func (w *world) steer() {
	name, env, n := []string{"shop", "bank"}[w.rng.IntN(2)], []string{"e0", "e1"}[w.rng.IntN(2)], w.rng.IntN(6)
	w.ask(func(tx *partition.Tx) error {
		switch {
		case n == 0:
			_, err := tx.Abort(name, env, "aborted")
			return err
		case n < 3:
			return tx.Hold(name, env, "anna", "", n == 1)
		default:
			return tx.Free(name, env, "anna", "")
		}
	}, func(err error) {
		if err == nil {
			w.say("%s of %s is steered: %d", env, name, n)
		}
	})
}

// submit asks for a run.
func (w *world) submit() {
	name := []string{"shop", "bank"}[w.rng.IntN(2)]
	envs := [][]string{{"a"}, {"a", "b"}}[:w.rng.IntN(3)]
	if w.chance(40) {
		envs = [][]string{{"a", "b"}}
	}
	p := plantest.Shop(name, 1+w.rng.IntN(2), w.rng.IntN(3), envs)
	switch n := w.rng.IntN(100); {
	case n < 30:
		p = plantest.OneByOne(p)
	case n < 60:
		p = plantest.Canary(p, []int{10, 50}[:1+w.rng.IntN(2)]...)
	}
	if w.chance(10) {
		p.Back = "the run before"
	}
	if w.chance(50) {
		p = plantest.Tolerate(p, 1)
	}
	for i := range p.Tasks {
		switch p.Tasks[i].Kind { //nolint:exhaustive // barriers
		case plan.KindWave, plan.KindStep:
			p.Tasks[i].Wait = w.rng.IntN(20)
		case plan.KindRollout:
			p.Tasks[i].Hold = w.chance(30)
		}
	}
	s, err := w.submission(p, fmt.Sprint("k", w.rng.IntN(12)))
	if err != nil {
		w.bad("%v", err)
		return
	}
	w.ask(w.accept(s))
}

func (w *world) submission(p *plan.Plan, key string) (partition.Submission, error) {
	hash, err := plan.Hash(*p)
	w.plans.store(hash, p)
	return partition.Submission{Plan: p, PlanHash: hash, Key: key, SubmittedBy: "anna", TraceID: func(id string) string { return "trace of " + id }}, err
}

// accept is the command and what its answer means. I1: one key, one run.
func (w *world) accept(s partition.Submission) (do func(*partition.Tx) error, reply func(error)) {
	var id string
	do = func(tx *partition.Tx) (err error) { id, _, err = tx.Accept(s); return err }
	return do, func(err error) {
		if err != nil {
			return
		}
		slot := s.Plan.Project + " " + s.Key
		if was, ok := w.keys[slot]; ok && was != id {
			w.bad("I1: %s began %s and is answered with %s", slot, was, id)
		}
		w.say("%s is accepted", id)
		w.keys[slot], w.accepted[id] = id, s.Plan.Project
	}
}

func (w *world) cancel() {
	if len(w.accepted) == 0 {
		return
	}
	ids := slices.Sorted(maps.Keys(w.accepted))
	w.ask(cancelRun(w, ids[w.rng.IntN(len(ids))]))
}

func cancelRun(w *world, id string) (do func(*partition.Tx) error, reply func(error)) {
	var r *run.Run
	do = func(tx *partition.Tx) (err error) { r, err = tx.Cancel(id, "not wanted"); return err }
	return do, func(err error) {
		switch {
		case errors.As(err, new(*partition.ArchivedError)):
			w.say("%s is asked to stop and is in the archive", id)
		case errors.Is(err, partition.ErrNotFound):
			w.bad("I1: run %s was accepted and is not there", id)
		case err == nil:
			w.say("%s is canceled: %s", id, r.State)
			if r.State.Ended() { // else the answer may be late, and was true
				w.saw(r)
			}
		}
	}
}

// late lets a coordinator that was replaced go on, with commands that must be durable
// before they are answered.
func (w *world) late() {
	for _, c := range w.all {
		if !c.replaced || c.ctx.Err() != nil {
			continue
		}
		s, err := w.submission(plantest.Shop("shop", 1, 0, nil), fmt.Sprint("late ", w.rng.IntN(100)))
		if err != nil {
			w.bad("%v", err)
			return
		}
		w.say("%s is asked late", c.name)
		do, reply := w.accept(s)
		go func() {
			_ = c.part.Go(c.ctx, do, func(err error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				reply(err)
			})
		}()
		return
	}
}

// audit compares what is served with what the journal adds up to. I9.
func (w *world) audit() {
	c := w.now
	if c == nil {
		return
	}
	var st *project.State
	w.command(c, func(tx *partition.Tx) error { st = tx.State(); return nil }, func(err error) {
		if err == nil && !c.replaced { // the batch is durable, and the next has not begun
			w.compare(st)
		}
	})
}

func (w *world) compare(st *project.State) []journal.Record {
	replayed, records, err := w.read(w.disk.Whole())
	if err != nil {
		w.bad("I9: the journal cannot be read: %v", err)
		return nil
	}
	if d := partitiontest.Diff(st, replayed); d != "" {
		w.bad("I9: the journal says something else than is served (-served +journal):\n%s", d)
	}
	for _, id := range slices.Sorted(maps.Keys(w.accepted)) {
		if _, ok := w.known(replayed, id); !ok {
			w.bad("I1: run %s was accepted and is lost", id)
		}
	}
	w.begins(replayed)
	w.outcomes(replayed)
	return records
}

// outcomes: what workers were told is taken is so. I3.
func (w *world) outcomes(st *project.State) {
	is := map[run.Fence]run.Outcome{}
	runs := st.Runs("", 1<<30)
	for _, p := range st.Save().Projects {
		for _, a := range p.Archives {
			if r, ok := w.known(st, a.Run); ok {
				runs = append(runs, r)
			}
		}
	}
	for _, r := range runs {
		for _, t := range r.Tasks {
			for _, a := range t.Attempts {
				is[a.Fence] = a.Outcome
			}
		}
	}
	for fence, o := range w.done {
		if is[fence] != o {
			w.bad("I3: the attempt with fence %v was acknowledged as %s and is %q", fence, o, is[fence])
		}
	}
}

// read folds a journal as the next owner would.
func (w *world) read(m *journaltest.Memory) (*project.State, []journal.Record, error) {
	st := project.New(w.plans.find)
	var records []journal.Record
	j := journal.New(m, journal.Config{Owner: "reader", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	_, err := j.Claim(context.Background(), func(rec journal.Record) error {
		records = append(records, rec)
		for _, e := range rec.Events {
			if err := st.Apply(e, rec.Time); err != nil {
				return err
			}
		}
		return nil
	})
	return st, records, err
}

// calm ends the faults, and a while later brings the cluster that is away back. I2: everything ends then.
func (w *world) calm() {
	w.mu.Lock()
	w.say("no more faults")
	w.faults = false
	for _, k := range w.workers {
		k.stopped = false
	}
	w.mu.Unlock()
	for i := range 300 {
		w.pass(4 * ttl) // what is under way arrives, perhaps with another run
		w.mu.Lock()
		if i == 5 {
			w.cut = ""
		}
		open := len(w.wrong) == 0 && (w.open() != "" || w.cut != "")
		w.ask(func(tx *partition.Tx) error {
			for _, name := range []string{"shop", "bank"} {
				for _, e := range tx.Environments(name) {
					if e.Hold != nil {
						_ = tx.Free(name, e.Name, "anna", "so that everything ends")
					}
				}
			}
			return nil
		}, func(error) {})
		if w.now == nil {
			w.start()
			open = true // it serves in a moment
		}
		w.mu.Unlock()
		if !open {
			break
		}
	}
	// What has ended is archived; an owner may find only then that an older one claimed after
	// it, before that one saw that its time was over.
	serves := false
	for n := 0; n < 50 && !serves; n++ { // a journal that is broken is served by nobody
		w.pass(2 * kept)
		w.mu.Lock()
		if serves = w.now != nil; !serves {
			w.start()
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if id := w.open(); id != "" && len(w.wrong) == 0 {
		w.bad("I2: run %s does not end", id)
	}
	if !serves && len(w.wrong) == 0 {
		w.bad("I1: nobody can serve what is in the journal")
	}
}

// open is a run that goes on; empty: none.
func (w *world) open() string {
	ids := slices.Sorted(maps.Keys(w.ended))
	ids = append(ids, slices.Sorted(maps.Keys(w.accepted))...)
	for _, id := range ids {
		if !w.ended[id].Ended() {
			return id
		}
	}
	return ""
}

// judge reads the journal that is left.
func (w *world) judge() {
	if len(w.wrong) > 0 {
		return
	}
	var st *project.State
	w.mu.Lock()
	c := w.now
	if c == nil {
		w.bad("I2: nobody serves when all is calm")
		w.mu.Unlock()
		return
	}
	w.command(c, func(tx *partition.Tx) error { st = tx.State(); return nil }, func(error) {})
	w.mu.Unlock()
	w.pass(10 * time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	if st == nil {
		w.bad("I2: nobody serves at the end")
		return
	}
	records := w.compare(st)
	h := partitiontest.ReadHistory(records, w.plans.known)
	for _, wrong := range h.Wrong {
		w.bad("journal: %s", wrong)
	}
	for _, id := range h.Order {
		if _, ok := h.Ended[id]; !ok {
			w.bad("I2: run %s did not end", id)
		}
	}
	w.archived, w.purged = len(h.Archived), w.disk.Purged()
	w.logged(h, st)
	w.harm()
	w.harmSnapshot(st)
}

// harm flips a bit of a record, or tears it: no reader takes it for what was written. I10.
func (w *world) harm() {
	m := w.disk.Whole()
	at := m.Len()
	if w.chance(50) {
		at = 1 + w.rng.Uint64N(m.Len())
	}
	m.Change(at, func(b []byte) []byte {
		if w.chance(20) {
			return b[:w.rng.IntN(len(b))]
		}
		i := len(b) - 1 - w.rng.IntN(min(len(b), 40)) // the end of a record: text that would be read as other text
		b[i] ^= 1 << w.rng.IntN(3)
		return b
	})
	if _, _, err := w.read(m); !errors.Is(err, journal.ErrCorrupt) {
		w.bad("I10: record %d was harmed, and reading answers %v", at, err)
	}
}
