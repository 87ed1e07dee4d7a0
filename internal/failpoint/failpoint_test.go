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
	for _, c := range []struct {
		of     string
		points []failpoint.Point
		least  int
	}{{"a coordinator", failpoint.Coordinator(), 20}, {"a deployer", failpoint.Deployer(), 12}} {
		for _, p := range c.points {
			failpoint.Arm(p, 1)
			failpoint.Hit(p) // and lives
			if seen[p] {
				t.Errorf("%s is there twice", p)
			}
			seen[p] = true
		}
		if len(c.points) < c.least {
			t.Errorf("%d points of %s, want %d at least", len(c.points), c.of, c.least)
		}
	}
}
