package command

import (
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/replay"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// replayed makes of runs, oldest first, what can be replayed, and says how long they took
// together.
func replayed(list []*pb.Run) (runs []replay.Run, took time.Duration) {
	var first, last time.Time
	for _, r := range list {
		accepted, end := r.GetAcceptedAt().AsTime(), r.GetFinishedAt().AsTime()
		if first.IsZero() || accepted.Before(first) {
			first = accepted
		}
		if end.After(last) {
			last = end
		}
	}
	for _, r := range list {
		run := replay.Run{
			ID: r.GetId(), At: r.GetAcceptedAt().AsTime().Sub(first), Took: map[string]time.Duration{},
			Plan: &plan.Plan{Project: r.GetProject(), Class: r.GetClass()},
		}
		for _, t := range r.GetTasks() {
			spec := plan.Task{ID: t.GetId(), Kind: plan.Kind(t.GetKind()), Service: t.GetService(), Needs: t.GetNeeds(), Team: t.GetTeam()}
			spec.Can = capability(t)
			if t.GetEnvironment() != "" {
				spec.Target = &plan.Target{Environment: t.GetEnvironment(), Cluster: t.GetCluster()}
			}
			if t.GetState() == pb.TaskState_TASK_STATE_REUSED {
				spec.Reuse = &plan.Reuse{}
			}
			run.Plan.Tasks = append(run.Plan.Tasks, spec)
			if d, begun := measured(t); begun {
				run.Took[spec.ID] = d
			}
		}
		runs = append(runs, run)
	}
	return runs, last.Sub(first)
}

// capability is whose slots a task takes; the protocol does not say it, and its kind does.
func capability(t *pb.Task) string {
	switch plan.Kind(t.GetKind()) {
	case plan.KindBuild, plan.KindTest:
		return plan.CapabilityBuild
	case plan.KindRender, plan.KindScan: // one with a tool of the user's takes a slot for builds, which is not told
		return plan.CapabilityRender
	case plan.KindApply, plan.KindShift, plan.KindAnalyze, plan.KindRollback, plan.KindCatchUp, plan.KindDiff:
		return plan.CapabilityDeployPrefix + t.GetCluster()
	case plan.KindCheckout, plan.KindGather, plan.KindFindings, plan.KindSign, plan.KindRelease, plan.KindApprove, plan.KindRollout, plan.KindStep, plan.KindWave, plan.KindPromote, plan.KindVerified:
	}
	return plan.CapabilityCoordinator
}

// measured is how long a task took, and whether it was begun. Of the coordinator's own
// tasks checkout and release do something; what the others take is waiting.
func measured(t *pb.Task) (took time.Duration, begun bool) {
	for _, a := range t.GetAttempts() {
		if a.GetLeasedAt() != nil && a.GetFinishedAt() != nil {
			took += max(0, a.GetFinishedAt().AsTime().Sub(a.GetLeasedAt().AsTime()))
			begun = true
		}
	}
	if begun {
		return took, true
	}
	switch t.GetState() {
	case pb.TaskState_TASK_STATE_REUSED:
		return 0, true
	case pb.TaskState_TASK_STATE_SUCCEEDED:
		switch plan.Kind(t.GetKind()) {
		case plan.KindCheckout, plan.KindRelease:
			return max(0, t.GetFinishedAt().AsTime().Sub(t.GetReadyAt().AsTime())), true
		default:
			return 0, true
		}
	default:
		return 0, false
	}
}
