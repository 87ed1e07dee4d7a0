//go:build e2e

package farm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/e2e/audit"
	"github.com/slipway-build/slipway/internal/process"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// places are the clusters of farm-local, and where the shop lives there.
var places = map[string]string{"dev": "shop-dev", "prod": "shop"}

// get answers the run; nil while nobody answers.
func (f *local) get(run string) *pb.Run {
	res, err := f.runs.Get(f.t.Context(), &pb.GetRequest{Run: run})
	if err != nil {
		f.t.Log("get:", err)
		return nil
	}
	return res.GetRun()
}

// submit has the newest commit built, with a line in every service that makes it new work.
func (f *local) submit(n int) string {
	f.t.Helper()
	shop := filepath.Join(f.state, "shop")
	folders, err := filepath.Glob(filepath.Join(shop, "services", "*"))
	f.must(err)
	for _, folder := range folders {
		f.must(os.WriteFile(filepath.Join(folder, "RUN"), fmt.Appendf(nil, "%d\n", n), 0o600))
	}
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", fmt.Sprintf("Run %d", n)}} {
		cmd := exec.CommandContext(f.t.Context(), "git", append([]string{"-C", shop, "-c", "user.name=Anna", "-c", "user.email=anna@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			f.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	var run string
	key := rpc.NewToken()
	f.until("an answer to submit", func() bool {
		res, err := f.runs.Submit(f.t.Context(), &pb.SubmitRequest{IdempotencyKey: key, Repository: shop, Ref: "main"})
		run = res.GetRun().GetId()
		return err == nil
	})
	return run
}

// victims are killed in this order: a worker while it works, a coordinator, a NATS server, and
// so on; the deployer last, because applies come last.
func victims() []string {
	var list []string
	for i := range 3 {
		list = append(list, fmt.Sprintf("worker-%d", i+1), fmt.Sprintf("coordinator-%d", i+1), fmt.Sprintf("nats-%d", i+1))
	}
	return append(list, "worker-4", "deployer-1")
}

// works answers whether somebody has an attempt that goes on: an apply, if it is a deployer. A new owner of
// the run may know of the lease alone.
func works(r *pb.Run, who string) bool {
	return slices.ContainsFunc(r.GetTasks(), func(t *pb.Task) bool {
		a := t.GetAttempts()
		leased := t.GetState() == pb.TaskState_TASK_STATE_LEASED || t.GetState() == pb.TaskState_TASK_STATE_RUNNING
		return leased && len(a) > 0 && a[len(a)-1].GetWorker() == who
	})
}

// through kills one after the other while a run goes on, and answers whom it did not come to.
func (f *local) through(run string, left []string) []string {
	f.t.Helper()
	for len(left) > 0 {
		who := left[0]
		over := false
		f.until(who+" to have something to lose", func() bool {
			r := f.get(run)
			over = r.GetFinishedAt() != nil
			kind, _, _ := strings.Cut(who, "-")
			return over || r != nil && (kind == "coordinator" || kind == "nats" || works(r, who))
		})
		if over {
			return left
		}
		f.t.Log("kill", who)
		f.kill(who)
		switch kind, _, _ := strings.Cut(who, "-"); kind {
		case "coordinator":
			f.answers(int(who[len(who)-1] - '1'))
		case "nats":
			f.whole()
		}
		left = left[1:]
	}
	return nil
}

// TestEachIsKilledInTurn while examples/shop is built, tested and rolled out: every run ends
// well, nothing is done twice, and who watches is told.
func TestEachIsKilledInTurn(t *testing.T) {
	f := start(t)
	lost := 0
	left := victims()
	n := 0
	for ; len(left) > 0; n++ {
		if n == 5 {
			t.Fatalf("%d runs have ended before %v were killed", n, left)
		}
		run := f.submit(n)
		log := filepath.Join(f.bin, run+".log")
		watch := &process.Process{Name: "watch", Log: log, Args: []string{filepath.Join(f.bin, "slipway"), "watch", run, "--state", f.state}}
		if err := watch.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(watch.Kill)
		left = f.through(run, left)
		var r *pb.Run
		f.until("the end of "+run, func() bool { r = f.get(run); return r.GetFinishedAt() != nil })
		f.until("the end of watching", func() bool { return !watch.Running() })
		told, err := os.ReadFile(log)
		f.must(err)
		t.Logf("slipway watch %s:\n%s", run, told)
		if code := watch.Stop(); code != 0 {
			t.Errorf("slipway watch ended with %d", code)
		}
		if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("run %s is %s: %s", run, r.GetState(), r.GetMessage())
		}
		lost += once(t, r)
		reads(t, r, string(told))
	}
	if lost < 5 {
		t.Errorf("%d attempts were lost; four workers and a deployer were killed while they worked", lost)
	}
	f.written(n)
}

// once checks that each task was done once, by attempts whose fences rise, and counts those that were lost.
func once(t *testing.T, r *pb.Run) int {
	t.Helper()
	lost := 0
	for _, task := range r.GetTasks() {
		var last *pb.Fence
		for i, a := range task.GetAttempts() {
			is := a.GetFence()
			if last != nil && (is.GetEpoch() < last.GetEpoch() || is.GetEpoch() == last.GetEpoch() && is.GetCounter() <= last.GetCounter()) {
				t.Errorf("%s: attempt %d has fence %v after %v", task.GetId(), a.GetNumber(), is, last)
			}
			last = is
			if a.GetOutcome() == pb.Outcome_OUTCOME_LOST {
				lost++
			}
			if done := a.GetOutcome() == pb.Outcome_OUTCOME_SUCCEEDED; done != (i == len(task.GetAttempts())-1) {
				t.Errorf("%s: attempt %d of %d is %s", task.GetId(), a.GetNumber(), len(task.GetAttempts()), a.GetOutcome())
			}
		}
	}
	return lost
}

// reads checks that what slipway watch told has the whole story, once.
func reads(t *testing.T, r *pb.Run, told string) {
	t.Helper()
	count := func(words ...string) int {
		n := 0
		for line := range strings.Lines(told) {
			if strings.Join(strings.Fields(line)[:min(len(words), len(strings.Fields(line)))], " ") == strings.Join(words, " ") {
				n++
			}
		}
		return n
	}
	for _, task := range r.GetTasks() {
		for _, a := range task.GetAttempts() {
			number := fmt.Sprint(a.GetNumber())
			if a.GetOutcome() == pb.Outcome_OUTCOME_LOST && count(task.GetId(), "lost", "attempt", number, "on", a.GetWorker()+":") != 1 {
				t.Errorf("it does not say once that attempt %s of %s on %s was lost", number, task.GetId(), a.GetWorker())
			}
		}
		if n := len(task.GetAttempts()); n > 0 && count(task.GetId(), "succeeded") != 1 {
			t.Errorf("it does not say once that %s succeeded", task.GetId())
		}
	}
}

// written checks with the API servers that no Deployment was written more often than there were runs.
func (f *local) written(runs int) {
	f.t.Helper()
	folders, err := filepath.Glob(filepath.Join(root, "examples", "shop", "services", "*"))
	f.must(err)
	for cluster, namespace := range places {
		data, err := os.ReadFile(filepath.Join(f.state, "clusters", cluster, "ready.json"))
		var ready devclusters.Ready
		f.must(errors.Join(err, json.Unmarshal(data, &ready)))
		for _, folder := range folders {
			name := filepath.Base(folder)
			if name == "store" {
				continue // a StatefulSet
			}
			n, err := audit.Writes(ready.Audit, "slipway-deployer", namespace, name)
			f.must(err)
			if n < 1 || n > runs {
				f.t.Errorf("cluster %s: Deployment %s was written %d times in %d runs", cluster, name, n, runs)
			}
		}
	}
}
