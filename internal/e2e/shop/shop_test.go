package shop_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/internal/devfarm"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// places are where the shop lives: cluster and namespace.
var places = map[string]string{"dev": "shop-dev", "prod-eu": "shop", "prod-us": "shop"}

// images by service.
func images(r *pb.Run) map[string]string {
	out := map[string]string{}
	for _, task := range r.GetTasks() {
		if task.GetKind() == "build" {
			out[task.GetService()] = task.GetResult().GetImage()
		}
	}
	return out
}

// built are the services that were not reused.
func built(r *pb.Run) []string {
	out := []string{}
	for _, task := range r.GetTasks() {
		if task.GetKind() == "build" && task.GetState() != pb.TaskState_TASK_STATE_REUSED {
			out = append(out, task.GetService())
		}
	}
	slices.Sort(out)
	return out
}

// pods of every cluster by uid, without those of some services and those of Jobs, which
// end: a pod that restarted or was replaced is another.
func pods(t *testing.T, but ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for cluster, namespace := range places {
		list, err := kube(t, cluster).CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Items {
			service := p.Labels["app.kubernetes.io/name"]
			ofJob := slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "Job" })
			if p.DeletionTimestamp != nil || ofJob || slices.Contains(but, service) {
				continue
			}
			restarts := int32(0)
			for _, c := range p.Status.ContainerStatuses {
				restarts += c.RestartCount
			}
			out[string(p.UID)] = fmt.Sprintf("%s in %s, %d restarts", service, cluster, restarts)
		}
	}
	return out
}

// succeeded ends the test if the run did not.
func succeeded(t *testing.T, r *pb.Run) *pb.Run {
	t.Helper()
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		dump(t, r)
		t.Fatalf("run %s did not succeed", r.GetId())
	}
	return r
}

// reused checks that nothing but some services was done again.
func reused(t *testing.T, r *pb.Run, but ...string) {
	t.Helper()
	if d := cmp.Diff(append([]string{}, but...), built(r)); d != "" {
		t.Errorf("services that were built (-want +got):\n%s", d)
	}
	for _, task := range r.GetTasks() {
		work := task.GetKind() == "build" || task.GetKind() == "test"
		if work && !slices.Contains(but, task.GetService()) && (task.GetState() != pb.TaskState_TASK_STATE_REUSED || task.GetReason() == "") {
			t.Errorf("%s is %s, because %q; nothing of it changed", task.GetId(), task.GetState(), task.GetReason())
		}
	}
}

// same checks that digests and pods of all services but some are what they were.
func same(t *testing.T, was, is *pb.Run, before map[string]string, but ...string) {
	t.Helper()
	want, got := images(was), images(is)
	for _, service := range but {
		if want[service] == got[service] {
			t.Errorf("the image of %s did not change: %s", service, got[service])
		}
		delete(want, service)
		delete(got, service)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("digests of unchanged services changed (-before +after):\n%s", d)
	}
	if d := cmp.Diff(before, pods(t, but...)); d != "" {
		t.Errorf("pods of unchanged services changed (-before +after):\n%s", d)
	}
}

// TestTheShop follows one repository through its days: each part begins where the one
// before it ended.
func TestTheShop(t *testing.T) {
	r := newShop(t)
	var last *pb.Run
	for _, part := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"goes from a commit to every cluster", func(t *testing.T) {
			t.Helper()
			last = succeeded(t, r.run())
			running := map[string]bool{}
			for _, p := range pods(t) {
				running[p] = true
			}
			want := map[string]bool{}
			for cluster := range places {
				for service := range images(last) {
					want[fmt.Sprintf("%s in %s, 0 restarts", service, cluster)] = true
				}
			}
			if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(running))); d != "" {
				t.Errorf("services with pods (-want +got):\n%s", d)
			}
		}},
		{"is left alone when nothing changed", func(t *testing.T) {
			t.Helper()
			before := pods(t)
			run := succeeded(t, r.run())
			reused(t, run)
			same(t, last, run, before)
		}},
		{"one leaf service", func(t *testing.T) {
			t.Helper()
			before := pods(t, "reviews")
			r.edit("services/reviews/src/reviews.js", "a review needs an author", "a review has an author")
			run := succeeded(t, r.run())
			reused(t, run, "reviews")
			same(t, last, run, before, "reviews")
			last = run
		}},
		{"the shared library", func(t *testing.T) {
			t.Helper()
			before := pods(t, "catalog", "cart", "orders")
			r.edit("libs/kit/json.go", "read body: %v", "read the body: %v")
			run := succeeded(t, r.run())
			reused(t, run, "cart", "catalog", "orders")
			same(t, last, run, before, "cart", "catalog", "orders")
			last = run
		}},
		{"nothing after a restart of the farm", func(t *testing.T) {
			t.Helper()
			before := pods(t)
			if err := shared.halt(); err != nil {
				t.Fatalf("stop the farm: %v", err)
			}
			if err := shared.startFarm(context.Background()); err != nil {
				t.Fatal(err)
			}
			run := succeeded(t, r.run())
			reused(t, run)
			same(t, last, run, before)
			if run.GetNumber() <= last.GetNumber() {
				t.Errorf("run %d after run %d: the journal was not replayed", run.GetNumber(), last.GetNumber())
			}
		}},
		{"nothing after a flush of Redis", func(t *testing.T) {
			t.Helper()
			before := pods(t)
			flush(t)
			run := succeeded(t, r.run())
			reused(t, run)
			same(t, last, run, before)
		}},
	} {
		if !t.Run(part.name, func(t *testing.T) { r.t = t; part.do(t) }) {
			return
		}
	}
}

// flush loses everything that is in the farm's Redis.
func flush(t *testing.T) {
	t.Helper()
	state := filepath.Join(shared.dir, "state")
	address, err := os.ReadFile(filepath.Join(state, devfarm.RedisFile))
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(state, "secrets", "redis"))
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: strings.TrimSpace(string(address)), Password: strings.TrimSpace(string(password))})
	defer c.Close()
	if n, err := c.DBSize(t.Context()).Result(); err != nil || n == 0 {
		t.Fatalf("Redis has %d keys before the flush: %v", n, err)
	}
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// untouched checks that a run ended before anything was deployed.
func untouched(t *testing.T, r *pb.Run) {
	t.Helper()
	for _, task := range r.GetTasks() {
		switch task.GetKind() {
		case "apply", "rollout", "promote", "rollback", "release":
			if len(task.GetAttempts()) > 0 || task.GetState() != pb.TaskState_TASK_STATE_SKIPPED {
				t.Errorf("%s is %s after %d attempts, want skipped", task.GetId(), task.GetState(), len(task.GetAttempts()))
			}
		}
	}
}

// says checks a text that people read.
func says(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}
