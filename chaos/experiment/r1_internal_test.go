package experiment

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/chaos/witness"
)

// TestNextDispatch: the first task of each project that the dead coordinator had, and apart those
// in which nothing else died.
func TestNextDispatch(t *testing.T) {
	at := func(ms int64) int64 { return ms * int64(time.Millisecond) }
	begun := func(project string, ms int64) witness.Entry {
		e := witness.Entry{Kind: witness.Begin, Done: true, Call: at(ms)}
		e.Attempt.Run = project + "-1-abcd"
		return e
	}
	entries := []witness.Entry{begun("p1", 900), begun("p1", 2400), begun("p2", 2600), begun("p1", 21500), begun("p2", 24000), begun("p1", 41000)}
	hurt := []outage{{at(1000), []string{"p1", "p2"}}, {at(20000), []string{"p1", "p2"}}, {at(40000), []string{"p1"}}}
	deaths := []int64{at(1000), at(20000), at(22000), at(38000), at(40000)}
	all, alone := next(entries, hurt, deaths, 3*time.Second)
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
	check("all", all, 1400, 1600, 1500, 4000, 1000)
	check("alone", alone, 1400, 1600, 1500)
}
