// Package pairs is the protocol of every benchmark: two things are measured in turn on one
// machine (A B A B …), each neighboring two are a pair, and the figure is the median of
// the pairs' ratios with a bootstrap interval. It is pure: it measures nothing itself.
package pairs

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Counted is how many pairs count at least. The first pair is dropped besides.
const Counted = 8

// resamples of the bootstrap; the seed is fixed, so that a file can be checked.
const resamples = 10_000

// Goal is what a ratio must reach, and on which side of it is good.
type Goal struct {
	Limit  float64 `json:"limit"`
	AtMost bool    `json:"at_most"` // of times and sizes; else at least, of rates
}

// Met says whether the bad end of an interval reaches the goal.
func (g Goal) Met(ci [2]float64) bool {
	if g.AtMost {
		return ci[1] <= g.Limit
	}
	return ci[0] >= g.Limit
}

// Worse says whether the bad end of an interval is further from the goal than another's.
func (g Goal) Worse(ci, than [2]float64) bool {
	if g.AtMost {
		return ci[1] > than[1]
	}
	return ci[0] < than[0]
}

func (g Goal) String() string {
	if g.AtMost {
		return fmt.Sprintf("≤ %g", g.Limit)
	}
	return fmt.Sprintf("≥ %g", g.Limit)
}

// Half is one measurement.
type Half struct {
	Value float64 `json:"value"`
	CPU   float64 `json:"cpu_seconds"` // of every process that took part
}

// Pair is a measurement of ours and the one of the reference beside it.
type Pair struct {
	Ours      Half `json:"ours"`
	Reference Half `json:"reference"`
}

// Summary is what pairs say.
type Summary struct {
	Median   float64
	CI95     [2]float64
	MetWith  Goal
	Met      bool
	Ours     []float64 // of the counted pairs
	Referred []float64
}

// ErrTooFew pairs were measured.
var ErrTooFew = errors.New("too few pairs")

// Summarize drops the first pair and says what the others do.
func Summarize(all []Pair, goal Goal) (Summary, error) {
	if len(all) < Counted+1 {
		return Summary{}, fmt.Errorf("%w: %d, want at least %d", ErrTooFew, len(all), Counted+1)
	}
	s := Summary{MetWith: goal}
	ratios := make([]float64, 0, len(all)-1)
	for i, p := range all[1:] {
		if !usable(p.Ours.Value) || !usable(p.Reference.Value) {
			return Summary{}, fmt.Errorf("pair %d: %g and %g have no ratio", i+1, p.Ours.Value, p.Reference.Value)
		}
		s.Ours = append(s.Ours, p.Ours.Value)
		s.Referred = append(s.Referred, p.Reference.Value)
		ratios = append(ratios, p.Ours.Value/p.Reference.Value)
	}
	s.Median, s.CI95 = Median(ratios), bootstrap(ratios)
	s.Met = goal.Met(s.CI95)
	return s, nil
}

func usable(v float64) bool { return v > 0 && !math.IsInf(v, 0) && !math.IsNaN(v) }

// Median of values; of an even number the mean of the two in the middle.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// Quantile of values by the nearest rank: the smallest value that a share q of them is
// at most.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(q*float64(len(v)))) - 1
	return v[min(max(i, 0), len(v)-1)]
}

// bootstrap is the 95 % interval of the median by resampling.
func bootstrap(ratios []float64) [2]float64 {
	rng := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, resamples)
	sample := make([]float64, len(ratios))
	for i := range medians {
		for j := range sample {
			sample[j] = ratios[rng.IntN(len(ratios))]
		}
		medians[i] = Median(sample)
	}
	return [2]float64{Quantile(medians, 0.025), Quantile(medians, 0.975)}
}
