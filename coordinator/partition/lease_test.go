package partition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

func worker(name string) partition.Worker {
	return partition.Worker{Name: name, Instance: name + "'s process"}
}

func (f *farm) reclaim(ref partition.Ref, w partition.Worker) (kept bool) {
	f.t.Helper()
	f.must(func(tx *partition.Tx) error { kept = tx.Reclaim(ref, w, nil); return nil })
	return kept
}

// unnoted is a lease that an owner gave and did not live to write down, with the next owner.
func unnoted(t *testing.T) (f *farm, id string, ref partition.Ref) {
	t.Helper()
	return unnotedOf(t, plantest.Shop("shop", 1, 0, nil))
}

func unnotedOf(t *testing.T, p *plan.Plan) (f *farm, id string, ref partition.Ref) {
	t.Helper()
	f = open(t)
	id = f.submit(p)
	token := f.board.tokens()[0]
	f.js.arm(killedBefore)
	err := f.Do(t.Context(), func(tx *partition.Tx) error {
		work, early, err := tx.Lease(token, worker("first"), nil)
		if err == nil && !early {
			t.Error("the answer waits, and nothing that it rests on does")
		}
		ref = work.Ref
		return err
	})
	if !errors.Is(err, partition.ErrUnavailable) {
		t.Fatalf("the owner was killed: %v", err)
	}
	<-f.done
	f.owner = f.start()
	f.must(nothing) // it has claimed
	return f, id, ref
}

func TestALeaseThatWasNotWrittenDownIsTakenBack(t *testing.T) {
	f, id, ref := unnoted(t)
	if _, err := f.lease(id, "build/s0", nil); !errors.Is(err, partition.ErrAborted) {
		t.Fatalf("another worker leases what the first may still hold: %v", err)
	}
	if len(f.board.tokens()) > 0 {
		t.Error("the task is made known while the first may still hold it")
	}
	if !f.reclaim(ref, worker("first")) {
		t.Fatal("the first worker does not keep its lease")
	}
	if err := f.tick(ttl - 1); err != nil {
		t.Fatal(err)
	}
	f.must(func(tx *partition.Tx) error {
		return tx.Complete(ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}})
	})
	f.eventually("the coordinator's own work is done", f.idle)
	f.audit(id, run.Succeeded)
}

func TestALeaseThatNobodyTakesBackIsGivenAgain(t *testing.T) {
	f, id, ref := unnoted(t)
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	if f.reclaim(ref, worker("first")) {
		t.Error("the first worker comes too late, and keeps its lease")
	}
	again := f.hold(id, "build/s0")
	if !ref.Fence.Less(again.Ref.Fence) {
		t.Errorf("fence %v after %v", again.Ref.Fence, ref.Fence)
	}
	err := f.Do(t.Context(), func(tx *partition.Tx) error {
		return tx.Complete(ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeFailed}})
	})
	if !errors.Is(err, partition.ErrAborted) {
		t.Errorf("the end of the old lease: %v, want ErrAborted", err)
	}
	f.end(again, run.OutcomeSucceeded)
	f.audit(id, run.Succeeded)
}

// TestOnlyTheNextOwnerTakesBackWhatWasNotWrittenDown: one between the two may have answered that
// the lease is nobody's, and a copy of that end may come late (R4).
func TestOnlyTheNextOwnerTakesBackWhatWasNotWrittenDown(t *testing.T) {
	f, id, ref := unnoted(t)
	f.js.kill()
	<-f.done
	f.owner = f.start()
	f.must(nothing) // it has claimed
	err := f.Do(t.Context(), func(tx *partition.Tx) error {
		return tx.End(ref, worker("first"), nil, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}})
	})
	if !errors.Is(err, partition.ErrAborted) {
		t.Errorf("the end of a lease that the owner before the last gave: %v, want ErrAborted", err)
	}
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.do(id, "build/s0")
	f.audit(id, run.Succeeded)
}

// What became ready under the new owner was never anybody's: it does not wait for those who
// may still hold what was ready before.
func TestWhatIsReadySinceIsGivenAtOnce(t *testing.T) {
	f, id, _ := unnoted(t)
	f.clock.advance(time.Millisecond)
	since := f.submit(plantest.Shop("bank", 1, 0, nil))
	if got := len(f.board.tokens()); got != 1 {
		t.Errorf("%d tasks are made known, want the one that is ready since", got)
	}
	f.do(since, "build/s0")
	if _, err := f.lease(id, "build/s0", nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("another worker leases what the first may still hold: %v", err)
	}
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.do(id, "build/s0")
	f.want(since, "build/s0", run.TaskSucceeded)
	f.audit(id, run.Succeeded)
}

func TestALeaseBelongsToOneProcess(t *testing.T) {
	f := open(t)
	id := f.submit(plantest.Shop("shop", 1, 0, nil))
	held := f.hold(id, "build/s0")
	other := partition.Ref{Token: held.Ref.Token, Attempt: 1, Fence: run.Fence{Epoch: held.Ref.Fence.Epoch, Counter: held.Ref.Fence.Counter + 1}}
	if f.reclaim(held.Ref, worker("thief")) || f.reclaim(other, worker("w")) {
		t.Error("a lease is taken by another process, or with another fence")
	}
	f.must(func(tx *partition.Tx) error {
		if tx.Renew(held.Ref, worker("thief")) || tx.Renew(other, worker("w")) || !tx.Renew(held.Ref, worker("w")) {
			t.Error("a lease is renewed by its process with its fence, and by no other")
		}
		if _, _, err := tx.Holder(other); !errors.Is(err, partition.ErrAborted) {
			t.Errorf("holder of another fence: %v", err)
		}
		r, task, err := tx.Holder(held.Ref)
		if r != id || task.ID != "build/s0" || err != nil {
			t.Errorf("holder: %s %s, %v", r, task.ID, err)
		}
		return nil
	})
	f.end(held, run.OutcomeSucceeded)
	f.audit(id, run.Succeeded)
}

// TestALeaseIsGivenEarlyOnlyIfWhatItRestsOnIsDurable: and not at all to a deployer, whose
// effects outlive the farm.
func TestALeaseIsGivenEarlyOnlyIfWhatItRestsOnIsDurable(t *testing.T) {
	f := open(t)
	id := f.submit(plantest.Shop("shop", 1, 1, [][]string{{"a"}}))
	build := f.hold(id, "build/s0")
	early := func(tx *partition.Tx, task string) (bool, partition.Ref) {
		r, err := tx.Run(id)
		if err != nil {
			t.Fatal(err)
		}
		spec, _ := r.Find(task)
		work, early, err := tx.Lease(tx.Token(r, spec), worker("w"), nil)
		if err != nil {
			t.Error(err)
		}
		return early, work.Ref
	}
	good := run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}}
	var test, render partition.Ref
	f.must(func(tx *partition.Tx) (err error) {
		err = tx.Complete(build.Ref, good)
		var now bool
		if now, test = early(tx, "test/s0/0"); now {
			t.Error("a test is given before the build that it needs is durable")
		}
		return err
	})
	f.must(func(tx *partition.Tx) error {
		var now bool
		if now, render = early(tx, "render/s0@e0/a"); !now {
			t.Error("nothing waits, and the answer does")
		}
		return nil
	})
	f.must(func(tx *partition.Tx) error { return errors.Join(tx.Complete(test, good), tx.Complete(render, good)) })
	f.eventually("the release is stored", f.idle)
	f.must(func(tx *partition.Tx) error {
		if now, _ := early(tx, "apply/s0@e0/a"); now {
			t.Error("a deployer is given a lease that may be forgotten")
		}
		return nil
	})
}
