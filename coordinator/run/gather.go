package run

import "github.com/slipway-build/slipway/coordinator/plan"

// Gather adds up what the shards of a test found, all of which have succeeded. Their times are
// those of machines side by side, so that the sum is what one would have taken.
func (r *Run) Gather(t *Task) plan.Result {
	sum := &plan.TestSummary{}
	for _, id := range t.Spec.Needs {
		shard, ok := r.Find(id)
		if !ok || shard.Result.Tests == nil {
			continue
		}
		s := shard.Result.Tests
		sum.Total += s.Total
		sum.Passed += s.Passed
		sum.Failed += s.Failed
		sum.Skipped += s.Skipped
		sum.Millis += s.Millis
		sum.Failures = append(sum.Failures, s.Failures[:min(len(s.Failures), plan.MaxFailures-len(sum.Failures))]...)
	}
	return plan.Result{Tests: sum}
}
