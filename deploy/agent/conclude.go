package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	maxMessage = 16 << 10
	maxSteps   = 500
)

// conclude is the one table from what happened to what is answered: the work said no (FAILED), the farm could not tell
// (ERRORED), or somebody ended it.
func conclude(ctx context.Context, g *pb.Grant, r rolling.Result, err error) *pb.Completion {
	c := &pb.Completion{}
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		verdict(c, g, r)
	case errors.Is(err, apply.ErrSuperseded):
		superseded(c, g, err)
	case errors.Is(cause, session.ErrCanceled):
		c.Outcome, c.Message = pb.Outcome_OUTCOME_CANCELED, "canceled: "+written(r)
	case errors.Is(cause, session.ErrLost):
		c.Outcome, c.Message = pb.Outcome_OUTCOME_LOST, "the lease was lost: another deployer carries the task out"
	case errors.Is(cause, session.ErrShutdown):
		errored(c, "the deployer was stopped before the task ended; another one finishes it")
	case errors.Is(cause, errTimeout):
		c.Outcome, c.FailureClass = pb.Outcome_OUTCOME_ERRORED, pb.FailureClass_FAILURE_CLASS_TIMEOUT
		c.Message = fmt.Sprintf("the task used up its %s: %v", g.GetTimeout().AsDuration(), err)
	default:
		errored(c, err.Error())
		c.Unreachable = cluster.IsUnreachable(err)
	}
	if len(c.GetMessage()) > maxMessage {
		c.Message = strings.ToValidUTF8(c.GetMessage()[:maxMessage-4], "") + " …"
	}
	return c
}

func errored(c *pb.Completion, message string) {
	c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_ERRORED, pb.FailureClass_FAILURE_CLASS_INFRA, message
}

func verdict(c *pb.Completion, g *pb.Grant, r rolling.Result) {
	if g.GetDiff() != nil {
		c.Outcome, c.Result = pb.Outcome_OUTCOME_SUCCEEDED, &pb.Result{Diff: compared(r)}
		if c.Message = foreseen(c.GetResult().GetDiff()); r.Verdict == rolling.Refused {
			c.Outcome, c.FailureClass, c.Result = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, nil
			c.Message = "a release would be refused:\n" + r.Explanation()
		}
		return
	}
	deployed := &pb.Deployed{
		State: "healthy", Simulated: r.Health.Simulated, Http: int32(r.HTTP.Status),
		Written: int32(r.Applied.Wrote()), Replicas: int32(len(r.Health.ReadyPods)),
	}
	for _, change := range append(r.Applied.Changes, r.Pruned...) {
		switch change.Action {
		case apply.Deleted:
			deployed.Pruned = append(deployed.Pruned, change.Ref.String())
		case apply.Adopted:
			deployed.Adopted = append(deployed.Adopted, change.Ref.String()+" "+change.Reason)
		case apply.Created, apply.Updated, apply.Unchanged, apply.Kept, apply.CarriedOut:
		}
	}
	c.Outcome, c.Result = pb.Outcome_OUTCOME_SUCCEEDED, &pb.Result{Release: g.GetApply().GetRelease(), Deploy: deployed}
	switch w := g.GetWork().(type) {
	case *pb.Grant_Rollback:
		c.Result.Release, deployed.State = w.Rollback.GetStableRelease(), "rolled_back"
		if w.Rollback.GetStableManifests() == "" {
			deployed.State = "removed"
		}
	case *pb.Grant_Shift:
		c.Result.Release, deployed.State = w.Shift.GetRelease(), beside(r)
	case *pb.Grant_Analyze:
		c.Result.Release, deployed.State = w.Analyze.GetRelease(), beside(r)
	}
	switch r.Verdict {
	case rolling.Healthy:
		c.Message = summary(deployed, r)
		return
	case rolling.Refused:
		c.FailureClass = pb.FailureClass_FAILURE_CLASS_USER
	case rolling.Unhealthy, rolling.Unanswered, rolling.Worse:
		c.FailureClass = pb.FailureClass_FAILURE_CLASS_USER
		if r.Health.TimedOut {
			c.FailureClass = pb.FailureClass_FAILURE_CLASS_TIMEOUT
		}
	}
	c.Outcome, deployed.State, c.Message = pb.Outcome_OUTCOME_FAILED, string(r.Verdict), r.Explanation()
	if kind(g) == "rollback" {
		c.Message = "the rollback was not accepted or did not become healthy; the target needs a person:\n" + c.GetMessage()
	}
}

// beside says whether a candidate stands beside what serves.
func beside(r rolling.Result) string {
	if len(r.Health.ReadyPods) == 0 {
		return "unchanged"
	}
	return "canary"
}

// superseded: a rollback that somebody overtook has nothing left to undo; a release that somebody overtook must not come back.
func superseded(c *pb.Completion, g *pb.Grant, err error) {
	c.Message = err.Error()
	c.Result = &pb.Result{Deploy: &pb.Deployed{State: "superseded"}}
	if g.GetRollback() != nil {
		c.Outcome = pb.Outcome_OUTCOME_SUCCEEDED
		return
	}
	c.Outcome, c.FailureClass = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER
}

func summary(d *pb.Deployed, r rolling.Result) string {
	parts := []string{strings.ReplaceAll(d.GetState(), "_", " "), written(r)}
	if d.GetReplicas() > 0 {
		parts = append(parts, fmt.Sprintf("%d pods ready", d.GetReplicas()))
	}
	if d.GetSimulated() {
		parts = append(parts, "pods are simulated")
	}
	if d.GetHttp() > 0 {
		parts = append(parts, fmt.Sprintf("HTTP %d", d.GetHttp()))
	}
	if n := len(d.GetPruned()); n > 0 {
		parts = append(parts, fmt.Sprintf("%d objects deleted", n))
	}
	if text := r.Helm.String(); text != "" {
		parts = append(parts, text)
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	parts = append(parts, r.Health.Warnings...)
	text := strings.Join(parts, ", ")
	for _, adopted := range d.GetAdopted() {
		text += "\ntaken over: " + adopted
	}
	for _, change := range r.Applied.Changes {
		if change.Action == apply.Kept {
			text += fmt.Sprintf("\nkept: %s: %s", change.Ref, change.Reason)
		}
	}
	return text
}

func written(r rolling.Result) string {
	n := r.Applied.Wrote()
	if n == 0 {
		return "nothing written"
	}
	return fmt.Sprintf("%d of %d objects written", n, len(r.Applied.Changes))
}

// steps are the parts of the work and the phases of its pods, for the trace.
func steps(r rolling.Result) []*pb.Step {
	var out []*pb.Step
	var wrote time.Time
	for _, step := range r.Steps {
		if step.Name == "apply" {
			wrote = step.Began
		}
		out = append(out, &pb.Step{Name: step.Name, Kind: "apply", StartedAt: stamp(step.Began), FinishedAt: stamp(step.End)})
	}
	if wrote.IsZero() { // what an analysis watches began before it
		return out
	}
	for _, pod := range r.Health.Pods {
		if len(out)+4 > maxSteps {
			break
		}
		out = append(out, phases(pod, wrote)...)
	}
	return out
}

// phases of a pod follow each other. The cluster tells whole seconds of what lay before the watch: a pod of this release did not
// begin in the second before the release was written.
func phases(pod health.PodTimes, wrote time.Time) []*pb.Step {
	var out []*pb.Step
	from := pod.Created
	if early := wrote.Sub(from); early > 0 && early < time.Second && !from.IsZero() {
		from = wrote
	}
	for _, phase := range []struct {
		name string
		at   time.Time
	}{{"scheduled", pod.Scheduled}, {"pulled", pod.Pulled}, {"started", pod.Started}, {"ready", pod.Ready}} {
		if phase.name == "pulled" && phase.at.IsZero() {
			continue // the node is simulated, or said nothing
		}
		if phase.at.IsZero() || from.IsZero() {
			break
		}
		if phase.at.Before(from) { // the cluster tells whole seconds
			phase.at = from
		}
		out = append(out, &pb.Step{
			Name: "pod " + phase.name, Kind: "pod", StartedAt: stamp(from), FinishedAt: stamp(phase.at),
			Attributes: map[string]string{"k8s.pod.name": pod.Name, "k8s.node.name": pod.Node},
		})
		from = phase.at
	}
	return out
}

func stamp(at time.Time) *timestamppb.Timestamp { return timestamppb.New(at) }
