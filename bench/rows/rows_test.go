package rows

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/pairs"
)

func TestLatenciesAreQuantilesInMilliseconds(t *testing.T) {
	hops := make([]time.Duration, 100)
	for i := range hops {
		hops[i] = time.Duration(100-i) * time.Millisecond
	}
	got := latencies(hops, 2)
	if want := []pairs.Half{{Value: 50, CPU: 2}, {Value: 99, CPU: 2}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestHalvesAreInterleaved(t *testing.T) {
	var order []string
	half := func(name string, values ...float64) func(int) ([]pairs.Half, error) {
		return func(int) ([]pairs.Half, error) {
			order = append(order, name)
			out := make([]pairs.Half, len(values))
			for i, v := range values {
				out[i].Value = v
			}
			return out, nil
		}
	}
	b := &bench{Options: Options{Out: io.Discard}}
	all, err := b.interleaveAll([]string{"x", "y"}, half("A", 1, 2), half("B", 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || len(all[0]) != pairs.Counted+1 || len(all[1]) != pairs.Counted+1 {
		t.Fatalf("%v", all)
	}
	for i, p := range all[1] {
		if p.Reference.Value != 2 || p.Ours.Value != 4 || order[2*i] != "A" || order[2*i+1] != "B" {
			t.Errorf("pair %d: %+v, order %v", i, p, order)
		}
	}
	broken := errors.New("broken")
	if _, err := b.interleaveAll([]string{"x"}, half("A", 1), func(int) ([]pairs.Half, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("a half that fails: %v", err)
	}
}

func TestATryWritesNoResult(t *testing.T) {
	b := &bench{Options: Options{Out: io.Discard, Try: true, Results: "/nonexistent/results"}}
	if err := b.finish(pairs.Result{Row: "x", Broken: []string{"I1"}}, pairs.Goal{}, pairs.Machine{}); err != nil || b.broken != 1 {
		t.Errorf("%v, %d broken", err, b.broken)
	}
}
