package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
)

// same compares states field by field. Of the lists of what is to be said next it compares
// what Save does, which leaves out what is over.
func same(a, b *project.State) string {
	if d := cmp.Diff(lists(a), lists(b)); d != "" {
		return d
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true }), cmp.FilterPath(func(p cmp.Path) bool {
		f, ok := p.Last().(cmp.StructField)
		return ok && slices.Contains([]string{"plans", "Plan", "Spec", "work", "ready", "revoke"}, f.Name())
	}, cmp.Ignore()))
}

func lists(st *project.State) map[string][][]int {
	out := map[string][][]int{}
	for _, r := range st.Save().Runs {
		out[r.Accepted.Run] = [][]int{r.Work, r.Ready}
	}
	return out
}

func (w *world) fold(st *project.State, past []happened) {
	w.t.Helper()
	for _, h := range past {
		if err := st.Apply(h.event, h.at); err != nil {
			w.t.Fatalf("%T: %v", h.event, err)
		}
	}
}

// TestASnapshotIsItsReplay: whatever happened, a state that was stored, read again and
// then went on is the one that a replay from the beginning comes to.
func TestASnapshotIsItsReplay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range rapid.IntRange(1, 60).Draw(rt, "acts") {
			w.act()
		}
		blobs := &snapshottest.Blobs{}
		cut := rapid.IntRange(0, len(w.past)).Draw(rt, "cut") // also amid what is said at once
		st := project.New(w.plan)
		w.fold(st, w.past[:cut])
		head := snapshot.Head{Partition: 3, Sequence: uint64(cut) + 1, Epoch: 2, Time: w.at, Hash: []byte("hash"), Newest: 7}
		digest, err := snapshot.Write(rt.Context(), blobs, head, st, w.plan)
		if err != nil {
			rt.Fatalf("write: %v", err)
		}
		if again, err := snapshot.Write(rt.Context(), blobs, head, st, w.plan); err != nil || again != digest {
			rt.Fatalf("the same state is %s and then %s, %v", digest, again, err)
		}
		got, saved, err := snapshot.Read(rt.Context(), blobs, digest)
		if err != nil {
			rt.Fatalf("read: %v", err)
		}
		if d := cmp.Diff(head, got); d != "" {
			rt.Errorf("head (-want +got):\n%s", d)
		}
		restored, err := project.Restore(saved, w.plan)
		if err != nil {
			rt.Fatalf("restore: %v", err)
		}
		if d := same(st, restored); d != "" {
			rt.Fatalf("restored (-replayed +restored):\n%s", d)
		}
		w.fold(restored, w.past[cut:])
		whole := project.New(w.plan)
		w.fold(whole, w.past)
		if d := same(whole, restored); d != "" {
			rt.Fatalf("restored and gone on (-replayed +restored):\n%s", d)
		}
		for _, r := range whole.Runs("", 1<<20) { // and what follows is the same
			other, _ := restored.Run(r.ID)
			if d := cmp.Diff(r.Next(), other.Next()); d != "" {
				rt.Fatalf("what follows in %s (-replayed +restored):\n%s", r.ID, d)
			}
		}
	})
}

// TestAnArchivedRunIsTheRun: what is read of an archive is what the state had.
func TestAnArchivedRunIsTheRun(t *testing.T) {
	archived := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range rapid.IntRange(40, 60).Draw(rt, "acts") {
			w.act()
		}
		blobs := &snapshottest.Blobs{}
		for _, r := range w.st.Runs("", 1<<20) {
			if !r.State.Ended() {
				continue
			}
			archived++
			digest, err := snapshot.PutRun(rt.Context(), blobs, r)
			if err != nil {
				rt.Fatalf("archive: %v", err)
			}
			back, err := snapshot.Run(rt.Context(), blobs, digest, w.plan)
			if err != nil {
				rt.Fatalf("read: %v", err)
			}
			if d := cmp.Diff(r.Snapshot(), back.Snapshot(), cmp.Exporter(func(reflect.Type) bool { return true }), cmpopts.EquateEmpty()); d != "" {
				rt.Fatalf("archived (-was +is):\n%s", d)
			}
		}
	})
	if archived == 0 {
		t.Error("no run ended")
	}
}

// filled is a state with runs of a size.
func filled(tb testing.TB, runs, services int) (*project.State, project.Plans) {
	tb.Helper()
	p := &plan.Plan{Version: plan.Version, Project: "shop"}
	for i := range services {
		p.Tasks = append(p.Tasks, plan.Task{ID: fmt.Sprint("build/", i), Kind: plan.KindBuild, Can: plan.CapabilityBuild, Digest: fmt.Sprint("digest ", i)})
	}
	plans := func(string) (*plan.Plan, error) { return p, nil }
	w := &world{st: project.New(plans)}
	for n := range runs {
		id := fmt.Sprintf("shop-%d-x", n)
		events := []run.Event{run.Accepted{Run: id, Number: uint64(n), Project: "shop", PlanHash: "p"}}
		for i := range services {
			task := fmt.Sprint("build/", i)
			a := run.Attempt{Number: 1, Worker: "worker-17", Fence: run.Fence{Epoch: 1, Counter: uint64(i)}, LeasedAt: w.at}
			end := a
			end.Outcome, end.FinishedAt, end.StartedAt = run.OutcomeSucceeded, w.at, w.at
			events = append(events, run.AttemptStarted{Run: id, Task: task, Attempt: 1, Worker: a.Worker, Fence: a.Fence, LeasedAt: w.at},
				run.AttemptFinished{Run: id, Task: task, Attempt: end},
				run.TaskFinished{Run: id, Task: task, State: run.TaskSucceeded, Digest: fmt.Sprint("digest ", i), Result: plan.Result{Image: "registry.example.com/shop/api@sha256:0123456789012345678901234567890123456789012345678901234567890123"}})
		}
		for _, e := range append(events, run.Finished{Run: id, State: run.Succeeded}) {
			if err := w.st.Apply(e, w.at); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return w.st, plans
}

func TestAHarmedSnapshotIsNeverUsed(t *testing.T) {
	st, plans := filled(t, 20, 500) // in several parts
	whole := &snapshottest.Blobs{}
	digest, err := snapshot.Write(t.Context(), whole, snapshot.Head{Sequence: 9}, st, plans)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(whole.Digests()); n < 3 {
		t.Fatalf("the snapshot has %d blobs, want a head and several parts", n)
	}
	for name, harm := range map[string]func([]byte) []byte{
		"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"cut short":     func(b []byte) []byte { return b[:len(b)-1] },
		"empty":         func([]byte) []byte { return []byte{} },
		"gone":          func([]byte) []byte { return nil },
	} {
		for _, d := range whole.Digests() {
			blobs := whole.Copy()
			blobs.Change(d, harm)
			if _, _, err := snapshot.Read(t.Context(), blobs, digest); !errors.Is(err, snapshot.ErrUnusable) {
				t.Errorf("%s (head: %t): %v, want ErrUnusable", name, d == digest, err)
			}
		}
	}
}

func TestWhatIsNotReadBackIsNoSnapshot(t *testing.T) {
	st, plans := filled(t, 2, 3)
	blobs := &snapshottest.Blobs{}
	blobs.Wait = func(_ context.Context, call, digest string) error {
		if call == "get" {
			blobs.Change(digest, func(b []byte) []byte { return append(b, 0) })
		}
		return nil
	}
	if _, err := snapshot.Write(t.Context(), blobs, snapshot.Head{Sequence: 9}, st, plans); !errors.Is(err, snapshot.ErrUnusable) {
		t.Errorf("a snapshot that the store changed: %v", err)
	}
	other := func(string) (*plan.Plan, error) { return &plan.Plan{Project: "shop"}, nil }
	if _, err := snapshot.Write(t.Context(), &snapshottest.Blobs{}, snapshot.Head{Sequence: 9}, st, other); err == nil {
		t.Error("a snapshot that does not become the state again was taken for one")
	}
}

func TestRemoveTakesEverything(t *testing.T) {
	st, plans := filled(t, 20, 500)
	blobs := &snapshottest.Blobs{}
	var digests []string
	for sequence := range uint64(2) { // the same state, at two records
		d, err := snapshot.Write(t.Context(), blobs, snapshot.Head{Sequence: sequence + 9}, st, plans)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	for range 2 { // again is no error
		if err := snapshot.Remove(t.Context(), blobs, digests[0]); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := snapshot.Read(t.Context(), blobs, digests[1]); err != nil {
		t.Errorf("the other snapshot: %v", err)
	}
	if err := snapshot.Remove(t.Context(), blobs, digests[1]); err != nil || len(blobs.Digests()) > 0 {
		t.Errorf("%d blobs are left, %v", len(blobs.Digests()), err)
	}
}

// BenchmarkWrite: 100,000 tasks that have ended, stored and read back.
func BenchmarkWrite(b *testing.B) {
	st, plans := filled(b, 100, 1000)
	for b.Loop() {
		if _, err := snapshot.Write(b.Context(), &snapshottest.Blobs{}, snapshot.Head{Sequence: 9}, st, plans); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead: the same, as a partition begins with it.
func BenchmarkRead(b *testing.B) {
	st, plans := filled(b, 100, 1000)
	blobs := &snapshottest.Blobs{}
	digest, err := snapshot.Write(b.Context(), blobs, snapshot.Head{Sequence: 9}, st, plans)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, saved, err := snapshot.Read(b.Context(), blobs, digest)
		if err == nil {
			_, err = project.Restore(saved, plans)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInThePartition: what the goroutine of a partition with 10,000 runs does for a
// snapshot, and each minute for archives.
func BenchmarkInThePartition(b *testing.B) {
	st, _ := filled(b, 10_000, 1)
	for b.Loop() {
		if st.Plans() == nil || st.Ripe(project.Retention{PerProject: 20_000}, time.Unix(0, 0), 64, func(*run.Run) bool { return false }) != nil {
			b.Fatal("something is ripe")
		}
	}
}
