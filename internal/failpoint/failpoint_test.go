package failpoint_test

import (
	"testing"

	"github.com/slipway-build/slipway/internal/failpoint"
)

// TestNoneInAnOrdinaryBuild: there Arm has nothing to arm.
func TestNoneInAnOrdinaryBuild(t *testing.T) {
	if failpoint.Possible {
		t.Skip("this build is that of make chaos")
	}
	seen := map[failpoint.Point]bool{}
	for _, p := range failpoint.All() {
		failpoint.Arm(p, 1)
		failpoint.Hit(p) // and lives
		seen[p] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d points, want 20 at least", len(seen))
	}
}
