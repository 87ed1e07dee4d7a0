package partition_test

import (
	"testing"

	"github.com/slipway-build/slipway/coordinator/plan/plantest"
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
