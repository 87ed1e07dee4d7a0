package ninja

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
)

func TestTheManifestIsTheGraph(t *testing.T) {
	g := graph.Services("shop", 100, 5*time.Millisecond, 1)
	m := Manifest(g)
	edges := 0
	for _, task := range g.Plan.Tasks {
		edges += len(task.Needs)
	}
	builds, inputs := 0, 0
	for line := range strings.Lines(m) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "build "); ok {
			builds++
			_, needs, _ := strings.Cut(rest, "|")
			inputs += len(strings.Fields(needs))
		}
	}
	if builds != 100 || inputs != edges {
		t.Errorf("%d tasks and %d edges, want 100 and %d", builds, inputs, edges)
	}
	if !strings.Contains(m, "\n  t = "+graph.Seconds(g.Take[99])+"\n") {
		t.Errorf("the last task's time is not there:\n%s", m)
	}
}

func TestWhatNinjaDidIsCounted(t *testing.T) {
	if n := done("# ninja log v5\n0\t5\t0\ts0001\tabc\n5\t9\t0\ts0002\tdef\n9\t12\t0\ts0002\tdef\n"); n != 2 {
		t.Errorf("%d, want 2", n)
	}
}

func TestNinjaCarriesOutTheWholeGraph(t *testing.T) {
	if _, err := exec.LookPath("ninja"); err != nil {
		t.Skip("ninja is not here")
	}
	g := graph.Services("shop", 40, time.Millisecond, 1)
	dir := t.TempDir()
	for range 2 { // the second begins anew
		rep, err := Run(t.Context(), dir, g, 8)
		if err != nil || rep.Elapsed <= 0 {
			t.Fatalf("%+v, %v", rep, err)
		}
	}
}
