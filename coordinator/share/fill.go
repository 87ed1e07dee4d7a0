package share

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/slipway-build/slipway/coordinator/schedule"
)

// entry is what a coordinator, by its place among them, wants of a lane for one project.
type entry struct {
	who  Who
	of   int
	want int
}

// divide gives slots to classes, of a class to its teams, of a team to its projects, each by
// weight, and adds what each project has to the share of its coordinator.
func divide(slots float64, all []entry, shares []float64) {
	deal(slots, all, func(e entry) schedule.Class { return e.who.Class }, func(e entry) int64 { return e.who.Class.Weight() }, func(slots float64, class []entry) {
		deal(slots, class, func(e entry) string { return e.who.Team }, func(e entry) int64 { return int64(min(max(1, e.who.Share), schedule.MaxShare)) }, func(slots float64, team []entry) {
			deal(slots, team, func(e entry) string { return e.who.Project }, func(entry) int64 { return 1 }, func(slots float64, project []entry) {
				wants, weights := make([]float64, len(project)), make([]int64, len(project))
				for i, e := range project {
					wants[i], weights[i] = float64(e.want), 1
				}
				for i, x := range fill(slots, wants, weights) {
					shares[project[i].of] += x
				}
			})
		})
	})
}

// deal gives slots to groups of entries by their weights, and calls each with what it has. The
// heaviest entry of a group says its weight.
func deal[K cmp.Ordered](slots float64, all []entry, key func(entry) K, weight func(entry) int64, each func(float64, []entry)) {
	groups := map[K][]entry{}
	for _, e := range all {
		groups[key(e)] = append(groups[key(e)], e)
	}
	keys := slices.Sorted(maps.Keys(groups))
	wants, weights := make([]float64, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		for _, e := range groups[k] {
			wants[i] += float64(e.want)
			weights[i] = max(weights[i], weight(e))
		}
	}
	for i, x := range fill(slots, wants, weights) {
		each(x, groups[keys[i]])
	}
}

// fill divides what there is by weight; nobody has more than it wants, and what one does not
// want the others have.
func fill(there float64, wants []float64, weights []int64) []float64 {
	out := make([]float64, len(wants))
	order := make([]int, len(wants))
	var heavy float64
	for i, w := range weights {
		order[i] = i
		heavy += float64(w)
	}
	// Who wants the least for its weight is served first: it has all that it wants, or nobody
	// after it has either, and each has its part.
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(wants[a]*float64(weights[b]), wants[b]*float64(weights[a]))
	})
	for _, i := range order {
		w := float64(weights[i])
		out[i] = min(wants[i], there*w/heavy)
		there -= out[i]
		heavy -= w
	}
	return out
}

// whole rounds shares up or down so that their sum is kept, and so that over many turns each
// has its share in the mean.
func whole(shares []float64, turn uint64) []int {
	const golden = 0.6180339887498949 // the fractions of its multiples are spread evenly
	const eps = 1e-6                  // what adding loses
	at := math.Mod(float64(turn%(1<<32))*golden, 1)
	out := make([]int, len(shares))
	sum, before := 0.0, 0
	for i, s := range shares {
		sum += s
		now := int(math.Floor(sum + at + eps))
		if near := math.Round(sum); math.Abs(sum-near) < eps { // at a whole sum nothing is left to round
			now = int(near)
		}
		out[i], before = now-before, now
	}
	return out
}
