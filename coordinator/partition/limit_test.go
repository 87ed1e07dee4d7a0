package partition_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

func TestANewerRunSupersedesOlderOnes(t *testing.T) {
	for name, c := range map[string]struct {
		supersede, line string
		taken, deploys  bool
		want            run.State
	}{
		"queued":                    {plan.SupersedeQueued, "branch main", false, false, run.Canceled},
		"queued, but taken":         {plan.SupersedeQueued, "branch main", true, false, run.Running},
		"running":                   {plan.SupersedeRunning, "branch main", true, false, run.Stopping},
		"running, but it rolls out": {plan.SupersedeRunning, "branch main", true, true, run.Running},
		"another branch":            {plan.SupersedeRunning, "branch dev", true, false, run.Running},
		"never":                     {"", "branch main", false, false, run.Running},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			p := plantest.Shop("shop", 1, 0, [][]string{{"c"}})
			p.Line = "branch main"
			old := f.submit(p)
			switch {
			case c.deploys:
				f.do(old, "build/s0", "render/s0@e0/c")
				f.want(old, "rollout/e0", run.TaskSucceeded)
			case c.taken:
				f.hold(old, "build/s0")
			}
			f.again() // whose line it is, the next owner knows too
			next := plantest.Shop("shop", 1, 0, nil)
			next.Line, next.Supersede = c.line, c.supersede
			id := f.submit(next)
			got := f.run(old)
			if got.State != c.want {
				t.Errorf("the older run is %s (%s), want %s", got.State, got.Message, c.want)
			}
			if c.want != run.Running && !strings.Contains(got.Message, "superseded by the newer run "+id+" of branch main") {
				t.Errorf("message %q does not name the newer run %s", got.Message, id)
			}
			if r := f.run(id); r.State != run.Running {
				t.Errorf("the newer run is %s: %s", r.State, r.Message)
			}
		})
	}
}

// TestARunThatIsOverdueIsStopped: under the owner who accepted it, and under the next.
func TestARunThatIsOverdueIsStopped(t *testing.T) {
	f := open(t)
	p := plantest.Shop("shop", 1, 0, nil)
	p.Timeout = 3600
	id := f.submit(p)
	f.again()
	if err := f.tick(59 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if r := f.run(id); r.State != run.Running {
		t.Fatalf("before its time is over the run is %s: %s", r.State, r.Message)
	}
	if err := f.tick(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	f.must(func(*partition.Tx) error { return nil })
	if r := f.run(id); r.State != run.Canceled || r.Message != "it did not end within 1h0m0s, the timeout of runs in slipway.yaml" {
		t.Errorf("after its time is over the run is %s: %s", r.State, r.Message)
	}
}
