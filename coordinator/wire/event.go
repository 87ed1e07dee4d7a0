package wire

import (
	"fmt"

	"github.com/slipway-build/slipway/coordinator/run"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Event is the journal's form of e.
func (c *Codec) Event(e run.Event) (*pb.Event, error) {
	switch e := e.(type) {
	case run.Accepted:
		return &pb.Event{Kind: &pb.Event_RunAccepted{RunAccepted: accepted(e)}}, nil
	case run.AttemptStarted:
		return &pb.Event{Kind: &pb.Event_AttemptStarted{AttemptStarted: &pb.AttemptStarted{
			Run: e.Run, Task: e.Task, Attempt: int32(e.Attempt), Worker: e.Worker, Fence: Fence(e.Fence), LeasedAt: Time(e.LeasedAt),
		}}}, nil
	case run.AttemptFinished:
		return &pb.Event{Kind: &pb.Event_AttemptFinished{AttemptFinished: &pb.AttemptFinished{
			Run: e.Run, Task: e.Task, Attempt: c.Attempt(e.Attempt), LogSize: e.Attempt.LogSize, Untouched: e.Attempt.Untouched, Unreachable: e.Attempt.Unreachable,
		}}}, nil
	case run.TaskFinished:
		return &pb.Event{Kind: &pb.Event_TaskFinished{TaskFinished: &pb.TaskFinished{
			Run: e.Run, Task: e.Task, State: c.taskState.to[e.State], Message: e.Message, FailureClass: c.class.to[e.Class], Result: Result(e.Result), Digest: e.Digest,
		}}}, nil
	case run.TaskRetried:
		return &pb.Event{Kind: &pb.Event_TaskRetried{TaskRetried: &pb.TaskRetried{Run: e.Run, Task: e.Task, At: Time(e.At), Reason: e.Reason}}}, nil
	case run.CompensationStarted:
		return &pb.Event{Kind: &pb.Event_CompensationStarted{CompensationStarted: &pb.CompensationStarted{Run: e.Run, Tasks: e.Tasks, Reason: e.Reason}}}, nil
	case run.StopRequested:
		return &pb.Event{Kind: &pb.Event_RunStopping{RunStopping: &pb.RunStopping{Run: e.Run, Canceled: true, Message: e.Message, Keep: e.Keep}}}, nil
	case run.Finished:
		return &pb.Event{Kind: &pb.Event_RunFinished{RunFinished: &pb.RunFinished{Run: e.Run, State: c.runState.to[e.State], Message: e.Message}}}, nil
	case run.RolloutEntered:
		return &pb.Event{Kind: &pb.Event_RolloutEntered{RolloutEntered: &pb.RolloutEntered{Run: e.Run, Environment: e.Environment}}}, nil
	case run.RolloutLeft:
		return &pb.Event{Kind: &pb.Event_RolloutLeft{RolloutLeft: &pb.RolloutLeft{Run: e.Run, Environment: e.Environment}}}, nil
	case run.Promoted:
		return &pb.Event{Kind: &pb.Event_Promoted{Promoted: &pb.Promoted{
			Run: e.Run, Environment: e.Environment, Cluster: e.Cluster, Service: e.Service, Manifests: e.Manifests, Release: e.Release,
		}}}, nil
	case run.Archived:
		return &pb.Event{Kind: &pb.Event_RunArchived{RunArchived: &pb.RunArchived{Run: e.Run, Blob: e.Blob}}}, nil
	case run.LogsArchived:
		return &pb.Event{Kind: &pb.Event_LogsArchived{LogsArchived: &pb.LogsArchived{Run: e.Run, Blob: e.Blob}}}, nil
	case run.Forgotten:
		return &pb.Event{Kind: &pb.Event_Forgotten{Forgotten: &pb.Forgotten{Keys: Time(e.Keys), Results: Time(e.Results), Archives: Time(e.Archives), Logs: Time(e.Logs)}}}, nil
	case run.Quarantined:
		return &pb.Event{Kind: &pb.Event_Quarantined{Quarantined: &pb.Quarantined{
			Project: e.Project, Test: e.Test, Case: TestName(e.Case), By: e.By, Reason: e.Reason, Until: Time(e.Until), Release: int32(e.Release),
		}}}, nil
	case run.Approved:
		return &pb.Event{Kind: &pb.Event_Approved{Approved: &pb.Approved{Run: e.Run, Task: e.Task, By: e.By, Reason: e.Reason}}}, nil
	case run.EnvironmentHeld:
		return &pb.Event{Kind: &pb.Event_EnvironmentHeld{EnvironmentHeld: &pb.EnvironmentHeld{
			Project: e.Project, Environment: e.Environment, By: e.By, Run: e.Run, Reason: e.Reason, Pause: e.Pause,
		}}}, nil
	case run.EnvironmentFreed:
		return &pb.Event{Kind: &pb.Event_EnvironmentFreed{EnvironmentFreed: &pb.EnvironmentFreed{Project: e.Project, Environment: e.Environment, By: e.By, Reason: e.Reason}}}, nil
	case run.ResultsForgotten:
		return &pb.Event{Kind: &pb.Event_ResultsForgotten{ResultsForgotten: &pb.ResultsForgotten{Project: e.Project, Digests: e.Digests, By: e.By, Reason: e.Reason}}}, nil
	case run.Released:
		return &pb.Event{Kind: &pb.Event_Released{Released: &pb.Released{Project: e.Project, Test: e.Test, Case: TestName(e.Case), By: e.By, Reason: e.Reason}}}, nil
	}
	return nil, fmt.Errorf("encode event: unknown type %T", e)
}

// FromEvent reverses Event. An event that this program does not know is an error: it
// was written by a newer one.
func (c *Codec) FromEvent(m *pb.Event) (run.Event, error) {
	switch k := m.GetKind().(type) {
	case *pb.Event_RunAccepted:
		return fromAccepted(k.RunAccepted), nil
	case *pb.Event_AttemptStarted:
		e := k.AttemptStarted
		return run.AttemptStarted{
			Run: e.GetRun(), Task: e.GetTask(), Attempt: int(e.GetAttempt()), Worker: e.GetWorker(), Fence: FromFence(e.GetFence()), LeasedAt: FromTime(e.GetLeasedAt()),
		}, nil
	case *pb.Event_AttemptFinished:
		e := k.AttemptFinished
		a := c.FromAttempt(e.GetAttempt())
		a.LogSize, a.Untouched, a.Unreachable = e.GetLogSize(), e.GetUntouched(), e.GetUnreachable()
		return run.AttemptFinished{Run: e.GetRun(), Task: e.GetTask(), Attempt: a}, nil
	case *pb.Event_TaskFinished:
		e := k.TaskFinished
		return run.TaskFinished{
			Run: e.GetRun(), Task: e.GetTask(), State: c.taskState.from[e.GetState()], Message: e.GetMessage(), Class: c.class.from[e.GetFailureClass()],
			Result: FromResult(e.GetResult()), Digest: e.GetDigest(),
		}, nil
	case *pb.Event_TaskRetried:
		e := k.TaskRetried
		return run.TaskRetried{Run: e.GetRun(), Task: e.GetTask(), At: FromTime(e.GetAt()), Reason: e.GetReason()}, nil
	case *pb.Event_CompensationStarted:
		e := k.CompensationStarted
		return run.CompensationStarted{Run: e.GetRun(), Tasks: e.GetTasks(), Reason: e.GetReason()}, nil
	case *pb.Event_RunStopping:
		return run.StopRequested{Run: k.RunStopping.GetRun(), Message: k.RunStopping.GetMessage(), Keep: k.RunStopping.GetKeep()}, nil
	case *pb.Event_RunFinished:
		e := k.RunFinished
		return run.Finished{Run: e.GetRun(), State: c.runState.from[e.GetState()], Message: e.GetMessage()}, nil
	case *pb.Event_RolloutEntered:
		return run.RolloutEntered{Run: k.RolloutEntered.GetRun(), Environment: k.RolloutEntered.GetEnvironment()}, nil
	case *pb.Event_RolloutLeft:
		return run.RolloutLeft{Run: k.RolloutLeft.GetRun(), Environment: k.RolloutLeft.GetEnvironment()}, nil
	case *pb.Event_Promoted:
		e := k.Promoted
		return run.Promoted{
			Run: e.GetRun(), Environment: e.GetEnvironment(), Cluster: e.GetCluster(), Service: e.GetService(), Manifests: e.GetManifests(), Release: e.GetRelease(),
		}, nil
	case *pb.Event_RunArchived:
		return run.Archived{Run: k.RunArchived.GetRun(), Blob: k.RunArchived.GetBlob()}, nil
	case *pb.Event_LogsArchived:
		return run.LogsArchived{Run: k.LogsArchived.GetRun(), Blob: k.LogsArchived.GetBlob()}, nil
	case *pb.Event_Forgotten:
		e := k.Forgotten
		return run.Forgotten{Keys: FromTime(e.GetKeys()), Results: FromTime(e.GetResults()), Archives: FromTime(e.GetArchives()), Logs: FromTime(e.GetLogs())}, nil
	case *pb.Event_Quarantined:
		e := k.Quarantined
		return run.Quarantined{
			Project: e.GetProject(), Test: e.GetTest(), Case: FromTestName(e.GetCase()), By: e.GetBy(), Reason: e.GetReason(), Until: FromTime(e.GetUntil()), Release: int(e.GetRelease()),
		}, nil
	case *pb.Event_Approved:
		e := k.Approved
		return run.Approved{Run: e.GetRun(), Task: e.GetTask(), By: e.GetBy(), Reason: e.GetReason()}, nil
	case *pb.Event_EnvironmentHeld:
		e := k.EnvironmentHeld
		return run.EnvironmentHeld{
			Project: e.GetProject(), Environment: e.GetEnvironment(), By: e.GetBy(), Run: e.GetRun(), Reason: e.GetReason(), Pause: e.GetPause(),
		}, nil
	case *pb.Event_EnvironmentFreed:
		e := k.EnvironmentFreed
		return run.EnvironmentFreed{Project: e.GetProject(), Environment: e.GetEnvironment(), By: e.GetBy(), Reason: e.GetReason()}, nil
	case *pb.Event_ResultsForgotten:
		e := k.ResultsForgotten
		return run.ResultsForgotten{Project: e.GetProject(), Digests: e.GetDigests(), By: e.GetBy(), Reason: e.GetReason()}, nil
	case *pb.Event_Released:
		e := k.Released
		return run.Released{Project: e.GetProject(), Test: e.GetTest(), Case: FromTestName(e.GetCase()), By: e.GetBy(), Reason: e.GetReason()}, nil
	}
	return nil, fmt.Errorf("decode event: unknown kind %T: it was written by a newer program", m.GetKind())
}

func accepted(e run.Accepted) *pb.RunAccepted {
	return &pb.RunAccepted{
		Run: e.Run, Number: e.Number, Project: e.Project, Repository: e.Repository, Ref: e.Ref, Commit: e.Commit, Dirty: e.Dirty,
		PlanHash: e.PlanHash, SubmittedBy: e.SubmittedBy, IdempotencyKey: e.IdempotencyKey, RequestHash: e.RequestHash, TraceId: e.TraceID, Origin: origin(e.Origin),
	}
}

func fromAccepted(e *pb.RunAccepted) run.Accepted {
	return run.Accepted{
		Run: e.GetRun(), Number: e.GetNumber(), Project: e.GetProject(), Repository: e.GetRepository(), Ref: e.GetRef(), Commit: e.GetCommit(), Dirty: e.GetDirty(),
		PlanHash: e.GetPlanHash(), SubmittedBy: e.GetSubmittedBy(), IdempotencyKey: e.GetIdempotencyKey(), RequestHash: e.GetRequestHash(), TraceID: e.GetTraceId(),
		Origin: run.Origin{Webhook: e.GetOrigin().GetWebhook(), Repository: e.GetOrigin().GetRepository(), Branch: e.GetOrigin().GetBranch()},
	}
}

func origin(o run.Origin) *pb.Origin {
	if o == (run.Origin{}) {
		return nil
	}
	return &pb.Origin{Webhook: o.Webhook, Repository: o.Repository, Branch: o.Branch}
}
