package session

import (
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// A worker is told of every task whether its run is of a stranger's commit.
func TestGrantSaysWhoseCommitItIs(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		g := toGrant(partition.Work{Task: &plan.Task{Kind: plan.KindScan, Scan: &plan.Scan{}}, Trusted: trusted}, "")
		if g.GetUntrusted() == trusted {
			t.Errorf("trusted: %t, and the grant says untrusted: %t", trusted, g.GetUntrusted())
		}
	}
}
