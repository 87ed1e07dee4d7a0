package pairs_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/bench/pairs"
)

func made(ratios ...float64) []pairs.Pair {
	out := make([]pairs.Pair, len(ratios))
	for i, r := range ratios {
		out[i] = pairs.Pair{Ours: pairs.Half{Value: 10 * r, CPU: 1}, Reference: pairs.Half{Value: 10, CPU: 2}}
	}
	return out
}

func TestTheFirstPairIsDroppedAndTheMedianIsOfRatios(t *testing.T) {
	s, err := pairs.Summarize(made(1000, 1, 2, 3, 4, 5, 6, 7, 8, 9), pairs.Goal{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if s.Median != 5 || len(s.Ours) != 9 || slices.Max(s.Ours) != 90 {
		t.Errorf("median %g of %v", s.Median, s.Ours)
	}
	if s.CI95[0] < 1 || s.CI95[0] > 5 || s.CI95[1] < 5 || s.CI95[1] > 9 {
		t.Errorf("interval %v", s.CI95)
	}
}

func TestEqualRatiosHaveNoWidth(t *testing.T) {
	s, err := pairs.Summarize(made(9, 2, 2, 2, 2, 2, 2, 2, 2), pairs.Goal{Limit: 2})
	if err != nil || s.Median != 2 || s.CI95 != [2]float64{2, 2} || !s.Met {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestTheBadEndDecides(t *testing.T) {
	for _, c := range []struct {
		goal pairs.Goal
		ci   [2]float64
		want bool
	}{
		{pairs.Goal{Limit: 8}, [2]float64{8, 12}, true},
		{pairs.Goal{Limit: 8}, [2]float64{7.9, 12}, false},
		{pairs.Goal{Limit: 1.5, AtMost: true}, [2]float64{1, 1.5}, true},
		{pairs.Goal{Limit: 1.5, AtMost: true}, [2]float64{1, 1.6}, false},
	} {
		if got := c.goal.Met(c.ci); got != c.want {
			t.Errorf("%v with %v: %v", c.goal, c.ci, got)
		}
	}
}

func TestTooFewOrUselessPairsAreNoResult(t *testing.T) {
	if _, err := pairs.Summarize(made(1, 1, 1, 1, 1, 1, 1, 1), pairs.Goal{}); !errors.Is(err, pairs.ErrTooFew) {
		t.Errorf("eight: %v", err)
	}
	for _, v := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		all := made(1, 1, 1, 1, 1, 1, 1, 1, 1)
		all[4].Reference.Value = v
		if _, err := pairs.Summarize(all, pairs.Goal{}); err == nil {
			t.Errorf("a reference of %g has a ratio", v)
		}
	}
}

func TestQuantiles(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.2: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := pairs.Quantile(v, q); got != want {
			t.Errorf("%g: %g, want %g", q, got, want)
		}
	}
	if m := pairs.Median([]float64{1, 2, 3, 10}); m != 2.5 {
		t.Errorf("median %g", m)
	}
}

func TestAFileHasWhatTheScoreboardAsksFor(t *testing.T) {
	r := pairs.Result{Row: "P1-disk", Unit: "tasks/s", Raw: made(9, 2, 2, 2, 2, 2, 2, 2, 2), Commit: "abc"}
	if err := r.Fill(pairs.Goal{Limit: 2}); err != nil {
		t.Fatal(err)
	}
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range strings.Fields("row unit ours reference ratio_median ratio_ci95 goal met machine commit raw_pairs") {
		if _, ok := m[k]; !ok {
			t.Errorf("no %s", k)
		}
	}
	if m["met"] != true || len(r.OursCPU) != 8 || len(r.Raw) != 9 {
		t.Errorf("%s", b)
	}
	r.Broken = []string{"I1: a run is lost"}
	if err := r.Fill(pairs.Goal{Limit: 2}); err != nil || r.Met {
		t.Errorf("met with a broken invariant: %v, %v", r.Met, err)
	}
}

func TestARowOfSeveralPartsIsItsWorst(t *testing.T) {
	parts := func() []pairs.Part {
		return []pairs.Part{
			{Name: "wall", Unit: "s", Raw: made(1, 2, 2, 2, 2, 2, 2, 2, 2)},
			{Name: "CPU", Unit: "CPU-s", Raw: made(1, 3, 3, 3, 3, 3, 3, 3, 3)},
			{Name: "memory", Unit: "bytes", Raw: made(1, 1, 1, 1, 1, 1, 1, 1, 1)},
		}
	}
	for _, c := range []struct {
		goal  pairs.Goal
		unit  string
		ratio float64
		met   bool
	}{
		{pairs.Goal{Limit: 2.5, AtMost: true}, "CPU-s", 3, false},
		{pairs.Goal{Limit: 1}, "bytes", 1, true},
	} {
		r := pairs.Result{Row: "P5"}
		if err := r.Worst(parts(), c.goal); err != nil {
			t.Fatal(err)
		}
		if r.Unit != c.unit || r.Ratio != c.ratio || r.Met != c.met || len(r.Parts) != 3 || r.Parts[0].Ratio != 2 {
			t.Errorf("%v: %s %g, met %v, parts %+v", c.goal, r.Unit, r.Ratio, r.Met, r.Parts)
		}
	}
	short := parts()
	short[2].Raw = short[2].Raw[:8]
	if err := (&pairs.Result{}).Worst(short, pairs.Goal{}); !errors.Is(err, pairs.ErrTooFew) {
		t.Errorf("a part of eight pairs: %v", err)
	}
	if err := (&pairs.Result{}).Worst(nil, pairs.Goal{}); !errors.Is(err, pairs.ErrTooFew) {
		t.Errorf("no part: %v", err)
	}
}
