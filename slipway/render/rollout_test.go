package render_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/render"
)

// canary is a run whose rollout to prod is in its second step in eu, where something failed, and us; dev is done.
func canary() *pb.Run {
	const (
		good = pb.TaskState_TASK_STATE_SUCCEEDED
		runs = pb.TaskState_TASK_STATE_RUNNING
		bad  = pb.TaskState_TASK_STATE_FAILED
		no   = pb.TaskState_TASK_STATE_PENDING
	)
	r := &pb.Run{Id: "shop-12"}
	add := func(kind, service, env, cluster string, weight int32, state pb.TaskState) {
		r.Tasks = append(r.Tasks, &pb.Task{Id: fmt.Sprint(kind, service, env, cluster, weight), Kind: kind, Service: service, Environment: env, Cluster: cluster, Weight: weight, State: state})
	}
	add("rollout", "", "dev", "", 0, good)
	add("apply", "api", "dev", "one", 0, good)
	add("apply", "web", "dev", "one", 0, good)
	add("verified", "", "dev", "", 0, good)
	add("rollout", "", "prod", "", 0, good)
	for _, cluster := range []string{"eu", "us"} {
		for _, service := range []string{"api", "web"} {
			add("shift", service, "prod", cluster, 10, good)
			add("analyze", service, "prod", cluster, 10, good)
			add("shift", service, "prod", cluster, 50, good)
			state := runs
			if cluster == "eu" && service == "web" {
				state = bad
			}
			add("analyze", service, "prod", cluster, 50, state)
			add("apply", service, "prod", cluster, 0, no)
		}
	}
	add("rollback", "web", "prod", "us", 0, runs)
	add("verified", "", "prod", "", 0, no)
	return r
}

func TestRollouts(t *testing.T) {
	golden(t, "rollouts.txt", render.Style{Width: 100}.Rollouts(canary()))
}

func TestBlueGreen(t *testing.T) {
	r := canary()
	for _, task := range r.GetTasks() {
		if kind := task.GetKind(); kind == "shift" || kind == "analyze" {
			task.Router, task.Weight = "service", map[int32]int32{10: 0, 50: 100}[task.GetWeight()]
		}
	}
	golden(t, "bluegreen.txt", render.Style{Width: 100}.Rollouts(r))
}

func TestEnvironments(t *testing.T) {
	now := time.Date(2026, 12, 4, 17, 0, 0, 0, time.UTC)
	golden(t, "environments.txt", render.Style{Width: 100}.Environments([]*pb.Environment{
		{Name: "dev", Serving: []*pb.Serving{{Cluster: "one", Service: "api"}, {Cluster: "one", Service: "web"}}, Drift: &pb.Drift{Objects: []*pb.DriftedObject{{Object: "ConfigMap/a"}, {Object: "ConfigMap/b"}}}},
		{Name: "prod", Run: "shop-12", Hold: &pb.EnvironmentHold{By: "ann", Pause: true, Reason: "looks odd\x1b[31m", At: timestamppb.New(now.Add(-time.Minute))}},
		{Name: "staging", Hold: &pb.EnvironmentHold{Run: "shop-11", Reason: "apply/api@staging/one failed: crash loop", At: timestamppb.New(now.Add(-time.Hour))}},
	}, now))
}

func TestDrift(t *testing.T) {
	now := time.Date(2026, 12, 4, 17, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }
	golden(t, "drift.txt", render.Style{Width: 120}.Drift(&pb.Drift{
		At: ago(time.Minute), Run: "shop-14", Problem: "diff/api@prod/ap: cluster ap does not answer",
		Objects: []*pb.DriftedObject{
			{Cluster: "eu", Service: "cart", Object: "ConfigMap/cart", Action: "taken over", By: "kubectl-edit (Update)", Changed: ago(3 * time.Hour), Since: ago(time.Hour)},
			{Cluster: "us", Service: "cart", Object: "Service/cart\x1b[31m", Action: "created", Since: ago(2 * time.Minute)},
		},
		Restored: []*pb.DriftRestore{{Object: "eu/cart/ConfigMap/cart", At: ago(2 * time.Hour)}, {Object: "eu/cart/ConfigMap/cart", At: ago(10 * time.Minute)}},
	}, now))
	if text := (render.Style{}).Drift(&pb.Drift{Pending: "shop-2"}, now); text != "" {
		t.Errorf("nobody has looked: %q", text)
	}
}
