// Package wire turns the coordinator's own types into messages of proto/slipway/v1 and
// back, for the edges that speak them: api, session and journal. It decides nothing.
package wire

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Time is nil for the zero time.
func Time(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// FromTime is the zero time for nil.
func FromTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// names of one enumeration, in both directions.
type names[S ~string, E ~int32] struct {
	to   map[S]E
	from map[E]S
}

func enum[S ~string, E ~int32](to map[S]E) names[S, E] {
	n := names[S, E]{to: to, from: make(map[E]S, len(to))}
	for s, e := range to {
		n.from[e] = s
	}
	return n
}

func runStates() names[run.State, pb.RunState] {
	return enum(map[run.State]pb.RunState{
		run.Running: pb.RunState_RUN_STATE_RUNNING, run.Stopping: pb.RunState_RUN_STATE_STOPPING, run.Succeeded: pb.RunState_RUN_STATE_SUCCEEDED,
		run.Failed: pb.RunState_RUN_STATE_FAILED, run.Canceled: pb.RunState_RUN_STATE_CANCELED,
	})
}

func taskStates() names[run.TaskState, pb.TaskState] {
	return enum(map[run.TaskState]pb.TaskState{
		run.TaskPending: pb.TaskState_TASK_STATE_PENDING, run.TaskReady: pb.TaskState_TASK_STATE_READY, run.TaskLeased: pb.TaskState_TASK_STATE_LEASED,
		run.TaskRunning: pb.TaskState_TASK_STATE_RUNNING, run.TaskSucceeded: pb.TaskState_TASK_STATE_SUCCEEDED, run.TaskReused: pb.TaskState_TASK_STATE_REUSED,
		run.TaskFailed: pb.TaskState_TASK_STATE_FAILED, run.TaskErrored: pb.TaskState_TASK_STATE_ERRORED, run.TaskCanceled: pb.TaskState_TASK_STATE_CANCELED,
		run.TaskSkipped: pb.TaskState_TASK_STATE_SKIPPED, run.TaskUnreachable: pb.TaskState_TASK_STATE_UNREACHABLE,
	})
}

func outcomes() names[run.Outcome, pb.Outcome] {
	return enum(map[run.Outcome]pb.Outcome{
		"": pb.Outcome_OUTCOME_UNSPECIFIED, run.OutcomeSucceeded: pb.Outcome_OUTCOME_SUCCEEDED, run.OutcomeFailed: pb.Outcome_OUTCOME_FAILED,
		run.OutcomeErrored: pb.Outcome_OUTCOME_ERRORED, run.OutcomeCanceled: pb.Outcome_OUTCOME_CANCELED, run.OutcomeLost: pb.Outcome_OUTCOME_LOST,
	})
}

func classes() names[run.Class, pb.FailureClass] {
	return enum(map[run.Class]pb.FailureClass{
		run.ClassNone: pb.FailureClass_FAILURE_CLASS_UNSPECIFIED, run.ClassUser: pb.FailureClass_FAILURE_CLASS_USER, run.ClassInfra: pb.FailureClass_FAILURE_CLASS_INFRA,
		run.ClassFlaky: pb.FailureClass_FAILURE_CLASS_FLAKY, run.ClassTimeout: pb.FailureClass_FAILURE_CLASS_TIMEOUT, run.ClassOOM: pb.FailureClass_FAILURE_CLASS_OOM,
	})
}

// Codec converts; it holds the tables of names.
type Codec struct {
	runState  names[run.State, pb.RunState]
	taskState names[run.TaskState, pb.TaskState]
	outcome   names[run.Outcome, pb.Outcome]
	class     names[run.Class, pb.FailureClass]
}

// NewCodec makes the tables.
func NewCodec() *Codec {
	return &Codec{runState: runStates(), taskState: taskStates(), outcome: outcomes(), class: classes()}
}

// Fence of a lease.
func Fence(f run.Fence) *pb.Fence { return &pb.Fence{Epoch: f.Epoch, Counter: f.Counter} }

// FromFence is the zero fence for nil.
func FromFence(f *pb.Fence) run.Fence {
	return run.Fence{Epoch: f.GetEpoch(), Counter: f.GetCounter()}
}

// Steps of an attempt.
func Steps(in []run.Step) []*pb.Step {
	out := make([]*pb.Step, 0, len(in))
	for _, s := range in {
		out = append(out, &pb.Step{
			Name: s.Name, Kind: s.Kind, StartedAt: Time(s.StartedAt), FinishedAt: Time(s.FinishedAt),
			Cached: s.Cached, Error: s.Error, Attributes: s.Attributes,
		})
	}
	return out
}

// FromSteps reverses Steps.
func FromSteps(in []*pb.Step) []run.Step {
	if len(in) == 0 {
		return nil
	}
	out := make([]run.Step, 0, len(in))
	for _, s := range in {
		out = append(out, run.Step{
			Name: s.GetName(), Kind: s.GetKind(), StartedAt: FromTime(s.GetStartedAt()), FinishedAt: FromTime(s.GetFinishedAt()),
			Cached: s.GetCached(), Error: s.GetError(), Attributes: s.GetAttributes(),
		})
	}
	return out
}

// Attempt of a task.
func (c *Codec) Attempt(a run.Attempt) *pb.Attempt {
	return &pb.Attempt{
		Number: int32(a.Number), Worker: a.Worker, Fence: Fence(a.Fence), Outcome: c.outcome.to[a.Outcome], FailureClass: c.class.to[a.Class],
		Message: a.Message, LeasedAt: Time(a.LeasedAt), StartedAt: Time(a.StartedAt), FinishedAt: Time(a.FinishedAt), Steps: Steps(a.Steps),
		FailedTests: TestNames(a.Failed), Doubted: a.Doubted,
	}
}

// FromAttempt reverses Attempt.
func (c *Codec) FromAttempt(a *pb.Attempt) run.Attempt {
	return run.Attempt{
		Number: int(a.GetNumber()), Worker: a.GetWorker(), Fence: FromFence(a.GetFence()), Outcome: c.outcome.from[a.GetOutcome()], Class: c.class.from[a.GetFailureClass()],
		Message: a.GetMessage(), LeasedAt: FromTime(a.GetLeasedAt()), StartedAt: FromTime(a.GetStartedAt()), FinishedAt: FromTime(a.GetFinishedAt()), Steps: FromSteps(a.GetSteps()),
		Failed: FromTestNames(a.GetFailedTests()), Doubted: a.GetDoubted(),
	}
}

// Outcome and class as a worker reports them.
func (c *Codec) Outcome(o pb.Outcome, f pb.FailureClass) (run.Outcome, run.Class) {
	return c.outcome.from[o], c.class.from[f]
}

// Result is nil for the empty result.
func Result(r plan.Result) *pb.Result {
	if r.Empty() {
		return nil
	}
	out := &pb.Result{Image: r.Image, Manifests: r.Manifests, Release: r.Release, Sbom: r.SBOM, Key: r.Key, Index: r.Index, Resolved: r.Resolved}
	if t := r.Tests; t != nil {
		out.Tests = &pb.TestSummary{Total: int32(t.Total), Passed: int32(t.Passed), Failed: int32(t.Failed), Skipped: int32(t.Skipped), Millis: t.Millis}
		for _, f := range t.Failures {
			out.Tests.Failures = append(out.Tests.Failures, &pb.TestCase{Suite: f.Suite, Name: f.Name, Millis: f.Millis, Output: f.Output})
		}
		out.Tests.Partial, out.Tests.Listed, out.Tests.Items = t.Partial, t.Listed, Items(t.Items)
	}
	if d := r.Deploy; d != nil {
		out.Deploy = &pb.Deployed{State: d.State, Simulated: d.Simulated, Http: int32(d.HTTP), Written: int32(d.Written), Pruned: d.Pruned, Replicas: int32(d.Replicas), Adopted: d.Adopted}
	}
	if d := r.Diff; d != nil {
		out.Diff = diff(d)
	}
	out.Scan, out.Findings, out.Artifacts = scan(r.Scan), findings(r.Findings), artifacts(r.Artifacts)
	out.Coverage = coverage(r.Coverage)
	return out
}

// Items of a test, with their times.
func Items(items []plan.Item) []*pb.TestItem {
	var out []*pb.TestItem
	for _, i := range items {
		out = append(out, &pb.TestItem{Name: i.Name, Millis: i.Millis})
	}
	return out
}

// FromItems reverses Items.
func FromItems(items []*pb.TestItem) []plan.Item {
	var out []plan.Item
	for _, i := range items {
		out = append(out, plan.Item{Name: i.GetName(), Millis: i.GetMillis()})
	}
	return out
}

func diff(d *plan.Diff) *pb.Diff {
	out := &pb.Diff{Created: int32(d.Created), Changed: int32(d.Changed), Deleted: int32(d.Deleted), Unchanged: int32(d.Unchanged), Namespace: d.Namespace}
	for _, o := range d.Objects {
		object := &pb.ObjectChange{Object: o.Object, Action: o.Action, Reason: o.Reason, More: int32(o.More), By: o.By, At: Time(o.At)}
		for _, f := range o.Fields {
			object.Fields = append(object.Fields, &pb.FieldChange{Path: f.Path, From: f.From, To: f.To})
		}
		out.Objects = append(out.Objects, object)
	}
	return out
}

func fromDiff(d *pb.Diff) *plan.Diff {
	out := &plan.Diff{
		Created: int(d.GetCreated()), Changed: int(d.GetChanged()), Deleted: int(d.GetDeleted()), Unchanged: int(d.GetUnchanged()), Namespace: d.GetNamespace(),
	}
	for _, o := range d.GetObjects() {
		object := plan.ObjectChange{Object: o.GetObject(), Action: o.GetAction(), Reason: o.GetReason(), More: int(o.GetMore()), By: o.GetBy(), At: FromTime(o.GetAt())}
		for _, f := range o.GetFields() {
			object.Fields = append(object.Fields, plan.FieldChange{Path: f.GetPath(), From: f.GetFrom(), To: f.GetTo()})
		}
		out.Objects = append(out.Objects, object)
	}
	return out
}

// FromResult reverses Result.
func FromResult(r *pb.Result) plan.Result {
	if r == nil {
		return plan.Result{}
	}
	out := plan.Result{Image: r.GetImage(), Manifests: r.GetManifests(), Release: r.GetRelease(), SBOM: r.GetSbom(), Key: r.GetKey(), Index: r.GetIndex(), Resolved: r.GetResolved()}
	if t := r.GetTests(); t != nil {
		out.Tests = &plan.TestSummary{Total: int(t.GetTotal()), Passed: int(t.GetPassed()), Failed: int(t.GetFailed()), Skipped: int(t.GetSkipped()), Millis: t.GetMillis()}
		for _, f := range t.GetFailures() {
			out.Tests.Failures = append(out.Tests.Failures, plan.TestCase{Suite: f.GetSuite(), Name: f.GetName(), Millis: f.GetMillis(), Output: f.GetOutput()})
		}
		out.Tests.Partial, out.Tests.Listed, out.Tests.Items = t.GetPartial(), t.GetListed(), FromItems(t.GetItems())
	}
	if d := r.GetDeploy(); d != nil {
		out.Deploy = &plan.Deployed{
			State: d.GetState(), Simulated: d.GetSimulated(), HTTP: int(d.GetHttp()), Written: int(d.GetWritten()),
			Pruned: d.GetPruned(), Replicas: int(d.GetReplicas()), Adopted: d.GetAdopted(),
		}
	}
	if d := r.GetDiff(); d != nil {
		out.Diff = fromDiff(d)
	}
	out.Scan, out.Findings, out.Artifacts = fromScan(r.GetScan()), fromFindings(r.GetFindings()), fromArtifacts(r.GetArtifacts())
	out.Coverage = fromCoverage(r.GetCoverage())
	return out
}
