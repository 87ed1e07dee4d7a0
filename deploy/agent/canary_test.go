package agent_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/internal/kubetest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func (d *desk) shift(ns, release, text string, weight int32, counter uint64) *pb.Completion {
	g := d.grant(ns, counter)
	g.TaskId = "shift/api@dev/one:10"
	g.Work = &pb.Grant_Shift{Shift: &pb.ShiftWork{
		Target: &pb.DeployTarget{Environment: "dev", Cluster: "one", Namespace: ns}, Manifests: d.blob(text), Release: release,
		Health: &pb.HealthCheck{Path: "/healthz", Port: 8080}, Weight: weight,
	}}
	d.offers <- g
	return <-d.done
}

func (d *desk) analyze(ns, release, text string, pause time.Duration, counter uint64) *pb.Completion {
	g := d.grant(ns, counter)
	g.TaskId = "analyze/api@dev/one:10"
	g.Work = &pb.Grant_Analyze{Analyze: &pb.AnalyzeWork{
		Target: &pb.DeployTarget{Environment: "dev", Cluster: "one", Namespace: ns}, Manifests: d.blob(text), Release: release,
		Health: &pb.HealthCheck{Path: "/healthz", Port: 8080}, Weight: 10, Pause: durationpb.New(pause),
	}}
	d.offers <- g
	return <-d.done
}

func TestCanary(t *testing.T) {
	d, ns := newDesk(t), kubetest.Namespace(t)
	d.deployer(t, kubetest.Kubeconfig(t))
	r1, r2, bad := app("1", ""), app("2", ""), app("3", "slipway.dev/simulate: crash-after-ready")

	for _, c := range []*pb.Completion{d.shift(ns, "r1", r1, 10, 1), d.analyze(ns, "r1", r1, 30*time.Second, 2)} {
		expect(t, c, pb.Outcome_OUTCOME_SUCCEEDED, 0, "unchanged", "nothing written", "no Deployment of the service serves here yet")
		if !c.GetUntouched() || c.GetResult().GetRelease() != "r1" {
			t.Errorf("untouched %v, release %s: the run would take back what was not done", c.GetUntouched(), c.GetResult().GetRelease())
		}
	}
	expect(t, d.apply(ns, "r1", r1, 3), pb.Outcome_OUTCOME_SUCCEEDED, 0, "healthy")

	c := d.shift(ns, "r2", r2, 10, 4)
	expect(t, c, pb.Outcome_OUTCOME_SUCCEEDED, 0, "canary", "1 of 1 objects written", "1 pods ready", "pods are simulated")
	if deployed := c.GetResult().GetDeploy(); c.GetUntouched() || deployed.GetReplicas() != 1 || deployed.GetWritten() != 1 || !deployed.GetSimulated() {
		t.Errorf("untouched %v, %v", c.GetUntouched(), deployed)
	}
	names := map[string]bool{}
	for _, step := range c.GetSteps() {
		names[step.GetName()] = true
	}
	for _, want := range []string{"connect", "check", "apply", "healthy", "pod ready"} {
		if !names[want] {
			t.Errorf("no step %q in %v", want, names)
		}
	}
	c = d.analyze(ns, "r2", r2, time.Second, 5)
	expect(t, c, pb.Outcome_OUTCOME_SUCCEEDED, 0, "canary", "nothing written", "1 pods ready")
	if !c.GetUntouched() || len(c.GetSteps()) != 2 {
		t.Errorf("an analysis is untouched %v, with the steps %v", c.GetUntouched(), c.GetSteps())
	}
	expect(t, d.shift(ns, "r2", r2, 50, 6), pb.Outcome_OUTCOME_SUCCEEDED, 0, "canary", "1 of 1 objects written", "2 pods ready")
	c = d.apply(ns, "r2", r2, 7)
	expect(t, c, pb.Outcome_OUTCOME_SUCCEEDED, 0, "healthy", "1 objects deleted")
	if pruned := c.GetResult().GetDeploy().GetPruned(); len(pruned) != 1 || pruned[0] != "Deployment/api-canary" {
		t.Errorf("pruned %q", pruned)
	}

	expect(t, d.shift(ns, "r3", bad, 10, 8), pb.Outcome_OUTCOME_SUCCEEDED, 0, "canary")
	expect(t, d.analyze(ns, "r9", bad, time.Second, 9), pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "superseded", `is of release "r3"`)
	c = d.analyze(ns, "r3", bad, 30*time.Second, 10)
	expect(t, c, pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "unhealthy", "Deployment/api-canary: pod api-canary-", "container server", "exit code 1")
	if !c.GetUntouched() {
		t.Error("a failed analysis counts as a change")
	}
	expect(t, d.rollback(ns, "r3", "r2", r2, 11), pb.Outcome_OUTCOME_SUCCEEDED, 0, "rolled_back", "1 of 2 objects written", "1 objects deleted")
	expect(t, d.analyze(ns, "r3", bad, time.Second, 12), pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "superseded", "is not there")
	d.mu.Lock()
	log := d.log.String()
	d.mu.Unlock()
	for _, want := range []string{
		"shift 10 % to the candidate in namespace " + ns + " of cluster one", "analyze the candidate at 10 % for 1s in namespace " + ns,
		"created Deployment/api-canary", "Deployment/api-canary 2/2 ready", "deleted Deployment/api-canary",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}
