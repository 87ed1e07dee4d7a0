package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Gather decides the end of a task that adds up what the shards of a test found, all of which have
// succeeded. Their times are those of machines side by side: the sum is what one would have taken. What
// passed only because of a quarantine stands in for nothing.
func (r *Run) Gather(t *Task) []Event {
	sum, shards := &plan.TestSummary{}, 0
	var left []plan.Artifact
	done := TaskFinished{Run: r.ID, Task: t.Spec.ID, State: TaskErrored, Class: ClassInfra}
	for _, id := range t.Spec.Needs {
		shard, ok := r.Find(id)
		if !ok || shard.Spec.Kind != plan.KindTest {
			continue
		}
		shards++
		left = append(left, ofShard(shard)...)
		s := shard.Result.Tests
		switch {
		case s == nil:
			continue
		case s.Listed != "" && sum.Listed != "" && s.Listed != sum.Listed:
			done.Class, done.Message = ClassUser, "the shards did not list the same, so that some of it may be tested by none: make list print the same each time"
			return []Event{done}
		case s.Listed != "":
			sum.Listed = s.Listed
		}
		sum.Total += s.Total
		sum.Passed += s.Passed
		sum.Failed += s.Failed
		sum.Skipped += s.Skipped
		sum.Millis += s.Millis
		sum.Partial = sum.Partial || s.Partial
		sum.Failures = append(sum.Failures, s.Failures[:min(len(s.Failures), plan.MaxFailures-len(sum.Failures))]...)
	}
	if shards == 0 {
		done.Message = "the plan has no shards that could be added up; this is a defect: please report it"
		return []Event{done}
	}
	left = left[:min(len(left), plan.MaxGathered)]
	done = TaskFinished{Run: r.ID, Task: t.Spec.ID, State: TaskSucceeded, Result: plan.Result{Tests: sum, Artifacts: left}, Digest: t.Spec.Digest}
	if sum.Failed > 0 {
		done.Class, done.Message, done.Digest = ClassFlaky, excuse(sum), ""
	}
	return []Event{done}
}

// failedCases are the names of the cases that a test says have failed, sorted.
func failedCases(res plan.Result) []plan.TestName {
	if res.Tests == nil {
		return nil
	}
	var out []plan.TestName
	for _, f := range res.Tests.Failures {
		out = append(out, plan.TestName{Suite: f.Suite, Name: f.Name})
	}
	slices.SortFunc(out, plan.TestName.Compare)
	return slices.Compact(out)
}

// Excused says that a test failed for nothing but cases in quarantine, all of which it named.
func Excused(t *Task, rep Report) bool {
	a, res := rep.Attempt, rep.Result
	if a.Class != ClassUser || res.Tests == nil || res.Tests.Partial || res.Tests.Failed <= 0 || res.Tests.Failed > len(res.Tests.Failures) {
		return false
	}
	return !slices.ContainsFunc(failedCases(res), func(n plan.TestName) bool { return !t.Spec.Quarantine.Holds(n) })
}

func excuse(s *plan.TestSummary) string {
	if len(s.Failures) == 0 {
		return fmt.Sprintf("%d of %d failed, all of which are in quarantine", s.Failed, s.Total)
	}
	f := s.Failures[0]
	name := plan.TestName{Suite: f.Suite, Name: f.Name}.String()
	if s.Failed == 1 {
		return fmt.Sprintf("%s failed, which is in quarantine; the other %d did not", name, s.Total-1)
	}
	return fmt.Sprintf("%d of %d failed, all of which are in quarantine: %s and %d more", s.Failed, s.Total, name, s.Failed-1)
}

// ofShard are the artifacts of a shard, as what gathers the shards calls them.
func ofShard(t *Task) []plan.Artifact {
	out := slices.Clone(t.Result.Artifacts)
	for i := range out {
		out[i].Name += "." + t.Spec.ID[strings.LastIndexByte(t.Spec.ID, '/')+1:]
	}
	return out
}
