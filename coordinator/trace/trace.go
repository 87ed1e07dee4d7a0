// Package trace says what the spans of a run are (DESIGN 7). It is pure: the run in,
// spans out, the same bytes each time, so that a span which two owners emit is one.
//
//	run accepted                    the root: short, emitted when the run is accepted
//	├─ run                          from acceptance to the end, emitted at the end
//	└─ build/api                    the task, from ready to finished
//	   ├─ queue                     of attempt 1: ready → leased
//	   ├─ attempt 1                 leased → finished; the parent of a worker's own spans
//	   │  ├─ step
//	   │  └─ step
//	   ├─ queue                     of attempt 2
//	   └─ attempt 2
//
// Names and attributes follow the OpenTelemetry conventions for CI/CD. When spans are
// emitted, and to where, is not its business.
package trace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/span"
)

// The kinds of spans; part of their ids.
const (
	kindRoot    = "root"
	kindRun     = "run"
	kindTask    = "task"
	kindQueue   = "queue"
	kindAttempt = "attempt"
	kindStep    = "step"
)

// rootLength is how long the root is: it marks a moment, and some viewers hide spans
// without length.
const rootLength = time.Millisecond

// ID is the trace of a run, as its TraceID is made at acceptance.
func ID(project, commit, runID string) string {
	return span.NewTraceID(project, commit, runID).String()
}

// Traceparent is the W3C trace context for whoever carries out an attempt; empty if
// the run has no usable trace id.
func Traceparent(traceID, task string, attempt int) string {
	t, err := span.ParseTraceID(traceID)
	if err != nil {
		return ""
	}
	return span.Traceparent(t, span.NewID(t, task, attempt, kindAttempt))
}

// Accepted is the root, for the moment when the run is accepted.
func Accepted(r *run.Run) []span.Span {
	t, err := span.ParseTraceID(r.TraceID)
	if err != nil {
		return nil
	}
	return []span.Span{{
		Trace: t, ID: span.NewID(t, "", 0, kindRoot), Name: "run accepted", Start: r.AcceptedAt, End: r.AcceptedAt.Add(rootLength), Attributes: runAttributes(r),
	}}
}

// Finished is the span of the whole run; none while it goes on.
func Finished(r *run.Run) []span.Span {
	t, err := span.ParseTraceID(r.TraceID)
	if err != nil || !r.State.Ended() {
		return nil
	}
	result := map[run.State]string{run.Succeeded: "success", run.Failed: "failure", run.Canceled: "cancellation"}[r.State]
	return []span.Span{{
		Trace: t, ID: span.NewID(t, "", 0, kindRun), Parent: span.NewID(t, "", 0, kindRoot), Name: "run", Start: r.AcceptedAt, End: notBefore(r.FinishedAt, r.AcceptedAt),
		Attributes: attributes(runAttributes(r), "cicd.pipeline.result", result, "slipway.release", r.Release),
		Failed:     r.State == run.Failed, Message: r.Message,
	}}
}

// Task is the spans of a task that has ended; none before.
func Task(r *run.Run, t *run.Task) []span.Span {
	id, err := span.ParseTraceID(r.TraceID)
	if err != nil || !t.State.Ended() {
		return nil
	}
	start := t.FinishedAt
	if !t.ReadyAt.IsZero() {
		start = t.ReadyAt
	}
	if len(t.Attempts) > 0 && t.Attempts[0].LeasedAt.Before(start) {
		start = t.Attempts[0].LeasedAt
	}
	whole := span.Span{
		Trace: id, ID: span.NewID(id, t.Spec.ID, 0, kindTask), Parent: span.NewID(id, "", 0, kindRoot), Name: t.Spec.ID,
		Start: start, End: notBefore(t.FinishedAt, start), Attributes: taskAttributes(r, t),
		Failed: t.State == run.TaskFailed || t.State == run.TaskErrored, Message: firstLine(t.Message),
	}
	out := []span.Span{whole}
	since := start
	for i := range t.Attempts {
		a := &t.Attempts[i]
		if a.FinishedAt.IsZero() { // never for a task that has ended, but a span needs an end
			continue
		}
		out = append(out, attempt(r, t, whole, a, since)...)
		since = a.FinishedAt
	}
	return out
}

// All is every span that is known now: what Accepted, Task and Finished say.
func All(r *run.Run) []span.Span {
	out := Accepted(r)
	for _, t := range r.Tasks {
		out = append(out, Task(r, t)...)
	}
	return append(out, Finished(r)...)
}

func attempt(r *run.Run, t *run.Task, parent span.Span, a *run.Attempt, since time.Time) []span.Span {
	number := int64(a.Number)
	queue := span.Span{
		Trace: parent.Trace, ID: span.NewID(parent.Trace, t.Spec.ID, a.Number, kindQueue), Parent: parent.ID, Name: "queue",
		Start: since, End: notBefore(a.LeasedAt, since),
		Attributes: attributes(nil, "slipway.attempt", number, "slipway.task", t.Spec.ID, "slipway.capability", t.Spec.Can, "cicd.pipeline.run.state", "pending"),
	}
	work := span.Span{
		Trace: parent.Trace, ID: span.NewID(parent.Trace, t.Spec.ID, a.Number, kindAttempt), Parent: parent.ID, Name: "attempt " + strconv.Itoa(a.Number),
		Start: a.LeasedAt, End: notBefore(a.FinishedAt, a.LeasedAt),
		Attributes: attributes(nil,
			"slipway.attempt", number, "slipway.task", t.Spec.ID, "slipway.fence", fmt.Sprintf("%d.%d", a.Fence.Epoch, a.Fence.Counter),
			"cicd.worker.name", a.Worker, "cicd.pipeline.run.id", r.ID, "cicd.pipeline.task.run.result", outcome(a.Outcome, a.Class), "error.type", string(a.Class)),
		Failed: a.Outcome != run.OutcomeSucceeded && a.Outcome != run.OutcomeCanceled, Message: firstLine(a.Message),
	}
	out := []span.Span{queue, work}
	for i, s := range a.Steps {
		out = append(out, step(t, work, a.Number, i, s))
	}
	return out
}

// step numbers its id: two steps may have the same name.
func step(t *run.Task, parent span.Span, attempt, i int, s run.Step) span.Span {
	pairs := []any{"slipway.step.kind", s.Kind}
	if s.Cached {
		pairs = append(pairs, "slipway.step.cached", true)
	}
	for k, v := range s.Attributes {
		pairs = append(pairs, k, v)
	}
	start := s.StartedAt
	if start.IsZero() {
		start = parent.Start
	}
	return span.Span{
		Trace: parent.Trace, ID: span.NewID(parent.Trace, t.Spec.ID, attempt, kindStep+strconv.Itoa(i)), Parent: parent.ID, Name: s.Name,
		Start: start, End: notBefore(s.FinishedAt, start), Attributes: attributes(nil, pairs...), Failed: s.Error != "", Message: firstLine(s.Error),
	}
}

func runAttributes(r *run.Run) []span.Attribute {
	list := attributes(nil,
		"cicd.pipeline.name", r.Project, "cicd.pipeline.run.id", r.ID, "cicd.pipeline.action.name", "RUN",
		"vcs.repository.url.full", r.Repository, "vcs.ref.head.name", r.Ref, "vcs.ref.head.revision", r.Commit,
		"slipway.plan", r.PlanHash, "slipway.submitted_by", r.SubmittedBy)
	if r.Dirty {
		list = attributes(list, "slipway.dirty", true)
	}
	return list
}

func taskAttributes(r *run.Run, t *run.Task) []span.Attribute {
	list := attributes(nil,
		"cicd.pipeline.name", r.Project, "cicd.pipeline.run.id", r.ID, "cicd.pipeline.task.name", t.Spec.ID, "cicd.pipeline.task.run.id", r.ID+"/"+t.Spec.ID,
		"cicd.pipeline.task.type", taskType(t.Spec.Kind), "cicd.pipeline.task.run.result", taskResult(t),
		"slipway.task.kind", string(t.Spec.Kind), "slipway.task.state", string(t.State), "slipway.task.reason", t.Spec.Reason,
		"slipway.service", t.Spec.Service, "slipway.digest", t.Spec.Digest, "error.type", string(t.Class), "slipway.image", t.Result.Image)
	if t.Spec.Target != nil {
		list = attributes(list, "deployment.environment.name", t.Spec.Target.Environment, "k8s.cluster.name", t.Spec.Target.Cluster)
	}
	if n := t.Result.Tests; n != nil {
		list = attributes(list, "slipway.tests.passed", int64(n.Passed), "slipway.tests.failed", int64(n.Failed), "slipway.tests.skipped", int64(n.Skipped))
	}
	return list
}

func taskType(k plan.Kind) string {
	switch k {
	case plan.KindBuild:
		return "build"
	case plan.KindTest, plan.KindGather, plan.KindScan, plan.KindFindings:
		return "test"
	case plan.KindApply, plan.KindShift, plan.KindAnalyze, plan.KindRollback, plan.KindCatchUp, plan.KindDiff, plan.KindPromote, plan.KindApprove, plan.KindRollout, plan.KindStep, plan.KindWave, plan.KindVerified:
		return "deploy"
	case plan.KindCheckout, plan.KindSign, plan.KindRender, plan.KindRelease:
	}
	return ""
}

func taskResult(t *run.Task) string {
	switch t.State {
	case run.TaskSucceeded, run.TaskReused:
		return "success"
	case run.TaskFailed:
		return outcome(run.OutcomeFailed, t.Class)
	case run.TaskErrored:
		return "error"
	case run.TaskCanceled:
		return "cancellation"
	case run.TaskSkipped, run.TaskUnreachable:
		return "skip"
	case run.TaskPending, run.TaskReady, run.TaskLeased, run.TaskRunning:
	}
	return ""
}

func outcome(o run.Outcome, c run.Class) string {
	switch {
	case o == run.OutcomeSucceeded:
		return "success"
	case o == run.OutcomeCanceled:
		return "cancellation"
	case c == run.ClassTimeout:
		return "timeout"
	case o == run.OutcomeFailed:
		return "failure"
	}
	return "error"
}

// attributes adds pairs of key and value to a list, leaves out empty strings, and sorts.
func attributes(list []span.Attribute, pairs ...any) []span.Attribute {
	list = append(make([]span.Attribute, 0, len(list)+len(pairs)/2), list...)
	for i := 0; i+1 < len(pairs); i += 2 {
		if s, ok := pairs[i+1].(string); ok && s == "" {
			continue
		}
		key, _ := pairs[i].(string)
		list = append(list, span.Attribute{Key: key, Value: pairs[i+1]})
	}
	slices.SortStableFunc(list, func(a, b span.Attribute) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// notBefore mends clocks that disagree: a span never ends before it starts.
func notBefore(end, start time.Time) time.Time {
	if end.Before(start) {
		return start
	}
	return end
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
