package analysis_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/deploy/analysis"
)

// told is what a judge must say, read from the whole history.
func told(failures, tolerated int, history []analysis.Outcome, ended bool) analysis.Verdict {
	for n := range len(history) + 1 {
		seen := history[:n]
		bad := 0
		for _, o := range slices.Backward(seen) {
			if o == analysis.Good {
				break
			}
			if o == analysis.Bad {
				bad++
			}
		}
		said := slices.IndexFunc(slices.Collect(reversed(seen)), func(o analysis.Outcome) bool { return o != analysis.Unknown })
		if said < 0 {
			said = n
		}
		switch {
		case bad >= failures && seen[n-1] == analysis.Bad:
			return analysis.Failed
		case said > tolerated:
			return analysis.Inconclusive
		}
	}
	switch {
	case !ended:
		return analysis.GoesOn
	case slices.Contains(history, analysis.Good):
		return analysis.Passed
	case slices.Contains(history, analysis.Bad):
		return analysis.Failed
	}
	return analysis.Inconclusive
}

func reversed(list []analysis.Outcome) func(func(analysis.Outcome) bool) {
	return func(yield func(analysis.Outcome) bool) {
		for _, o := range slices.Backward(list) {
			if !yield(o) {
				return
			}
		}
	}
}

func TestJudge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		failures, tolerated := rapid.IntRange(1, 4).Draw(t, "failures"), rapid.IntRange(0, 4).Draw(t, "tolerated")
		history := rapid.SliceOfN(rapid.SampledFrom([]analysis.Outcome{analysis.Good, analysis.Bad, analysis.Unknown}), 0, 20).Draw(t, "history")
		j := analysis.Judge{Failures: failures, Tolerated: tolerated}
		verdict := analysis.GoesOn
		for i, o := range history {
			now := j.Observe(o)
			if want := told(failures, tolerated, history[:i+1], false); now != want {
				t.Fatalf("after %v: %s, want %s", history[:i+1], now, want)
			}
			if verdict != analysis.GoesOn && now != verdict {
				t.Fatalf("%s became %s", verdict, now)
			}
			verdict = now
		}
		if got, want := j.End(), told(failures, tolerated, history, true); got != want || j.Verdict() != want {
			t.Fatalf("at the end of %v: %s, want %s", history, got, want)
		}
		c := j.Count
		if c.Good+c.Bad+c.Unknown != c.All || c.All > len(history) || j.Verdict() == analysis.Passed && c.Good == 0 {
			t.Fatalf("%+v, %s", c, j.Verdict())
		}
	})
}

// TestJudgeOfNothing: who measured nothing was not told that all is well.
func TestJudgeOfNothing(t *testing.T) {
	var j analysis.Judge
	if j.Verdict() != analysis.GoesOn || j.End() != analysis.Inconclusive {
		t.Error(j.Verdict())
	}
	if j.Observe(analysis.Good) != analysis.Inconclusive || j.Count.All != 0 {
		t.Error("a verdict was taken back")
	}
}
