package partition_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/explain"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// grouped is a plan with three tests of a group, of which so many may run at once.
func grouped(room int, class string) *plan.Plan {
	p := crowd(0)
	p.Teams, p.Class = nil, class
	for i := range p.Tasks {
		if s := p.Tasks[i].Service; s == "a" || s == "b" || s == "c" {
			p.Tasks[i].Group = "db"
		}
	}
	if room > 1 {
		p.Groups = []plan.Group{{Name: "db", Running: room}}
	}
	return p
}

// in are the tasks of the group that dispatch knows, of all that it was told of.
func (f *farm) in(runs ...string) (out []string) {
	ready := f.board.tokens()
	for i, id := range runs {
		f.must(func(tx *partition.Tx) error {
			r, err := tx.Run(id)
			if err != nil {
				return err
			}
			for _, t := range r.Tasks {
				for _, token := range ready {
					if t.Spec.Group != "" && tx.Token(r, t) == token {
						out = append(out, string(rune('1'+i))+" "+t.Spec.ID)
					}
				}
			}
			return nil
		})
	}
	return out
}

func TestAGroupHasRoomForOne(t *testing.T) {
	f := open(t)
	first := f.submit(grouped(1, ""))
	second := f.submit(grouped(1, ""))
	urgent := f.submit(grouped(1, plan.ClassUrgent))
	want := func(tasks ...string) {
		t.Helper()
		f.must(nothing)
		if d := cmp.Diff(tasks, f.in(first, second, urgent)); d != "" {
			t.Fatalf("ready (-want +got):\n%s", d)
		}
	}
	want("1 build/a")
	if _, err := f.lease(second, "build/a", nil); !errors.Is(err, partition.ErrAborted) || !strings.Contains(err.Error(), "waits for its group db") {
		t.Fatalf("a lease of a task that waits: %v", err)
	}
	f.hold(second, "build/d") // which is in none
	a := f.hold(first, "build/a")
	want()

	waits := f.why(second, "build/a")
	if waits.Reason != explain.Group || len(waits.On) != 1 || waits.On[0] != "build/a of "+first {
		t.Errorf("it is said to wait for %+v", waits)
	}

	// It fails, and what is urgent is next; a task that is canceled leaves no hole.
	f.end(a, run.OutcomeFailed)
	want("3 build/a")
	f.cancel(urgent)
	want("1 build/b")
	held := f.hold(first, "build/b")

	// The next owner counts what is leased, and gives nothing else away before it knows all.
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.owner = f.start()
	f.must(nothing)
	f.clock.advance(ttl / 2)
	if !f.reclaim(held.Ref, partition.Worker{Name: "w", Instance: "w's process"}) {
		t.Fatal("the lease is not taken back")
	}
	want()
	if err := f.tick(ttl/2 + 2e9); err != nil {
		t.Fatal(err)
	}
	want()
	f.end(held, run.OutcomeSucceeded)
	want("1 build/c")
	f.do(first, "build/c")
	want("2 build/a")
}

// TestALostTaskKeepsItsPlaceInTheGroup: it is ready again, and in the group; one that has to pause
// makes room.
func TestALostTaskKeepsItsPlaceInTheGroup(t *testing.T) {
	f := open(t)
	p := grouped(2, "")
	for i := range p.Tasks {
		p.Tasks[i].Infra = 3
	}
	id := f.submit(p)
	f.hold(id, "build/a")
	f.hold(id, "build/b")
	f.must(nothing)
	if got := f.in(id); len(got) != 0 {
		t.Fatalf("with two of two leased, %v are ready", got)
	}
	if err := f.tick(ttl + 2e9); err != nil {
		t.Fatal(err)
	}
	f.must(nothing)
	if d := cmp.Diff([]string{"1 build/a", "1 build/b"}, f.in(id)); d != "" {
		t.Fatalf("after both were lost, ready (-want +got):\n%s", d)
	}
	f.end(f.hold(id, "build/a"), run.OutcomeErrored)
	f.must(nothing)
	if d := cmp.Diff([]string{"1 build/b", "1 build/c"}, f.in(id)); d != "" {
		t.Fatalf("while one pauses, ready (-want +got):\n%s", d)
	}
}

// TestAGroupWaitsForWhatIsNotKnown: while a lease that no record has may be somebody's, the next owner
// lets nobody else into its group, though the task was not ready when it claimed.
func TestAGroupWaitsForWhatIsNotKnown(t *testing.T) {
	p := grouped(1, "")
	p.Tasks = slices.DeleteFunc(p.Tasks, func(t plan.Task) bool { return t.Kind == plan.KindBuild && t.Service != "a" })
	f, id, ref := unnotedOf(t, p)
	other := f.submit(grouped(1, plan.ClassUrgent))
	f.must(nothing)
	if got := f.in(id, other); len(got) > 0 {
		t.Fatalf("while the first worker may have its task, %v are ready", got)
	}
	if !f.reclaim(ref, worker("first")) {
		t.Fatal("the first worker does not keep its lease")
	}
	f.clock.advance(ttl / 2)
	f.must(func(tx *partition.Tx) error { tx.Renew(ref, worker("first")); return nil })
	if err := f.tick(ttl/2 + 2e9); err != nil {
		t.Fatal(err)
	}
	f.must(nothing)
	if got := f.in(id, other); len(got) > 0 {
		t.Fatalf("while the first worker has its task, %v are ready", got)
	}
	f.must(func(tx *partition.Tx) error {
		return tx.Complete(ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}})
	})
	f.must(nothing)
	if d := cmp.Diff([]string{"2 build/a"}, f.in(id, other)); d != "" {
		t.Fatalf("ready (-want +got):\n%s", d)
	}
}
