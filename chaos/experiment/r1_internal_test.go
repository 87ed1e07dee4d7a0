package experiment

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/chaos/witness"
)

// TestNextDispatch: the first task of each project that the dead coordinator had, and apart what
// follows the last of several owners that died one after the other.
func TestNextDispatch(t *testing.T) {
	at := func(ms int64) int64 { return ms * int64(time.Millisecond) }
	begun := func(project string, ms int64) witness.Entry {
		e := witness.Entry{Kind: witness.Begin, Done: true, Call: at(ms)}
		e.Attempt.Run = project + "-1-abcd"
		return e
	}
	entries := []witness.Entry{begun("p1", 900), begun("p1", 2400), begun("p2", 2600), begun("p1", 21500), begun("p2", 24000), begun("p1", 41000)}
	hurt := []outage{{at(1000), []string{"p1", "p2"}}, {at(20000), []string{"p1", "p2"}}, {at(22000), []string{"p2", "p3"}}, {at(40000), []string{"p1"}}}
	all, last := next(entries, hurt)
	check := func(name string, got *times, want ...time.Duration) {
		if len(got.all) != len(want) {
			t.Fatalf("%s: %v, want %v", name, got.all, want)
		}
		for i, d := range want {
			if got.all[i] != d*time.Millisecond {
				t.Errorf("%s: %v, want %v", name, got.all, want)
			}
		}
	}
	check("all", all, 1400, 1600, 1500, 4000, 2000, 1000)
	check("last", last, 1400, 1600, 1500, 2000, 1000)
}
