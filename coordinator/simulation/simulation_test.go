package simulation_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/internal/planted"
)

// Flags of the test.
var (
	first = flag.Uint64("first", 1, "the first seed")
	whole = flag.Bool("story", false, "tell the whole story of a seed that breaks an invariant")
	seeds = flag.Uint64("seeds", 200, "how many seeds")
)

// simulate lets one seed decide everything, and answers what came of it.
func simulate(t *testing.T, seed uint64) (w *world) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed)
		w.mu.Lock()
		steps := 20 + w.rng.IntN(50)
		w.start()
		w.mu.Unlock()
		for range steps {
			synctest.Wait() // what was begun has drawn from the seed, before more is drawn
			w.mu.Lock()
			d := w.between(time.Millisecond, 1500*time.Millisecond)
			stop := len(w.wrong) > 0
			w.mu.Unlock()
			if stop {
				break
			}
			w.pass(d)
			w.act()
		}
		w.calm()
		w.judge()
		w.close()
	})
	return w
}

// tell says what a seed broke, and how to see it again.
func (w *world) tell(seed uint64) string {
	story := w.trace.last
	if !*whole {
		story = story[max(0, len(story)-60):]
	}
	return fmt.Sprintf("seed %d: %s\nits story:\n%s\nagain: go test ./coordinator/simulation -run TestSeeds -first %d -seeds 1",
		seed, strings.Join(w.wrong, "\n"), strings.Join(story, "\n"), seed)
}

// TestSeeds: no seed breaks an invariant.
func TestSeeds(t *testing.T) {
	var grants, restarts, doubled, runs, archived, moved, broken int
	var judged, purged uint64
	for seed := *first; seed < *first+*seeds; seed++ {
		w := simulate(t, seed)
		judged++
		if len(w.wrong) > 0 {
			broken++
			t.Errorf("%s", w.tell(seed))
		}
		if broken > 3 {
			break
		}
		grants, restarts, doubled, runs = grants+w.grants, restarts+w.restarts, doubled+w.doubled, runs+len(w.accepted)
		archived, purged, moved = archived+w.archived, purged+w.purged, moved+w.moved
	}
	t.Logf("R14 violations: %d of %d (%d runs, %d of them archived, the logs of %d, %d leases, %d owners after the first, %d doubled messages, %d records taken away behind snapshots)",
		broken, judged, runs, archived, moved, grants, restarts, doubled, purged)
	if judged >= 50 && (grants == 0 || restarts == 0 || doubled == 0 || archived == 0 || moved == 0 || purged == 0) {
		t.Error("the simulation does not do what it is for")
	}
}

// TestASeedReplaysExactly: the story of a seed is the same each time.
func TestASeedReplaysExactly(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := simulate(t, seed), simulate(t, seed)
		if a.trace.sum == b.trace.sum {
			continue
		}
		for i := range min(len(a.trace.last), len(b.trace.last)) {
			if a.trace.last[i] != b.trace.last[i] {
				t.Errorf("seed %d, line %d:\n%s\n%s", seed, i, a.trace.last[i], b.trace.last[i])
				break
			}
		}
	}
}

// TestPlanted: each mistake that was planted breaks an invariant for some seed.
func TestPlanted(t *testing.T) {
	if !planted.Possible {
		t.Skip("needs -tags planted")
	}
	defer planted.Set(planted.None)
	found := 0
	for _, bug := range planted.All() {
		planted.Set(bug)
		if seed, w := hunt(t); w != nil {
			found++
			t.Logf("planted %2d: seed %d: %s", bug, seed, strings.SplitN(w.wrong[0], "\n", 2)[0])
		} else {
			t.Errorf("planted %2d: not found in %d seeds", bug, *seeds)
		}
	}
	t.Logf("R14 planted: %d/%d", found, len(planted.All()))
	if found == len(planted.All()) {
		t.Log("R14 control: caught")
	}
}

func hunt(t *testing.T) (uint64, *world) {
	t.Helper()
	for seed := *first; seed < *first+*seeds; seed++ {
		if w := simulate(t, seed); len(w.wrong) > 0 {
			return seed, w
		}
	}
	return 0, nil
}
