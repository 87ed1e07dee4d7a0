package partition_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/natstest"
)

// answer says whether a command took effect; it may have when it could not be said.
func (w *world) answer(err error) bool {
	w.t.Helper()
	if err != nil && !errors.Is(err, partition.ErrUnavailable) {
		w.t.Fatalf("%v", err)
	}
	return err == nil
}

func (w *world) submitSome() {
	name := rapid.SampledFrom([]string{"shop", "bank"}).Draw(w.t, "project")
	key := rapid.SampledFrom([]string{"", "k1", "k2", "k3", "k4"}).Draw(w.t, "key")
	request := rapid.SampledFrom([]string{"same", "same", "same", "other"}).Draw(w.t, "request")
	envs := [][]string{{"a"}, {"b", "c"}}[:rapid.IntRange(0, 2).Draw(w.t, "environments")]
	s := w.submission(plantest.Shop(name, rapid.IntRange(1, 2).Draw(w.t, "services"), rapid.IntRange(0, 1).Draw(w.t, "tests"), envs), key, request)
	var id string
	var replayed bool
	err := w.Do(w.t.Context(), func(tx *partition.Tx) (err error) { id, replayed, err = tx.Accept(s); return err })
	slot := name + " " + key
	was, known := w.keys[slot]
	switch {
	case errors.Is(err, partition.ErrKeyReused):
		if (!known || was.request == request) && !w.doubt[slot] {
			w.t.Fatalf("%s: %v; the key began %q", slot, err, was)
		}
		return
	case !w.answer(err):
		if key != "" {
			w.doubt[slot] = true
		}
		return
	case known && (!replayed || id != was.run || request != was.request):
		w.t.Fatalf("%s (%s) is answered with %s, replayed: %t; the key began %q", slot, request, id, replayed, was)
	case !known && replayed && !w.doubt[slot]:
		w.t.Fatalf("%s is answered with %s, which nothing began", slot, id)
	}
	w.accepted[id] = true
	if key != "" {
		w.keys[slot] = began{request, id}
	}
}

// leaseSome takes a task that was made known, or asks for any other.
func (w *world) leaseSome() {
	tokens := w.board.tokens()
	known := len(tokens) > 0 && rapid.IntRange(0, 9).Draw(w.t, "known") > 0
	if !known {
		for _, r := range w.runs() {
			for _, t := range r.Tasks {
				tokens = append(tokens, fmt.Sprintf("%d_%s_%d", w.number, r.ID, t.Index))
			}
		}
	}
	if len(tokens) == 0 {
		return
	}
	token := rapid.SampledFrom(tokens).Draw(w.t, "token")
	name := rapid.SampledFrom([]string{"w1", "w2", "w3"}).Draw(w.t, "worker")
	if err := w.lease(token, name); err != nil && known && !errors.Is(err, partition.ErrUnavailable) {
		w.t.Fatalf("task %s was made known and cannot be leased: %v", token, err)
	}
}

func (w *world) lease(token, name string) error {
	w.t.Helper()
	g := &grip{worker: partition.Worker{Name: name, Instance: "process " + name}, until: w.clock.Now().Add(ttl)}
	given := false
	err := w.Do(w.t.Context(), func(tx *partition.Tx) error {
		work, early, err := tx.Lease(token, g.worker, g)
		if err != nil {
			return err
		}
		g.ref, g.run, g.task = work.Ref, work.Run, work.Task.ID
		given = early
		for _, need := range work.Task.Needs {
			if early && !w.shown.good(work.Run, need) {
				return fmt.Errorf("%s is given before %s has durably succeeded", work.Task.ID, need)
			}
		}
		return nil
	})
	if err == nil || given {
		for _, other := range w.grips {
			if other.ref.Token == token && other.until.After(w.clock.Now()) {
				w.t.Fatalf("%s is given to %s with %v while %s holds it with %v", token, name, g.ref.Fence, other.worker.Name, other.ref.Fence)
			}
			if other.ref.Token == token && !other.ref.Fence.Less(g.ref.Fence) {
				w.t.Fatalf("%s is given with %v after %v", token, g.ref.Fence, other.ref.Fence)
			}
		}
		w.grips = append(w.grips, g)
	}
	if err != nil && !errors.Is(err, partition.ErrAborted) && !errors.Is(err, partition.ErrUnavailable) {
		w.t.Fatalf("lease %s: %v", token, err)
	}
	return err
}

// beat is a heartbeat of one worker, as its session carries it out.
func (w *world) beat() {
	name := rapid.SampledFrom([]string{"w1", "w2", "w3"}).Draw(w.t, "worker")
	sent := w.clock.Now()
	kept := map[*grip]bool{}
	var epoch uint64
	err := w.Do(w.t.Context(), func(tx *partition.Tx) error {
		epoch = tx.Epoch()
		for _, g := range w.grips {
			if g.worker.Name == name && g.until.After(sent) {
				kept[g] = tx.Renew(g.ref, g.worker) || tx.Reclaim(g.ref, g.worker, g)
			}
		}
		return nil
	})
	if !w.answer(err) {
		return
	}
	for g, ok := range kept {
		t, _ := w.run(g.run).Find(g.task)
		switch {
		case t.State.Ended():
		case !ok && g.forgotten(t, epoch):
		case !ok:
			w.t.Fatalf("%s of %s was renewed in time and is lost; %s is %s", g.ref.Token, name, g.task, t.State)
		case t.Revoked != g.told.Load():
			w.t.Fatalf("%s must stop: %t; its worker was told: %t", g.ref.Token, t.Revoked, g.told.Load())
		}
		if g.until = sent.Add(ttl); !ok {
			w.drop(g)
		}
	}
}

// forgotten: the lease is in no record, and the owner after the one that gave it, which would
// have taken it back, has been replaced.
func (g *grip) forgotten(t *run.Task, epoch uint64) bool {
	return epoch > g.ref.Fence.Epoch+1 && !slices.ContainsFunc(t.Attempts, func(a run.Attempt) bool { return a.Fence == g.ref.Fence })
}

func (w *world) begin() {
	if g := w.pick(w.grips); g != nil {
		w.answer(w.Do(w.t.Context(), func(tx *partition.Tx) error { tx.Begin(g.ref); return nil }))
	}
}

func (w *world) pick(list []*grip) *grip {
	if len(list) == 0 {
		return nil
	}
	return rapid.SampledFrom(list).Draw(w.t, "lease")
}

func (w *world) drop(g *grip) {
	if i := slices.Index(w.grips, g); i >= 0 {
		w.grips = slices.Delete(w.grips, i, i+1)
		w.old = append(w.old, g)
	}
}

// completeSome ends a lease that goes on, or one whose time is over, or says it again.
func (w *world) completeSome() {
	list := w.grips
	if len(w.old) > 0 && rapid.IntRange(0, 3).Draw(w.t, "late") == 0 {
		list = w.old
	}
	if g := w.pick(list); g != nil {
		w.complete(g, rapid.SampledFrom([]run.Outcome{
			run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeSucceeded, run.OutcomeFailed, run.OutcomeErrored, run.OutcomeCanceled, run.OutcomeLost, "",
		}).Draw(w.t, "outcome"))
	}
}

func (w *world) complete(g *grip, o run.Outcome) {
	w.t.Helper()
	if g.said == nil {
		g.said = &run.Report{Attempt: run.Attempt{Outcome: o, Message: "so it ended"}}
		if o == run.OutcomeSucceeded {
			g.said.Result = plan.Result{Image: "image of " + g.task, Manifests: "manifests of " + g.ref.Token}
		}
	}
	rep := *g.said // a worker says the same again
	if o = rep.Attempt.Outcome; o == run.OutcomeLost || o == "" {
		o = run.OutcomeErrored // what it is taken for
	}
	var epoch uint64
	err := w.Do(w.t.Context(), func(tx *partition.Tx) error {
		epoch = tx.Epoch()
		if g.until.After(w.clock.Now()) && slices.Contains(w.grips, g) && !tx.Renew(g.ref, g.worker) { // as the hello of a new session does
			tx.Reclaim(g.ref, g.worker, g)
		}
		return tx.Complete(g.ref, rep)
	})
	was, ended := w.done[g.ref.Fence]
	switch {
	case errors.Is(err, partition.ErrAborted):
		if t, _ := w.run(g.run).Find(g.task); ended || g.until.After(w.clock.Now()) && slices.Contains(w.grips, g) && !t.State.Ended() && !g.forgotten(t, epoch) {
			w.t.Fatalf("the end of %s (fence %v) is refused and was told before as %q", g.ref.Token, g.ref.Fence, was)
		}
		w.refused[g.ref.Fence] = true
	case !w.answer(err):
		return
	case w.refused[g.ref.Fence]:
		w.t.Fatalf("the end of %s (fence %v) was refused and then taken", g.ref.Token, g.ref.Fence)
	case !ended:
		w.done[g.ref.Fence] = o
	}
	w.drop(g)
}

func (w *world) cancelSome() {
	runs := w.runs()
	if len(runs) == 0 {
		return
	}
	id := rapid.SampledFrom(runs).Draw(w.t, "run").ID
	var state run.State
	if w.answer(w.Do(w.t.Context(), func(tx *partition.Tx) error {
		r, err := tx.Cancel(id, "not wanted")
		if err == nil {
			state = r.State
		}
		return err
	})) {
		w.canceled[id] = state
	}
}

func (w *world) time() {
	d := rapid.SampledFrom([]time.Duration{time.Second, 4 * time.Second, ttl, ttl + 2*time.Second, 40 * time.Second}).Draw(w.t, "passes")
	w.answer(w.tick(d))
}

// restart: what was served is what the next owner builds.
func (w *world) restart() {
	w.t.Helper()
	served := w.state()
	if err := w.stop(); err != nil {
		w.t.Fatalf("partition: %v", err)
	}
	w.owner = w.start()
	replayed := w.state()
	w.must(func(*partition.Tx) error {
		if d := partitiontest.Diff(served, replayed); d != "" {
			return fmt.Errorf("state after the replay (-was +is):\n%s", d)
		}
		return nil
	})
}

// rival lets another owner claim the journal of the one that serves. At its next
// append that one must notice, and stop.
func (w *world) rival() {
	first := w.owner
	w.owner = w.start()
	w.runs() // it serves
	s := w.submission(plantest.Shop("shop", 1, 0, nil), fmt.Sprint("rival ", len(w.rivals)), "")
	err := first.Do(w.t.Context(), func(tx *partition.Tx) error { _, _, err := tx.Accept(s); return err })
	if !errors.Is(err, partition.ErrUnavailable) {
		w.t.Fatalf("an owner that was replaced answers %v", err)
	}
	<-first.done
	if first.err != nil {
		w.t.Fatalf("an owner that was replaced ends with %v", first.err)
	}
	w.unsent["shop "+s.Key] = true
	w.rivals = append(w.rivals, first)
}

// act does one thing at random, and brings the partition back if that killed it.
func (w *world) act() {
	switch rapid.SampledFrom([]string{
		"submit", "submit", "lease", "lease", "lease", "lease", "lease", "complete", "complete", "complete", "complete", "beat", "beat", "begin",
		"time", "time", "cancel", "restart", "rival", "fault", "mirror",
	}).Draw(w.t, "action") {
	case "submit":
		w.submitSome()
	case "lease":
		w.leaseSome()
	case "complete":
		w.completeSome()
	case "beat":
		w.beat()
	case "begin":
		w.begin()
	case "time":
		w.time()
	case "cancel":
		w.cancelSome()
	case "restart":
		w.js.arm(none)
		w.revive()
		w.restart()
	case "rival":
		w.js.arm(none)
		w.revive()
		w.rival()
	case "fault":
		w.js.arm(rapid.SampledFrom([]fault{answerLost, killedAfter, killedBefore}).Draw(w.t, "fault"))
	case "mirror":
		w.effects.broken(true)
	}
	w.revive()
}

// revive waits until nothing goes on by itself, with another owner if this one was killed.
func (w *world) revive() {
	w.t.Helper()
	killed := w.ended()
	w.eventually("an owner serves, and the coordinator's own tasks have ended", func() bool {
		if w.ended() {
			killed = true
			if w.err != nil {
				w.t.Fatalf("partition: %v", w.err)
			}
			w.owner = w.start()
		}
		return w.idle()
	})
	if killed { // what it made durable and did not show is seen now
		for _, r := range w.runs() {
			w.shown.Changed(r, r.Tasks)
		}
	}
}

// drive has one worker do everything, until every run has ended.
func (w *world) drive() {
	w.t.Helper()
	for round := 0; ; round++ {
		w.answer(w.tick(40 * time.Second))
		w.revive()
		for tokens := w.board.tokens(); len(tokens) > 0; tokens = w.board.tokens() {
			if err := w.lease(tokens[0], "last"); err != nil {
				w.t.Fatalf("lease %s: %v", tokens[0], err)
			}
			w.complete(w.grips[len(w.grips)-1], run.OutcomeSucceeded)
			w.revive()
		}
		open := slices.DeleteFunc(w.runs(), func(r *run.Run) bool { return r.State.Ended() })
		if len(open) == 0 {
			return
		}
		if round > 20 {
			w.t.Fatalf("run %s does not end: %s", open[0].ID, states(open[0]))
		}
	}
}

func states(r *run.Run) (out []string) {
	out = append(out, string(r.State))
	for _, t := range r.Tasks {
		out = append(out, t.Spec.ID+" "+string(t.State))
	}
	return out
}

// TestInvariants drives real partitions over one real server: whatever users, workers,
// time and killed owners do, the invariants I1 to I5 and I9 hold.
func TestInvariants(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		number++
		w := &world{
			farm: newFarm(rt, js, number), t: rt, keys: map[string]began{}, doubt: map[string]bool{}, accepted: map[string]bool{}, unsent: map[string]bool{},
			canceled: map[string]run.State{}, done: map[run.Fence]run.Outcome{}, refused: map[run.Fence]bool{},
		}
		defer w.close()
		for range rapid.IntRange(5, 30).Draw(rt, "actions") {
			w.act()
		}
		w.js.arm(none)
		w.effects.broken(false)
		w.drive()
		w.check()
	})
}
