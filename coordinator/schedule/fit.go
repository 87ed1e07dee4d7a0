package schedule

const (
	// window is how many tasks of a run are looked at for one that fits.
	window = 16
	// overtakes is how often the first may be passed over for one that fits better.
	overtakes = 4
)

// NextFitting takes out the task that is to be given to a certain worker now: the one that Next would, or another of the
// same run that fits that worker when the first does not. What the run was given is the same either way, and the first in
// the order is passed over a few times at most.
func (q *Queue) NextFitting(fits func(Task) bool) (Task, bool) {
	return q.take(func(all leaves) int {
		first := all[0]
		if first.overtaken >= overtakes || fits(first.Task) {
			return 0
		}
		for i, l := range all[:min(window, len(all))] {
			if fits(l.Task) {
				first.overtaken++
				return i
			}
		}
		return 0
	})
}
