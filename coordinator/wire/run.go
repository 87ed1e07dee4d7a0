package wire

import (
	"github.com/slipway-build/slipway/coordinator/run"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Run without tasks and services.
func (c *Codec) Run(r *run.Run) *pb.Run {
	return &pb.Run{
		Id: r.ID, Number: r.Number, Project: r.Project, Repository: r.Repository, Ref: r.Ref, Commit: r.Commit, Dirty: r.Dirty,
		State: c.runState.to[r.State], Message: r.Message, PlanHash: r.PlanHash, TraceId: r.TraceID, SubmittedBy: r.SubmittedBy,
		AcceptedAt: Time(r.AcceptedAt), FinishedAt: Time(r.FinishedAt), Release: r.Release,
		Class: class(r), Back: back(r),
	}
}

// class of a run; what is read from records that have no plan has none.
func class(r *run.Run) string {
	if r.Plan == nil {
		return ""
	}
	return r.Plan.Class
}

// back is the run whose release it brings back.
func back(r *run.Run) string {
	if r.Plan == nil {
		return ""
	}
	return r.Plan.Back
}

// FullRun is Run with tasks and services.
func (c *Codec) FullRun(r *run.Run) *pb.Run {
	out := c.Run(r)
	for _, t := range r.Tasks {
		out.Tasks = append(out.Tasks, c.Task(t))
	}
	for _, s := range r.Plan.Services {
		out.Services = append(out.Services, &pb.Service{Name: s.Name, Digest: s.Digest, Affected: s.Affected, Reason: s.Reason})
	}
	return out
}

// Task with its attempts.
func (c *Codec) Task(t *run.Task) *pb.Task {
	out := &pb.Task{
		Id: t.Spec.ID, Kind: string(t.Spec.Kind), Service: t.Spec.Service, Needs: t.Spec.Needs, State: c.taskState.to[t.State],
		Reason: t.Spec.Reason, Message: t.Message, FailureClass: c.class.to[t.Class], Digest: t.Spec.Digest, Result: Result(t.Result),
		ReadyAt: Time(t.ReadyAt), FinishedAt: Time(t.FinishedAt),
		Team: t.Spec.Team,
	}
	switch {
	case t.Spec.Analyze != nil:
		out.Weight, out.Router = int32(t.Spec.Analyze.Weight), t.Spec.Analyze.Router
	case t.Spec.Apply != nil:
		out.Weight, out.Router = int32(t.Spec.Apply.Weight), t.Spec.Apply.Router
	}
	if t.Spec.Target != nil {
		out.Environment, out.Cluster = t.Spec.Target.Environment, t.Spec.Target.Cluster
	}
	out.Approvals = Approvals(t.Approvals)
	for _, a := range t.Attempts {
		out.Attempts = append(out.Attempts, c.Attempt(a))
	}
	return out
}
