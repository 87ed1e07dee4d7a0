package partition_test

import (
	"errors"
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// TestAnOwnerThatLeavesTakesItsTasksBack: what it made known is its next owner's to say.
func TestAnOwnerThatLeavesTakesItsTasksBack(t *testing.T) {
	f := open(t)
	f.submit(plantest.Shop("shop", 2, 0, nil))
	if len(f.board.tokens()) == 0 {
		t.Fatal("nothing is ready")
	}
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	if f.board.left != 1 || len(f.board.tokens()) > 0 {
		t.Errorf("said %d times that it left; still known: %v", f.board.left, f.board.tokens())
	}
	f.owner = f.start() // to be closed
}

// TestTheNextOwnerOfOneThatLeftInOrderWaitsForNobody, unlike that of one that was killed: there is
// no lease that the journal does not know.
func TestTheNextOwnerOfOneThatLeftInOrderWaitsForNobody(t *testing.T) {
	f := open(t)
	id := f.submit(plantest.Shop("shop", 2, 0, nil))
	held := f.hold(id, "build/s0")
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.owner = f.start()
	f.do(id, "build/s1")
	if _, err := f.lease(id, "build/s0", nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("what the journal says is somebody's is leased again: %v", err)
	}
	if !f.reclaim(held.Ref, worker("w")) {
		t.Error("who has it does not keep it")
	}
	f.end(held, run.OutcomeSucceeded)
	f.audit(id, run.Succeeded)
}

// TestWhoLeavesBeforeItKnowsSaysNothing: what the owner before it may have given away may still be
// somebody's.
func TestWhoLeavesBeforeItKnowsSaysNothing(t *testing.T) {
	f, id, _ := unnoted(t)
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.owner = f.start()
	if _, err := f.lease(id, "build/s0", nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("what the first owner gave away is leased by the third: %v", err)
	}
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.do(id, "build/s0")
	if err := f.stop(); err != nil { // now it knows
		t.Fatal(err)
	}
	f.owner = f.start()
	f.audit(id, run.Succeeded)
}

// TestOnlyTheOwnerBeforeCountsAsLeft: one that left in order, and after it one that was killed.
func TestOnlyTheOwnerBeforeCountsAsLeft(t *testing.T) {
	f := open(t)
	id := f.submit(plantest.Shop("shop", 1, 0, nil))
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.owner = f.start()
	f.must(nothing) // it has claimed
	f.js.kill()
	<-f.done
	f.owner = f.start()
	if _, err := f.lease(id, "build/s0", nil); !errors.Is(err, partition.ErrAborted) {
		t.Errorf("what the killed one may have given away is leased: %v", err)
	}
	if err := f.tick(2 * ttl); err != nil {
		t.Fatal(err)
	}
	f.do(id, "build/s0")
	f.audit(id, run.Succeeded)
}
