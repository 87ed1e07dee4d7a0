package wire

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// The format of journals and snapshots.
const (
	// Schema is the one that this program writes.
	Schema = 5
	// LeastReader is the schema of the oldest program that still understands it.
	LeastReader = 5
)

// SavedRun is a run without its tasks.
func (c *Codec) SavedRun(s run.Saved) *pb.SavedRun {
	return &pb.SavedRun{
		Accepted: accepted(s.Accepted), AcceptedAt: Time(s.AcceptedAt), State: c.runState.to[s.State], Message: s.Message, FinishedAt: Time(s.FinishedAt),
		Release: s.Release, Canceled: s.Canceled, Entered: s.Entered, Work: positions(s.Work), Ready: positions(s.Ready),
		Logs: s.Logs, LogsForgotten: s.LogsForgotten,
	}
}

// FromSavedRun reverses SavedRun.
func (c *Codec) FromSavedRun(m *pb.SavedRun) run.Saved {
	return run.Saved{
		Accepted: fromAccepted(m.GetAccepted()), AcceptedAt: FromTime(m.GetAcceptedAt()), State: c.runState.from[m.GetState()], Message: m.GetMessage(),
		FinishedAt: FromTime(m.GetFinishedAt()), Release: m.GetRelease(), Canceled: m.GetCanceled(), Entered: m.GetEntered(),
		Work: fromPositions(m.GetWork()), Ready: fromPositions(m.GetReady()),
		Logs: m.GetLogs(), LogsForgotten: m.GetLogsForgotten(),
	}
}

// SavedTask is a task of a run.
func (c *Codec) SavedTask(s run.SavedTask) *pb.SavedTask {
	out := &pb.SavedTask{
		Id: s.ID, State: c.taskState.to[s.State], ReadyAt: Time(s.ReadyAt), NotBefore: Time(s.NotBefore), FinishedAt: Time(s.FinishedAt),
		Message: s.Message, FailureClass: c.class.to[s.Class], Result: Result(s.Result), Revoked: s.Revoked, Longest: durationpb.New(s.Longest),
	}
	for _, a := range s.Attempts {
		out.Attempts = append(out.Attempts, &pb.SavedAttempt{Attempt: c.Attempt(a), LogSize: a.LogSize, Untouched: a.Untouched, Unreachable: a.Unreachable})
	}
	out.Approvals = Approvals(s.Approvals)
	return out
}

// FromSavedTask reverses SavedTask.
func (c *Codec) FromSavedTask(m *pb.SavedTask) run.SavedTask {
	out := run.SavedTask{
		ID: m.GetId(), State: c.taskState.from[m.GetState()], ReadyAt: FromTime(m.GetReadyAt()), NotBefore: FromTime(m.GetNotBefore()), FinishedAt: FromTime(m.GetFinishedAt()),
		Message: m.GetMessage(), Class: c.class.from[m.GetFailureClass()], Result: FromResult(m.GetResult()), Revoked: m.GetRevoked(), Longest: m.GetLongest().AsDuration(),
	}
	for _, s := range m.GetAttempts() {
		a := c.FromAttempt(s.GetAttempt())
		a.LogSize, a.Untouched, a.Unreachable = s.GetLogSize(), s.GetUntouched(), s.GetUnreachable()
		out.Attempts = append(out.Attempts, a)
	}
	for _, a := range m.GetApprovals() {
		out.Approvals = append(out.Approvals, run.Approval{By: a.GetBy(), Reason: a.GetReason(), At: FromTime(a.GetAt())})
	}
	return out
}

// SavedProject is a project as items of a snapshot: itself, then what belongs to it.
func SavedProject(p project.SavedProject) []*pb.SnapshotItem {
	out := []*pb.SnapshotItem{{Kind: &pb.SnapshotItem_Project{Project: &pb.SavedProject{Name: p.Name, Last: p.Last}}}}
	for _, k := range p.Keys {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Key{Key: &pb.SavedKey{Key: k.Key, Run: k.Was.Run, RequestHash: k.Was.RequestHash, At: Time(k.Was.At)}}})
	}
	for _, r := range p.Results {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Result{Result: &pb.SavedResult{Digest: r.Digest, Run: r.Known.Run, Result: Result(r.Known.Result), At: Time(r.Known.At)}}})
	}
	for _, g := range p.Greens {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Green{Green: &pb.SavedGreen{Ref: g.Ref, Commit: g.Commit, At: Time(g.At)}}})
	}
	for _, s := range p.Stables {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Stable{Stable: &pb.SavedStable{
			Environment: s.Environment, Cluster: s.Cluster, Service: s.Service, Manifests: s.Stable.Manifests, Release: s.Stable.Release, Run: s.Stable.Run,
		}}})
	}
	for _, c := range p.Crossings {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Crossing{Crossing: &pb.SavedCrossing{
			Environment: c.Environment, Cluster: c.Cluster, Service: c.Service, Run: c.Crossing.Run, Task: c.Crossing.Task,
		}}})
	}
	for _, t := range p.Times {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Time{Time: &pb.SavedTime{Task: t.Task, Took: durationpb.New(t.Usual.Took), At: Time(t.Usual.At), Items: Items(t.Usual.Items)}}})
	}
	for _, f := range p.Forgotten {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Forgotten{Forgotten: &pb.SavedForgotten{Digest: f.Digest, At: Time(f.Forgotten.At), By: f.Forgotten.By, Reason: f.Forgotten.Reason}}})
	}
	for _, b := range p.Baselines {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Baseline{Baseline: &pb.SavedBaseline{Ref: b.Ref, Service: b.Service, Report: b.Report, Run: b.Run, At: Time(b.At)}}})
	}
	for _, t := range p.Tests {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Test{Test: Test(t)}})
	}
	for _, e := range p.Environments {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Environment{Environment: &pb.SavedEnvironment{Name: e.Name, Holder: e.Holder, Newest: e.Newest, By: e.By, Hold: savedHold(e.Hold), Drift: drift(e.Drift), Moved: Time(e.Drift.Moved)}}})
	}
	for _, a := range p.Archives {
		out = append(out, &pb.SnapshotItem{Kind: &pb.SnapshotItem_Archive{Archive: &pb.SavedArchive{Run: a.Run, Number: a.Number, Blob: a.Blob, FinishedAt: Time(a.FinishedAt), Logs: a.Logs}}})
	}
	return out
}

// FromSavedItem adds an item to the project that it belongs to; false: it is none of a project's.
func FromSavedItem(p *project.SavedProject, m *pb.SnapshotItem) bool {
	switch k := m.GetKind().(type) {
	case *pb.SnapshotItem_Key:
		e := k.Key
		p.Keys = append(p.Keys, project.SavedKey{Key: e.GetKey(), Was: project.Key{Run: e.GetRun(), RequestHash: e.GetRequestHash(), At: FromTime(e.GetAt())}})
	case *pb.SnapshotItem_Result:
		e := k.Result
		p.Results = append(p.Results, project.SavedResult{Digest: e.GetDigest(), Known: project.Known{Run: e.GetRun(), Result: FromResult(e.GetResult()), At: FromTime(e.GetAt())}})
	case *pb.SnapshotItem_Green:
		p.Greens = append(p.Greens, project.SavedGreen{Ref: k.Green.GetRef(), Commit: k.Green.GetCommit(), At: FromTime(k.Green.GetAt())})
	case *pb.SnapshotItem_Stable:
		e := k.Stable
		p.Stables = append(p.Stables, project.SavedStable{
			Environment: e.GetEnvironment(), Cluster: e.GetCluster(), Service: e.GetService(),
			Stable: project.Stable{Manifests: e.GetManifests(), Release: e.GetRelease(), Run: e.GetRun()},
		})
	case *pb.SnapshotItem_Crossing:
		c := k.Crossing
		p.Crossings = append(p.Crossings, project.SavedCrossing{
			Environment: c.GetEnvironment(), Cluster: c.GetCluster(), Service: c.GetService(), Crossing: project.Crossing{Run: c.GetRun(), Task: c.GetTask()},
		})
	case *pb.SnapshotItem_Time:
		p.Times = append(p.Times, project.SavedTime{Task: k.Time.GetTask(), Usual: project.Usual{Took: k.Time.GetTook().AsDuration(), At: FromTime(k.Time.GetAt()), Items: FromItems(k.Time.GetItems())}})
	case *pb.SnapshotItem_Forgotten:
		e := k.Forgotten
		p.Forgotten = append(p.Forgotten, project.SavedForgotten{Digest: e.GetDigest(), Forgotten: project.Forgotten{At: FromTime(e.GetAt()), By: e.GetBy(), Reason: e.GetReason()}})
	case *pb.SnapshotItem_Baseline:
		e := k.Baseline
		p.Baselines = append(p.Baselines, project.SavedBaseline{Ref: e.GetRef(), Service: e.GetService(), Report: e.GetReport(), Run: e.GetRun(), At: FromTime(e.GetAt())})
	case *pb.SnapshotItem_Test:
		p.Tests = append(p.Tests, FromTest(k.Test))
	case *pb.SnapshotItem_Environment:
		e := k.Environment
		p.Environments = append(p.Environments, project.SavedEnvironment{Name: e.GetName(), Holder: e.GetHolder(), Newest: e.GetNewest(), By: e.GetBy(), Hold: fromSavedHold(e.GetHold()), Drift: fromDrift(e.GetDrift(), e.GetMoved())})
	case *pb.SnapshotItem_Archive:
		e := k.Archive
		p.Archives = append(p.Archives, project.Archive{Run: e.GetRun(), Number: e.GetNumber(), Project: p.Name, Blob: e.GetBlob(), FinishedAt: FromTime(e.GetFinishedAt()), Logs: e.GetLogs()})
	default:
		return false
	}
	return true
}

func positions(in []int) []uint32 {
	out := make([]uint32, len(in))
	for i, n := range in {
		out[i] = uint32(n)
	}
	return out
}

func fromPositions(in []uint32) []int {
	if len(in) == 0 {
		return nil
	}
	out := make([]int, len(in))
	for i, n := range in {
		out[i] = int(n)
	}
	return out
}

func savedHold(h *project.Hold) *pb.SavedHold {
	if h == nil {
		return nil
	}
	return &pb.SavedHold{By: h.By, Run: h.Run, Reason: h.Reason, Pause: h.Pause, At: Time(h.At)}
}

func fromSavedHold(h *pb.SavedHold) *project.Hold {
	if h == nil {
		return nil
	}
	return &project.Hold{By: h.GetBy(), Run: h.GetRun(), Reason: h.GetReason(), Pause: h.GetPause(), At: FromTime(h.GetAt())}
}

// Approvals of a release, in the order in which they came.
func Approvals(list []run.Approval) []*pb.Approval {
	var out []*pb.Approval
	for _, a := range list {
		out = append(out, &pb.Approval{By: a.By, Reason: a.Reason, At: Time(a.At)})
	}
	return out
}
