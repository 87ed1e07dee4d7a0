//go:build e2e

package kill_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const targets = `version: 1
project: shop
clusters: { eu: { labels: { tier: prod } }, us: { labels: { tier: prod } } }
environments: { prod: { clusters: { tier: prod }, namespace: shop, strategy: rolling } }
`

// manifest makes an apply last a moment after it has written: minReadySeconds.
const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: { name: %[1]s }
spec:
  replicas: 1
  minReadySeconds: 3
  selector: { matchLabels: { app: %[1]s } }
  template:
    metadata: { labels: { app: %[1]s } }
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{ name: %[1]s, image: %[1]s, command: [/bin/sleep, "100000"] }]
`

const dockerfile = `FROM busybox:1.36
COPY services/%[1]s/content /content
RUN sleep 3 && sha256sum /content > /sum
`

// repo has two services, one of which each test changes.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	r := &repo{t: t, dir: shared.path("repos", strings.ReplaceAll(t.Name(), "/", "-"))}
	r.write("slipway.yaml", "version: 1\nproject: shop\nservices:\n")
	for _, name := range []string{"one", "two"} {
		data, err := os.ReadFile(filepath.Join(r.dir, "slipway.yaml"))
		must(t, err)
		r.write("slipway.yaml", string(data)+fmt.Sprintf("  %[1]s: { path: services/%[1]s, test: { unit: { run: \"test -s /sum\" } } }\n", name))
		r.write("services/"+name+"/Dockerfile", fmt.Sprintf(dockerfile, name))
		r.write("services/"+name+"/content", "the same in every test\n")
		r.write("deploy/"+name+"/deployment.yaml", fmt.Sprintf(manifest, name))
		r.write("deploy/"+name+"/kustomization.yaml", "resources: [deployment.yaml]\n")
	}
	r.git("init", "-q", "-b", "main")
	r.commit("Two services")
	return r
}

func (r *repo) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	must(r.t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
}

func (r *repo) git(args ...string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir, "-c", "user.name=Anna", "-c", "user.email=anna@example.com"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (r *repo) commit(message string) {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "-m", message)
}

func client(t *testing.T) pb.RunServiceClient {
	t.Helper()
	conn, err := rpc.Dial(t.Context(), shared.address, rpc.DialOptions{Token: adminToken})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewRunServiceClient(conn)
}

func (r *repo) submit() string {
	r.t.Helper()
	var run string
	key := rpc.NewToken()
	must(r.t, until("an answer to submit", func() bool {
		s, err := client(r.t).Submit(r.t.Context(), &pb.SubmitRequest{IdempotencyKey: key, Repository: r.dir, Ref: "main"})
		if err != nil {
			r.t.Log("submit:", err)
		}
		run = s.GetRun().GetId()
		return err == nil
	}))
	return run
}

// get answers the run, nil while no coordinator answers.
func get(t *testing.T, c pb.RunServiceClient, run string) *pb.Run {
	t.Helper()
	g, err := c.Get(t.Context(), &pb.GetRequest{Run: run})
	if err != nil {
		return nil
	}
	return g.GetRun()
}

func task(r *pb.Run, id string) *pb.Task {
	for _, task := range r.GetTasks() {
		if task.GetId() == id {
			return task
		}
	}
	return nil
}

// holder waits until a task runs, and answers who runs it.
func holder(t *testing.T, run, id string) string {
	t.Helper()
	c, who := client(t), ""
	must(t, until(id+" to run", func() bool {
		r := get(t, c, run)
		task := task(r, id)
		if done := r.GetFinishedAt() != nil; done {
			dump(t, r)
			t.Fatalf("the run ended before %s was seen running", id)
		}
		if task.GetState() == pb.TaskState_TASK_STATE_RUNNING {
			who = task.GetAttempts()[len(task.GetAttempts())-1].GetWorker()
		}
		return who != ""
	}))
	return who
}

// succeeds waits for the end of a run and checks that every task was done, once.
func (r *repo) succeeds(id string, check func(*pb.Run)) {
	r.t.Helper()
	c := client(r.t)
	var run *pb.Run
	must(r.t, until("the end of "+id, func() bool { run = get(r.t, c, id); return run.GetFinishedAt() != nil }))
	if run.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		dump(r.t, run)
		r.t.Fatalf("run %s is %s: %s", id, run.GetState(), run.GetMessage())
	}
	for _, task := range run.GetTasks() {
		succeeded := 0
		for _, a := range task.GetAttempts() {
			if a.GetOutcome() == pb.Outcome_OUTCOME_SUCCEEDED {
				succeeded++
			}
		}
		if succeeded > 1 {
			r.t.Errorf("%s succeeded %d times", task.GetId(), succeeded)
		}
	}
	for _, cluster := range clusters {
		if _, image := generation(r.t, cluster, "one"); image != task(run, "build/one").GetResult().GetImage() {
			r.t.Errorf("cluster %s runs %s, want %s", cluster, image, task(run, "build/one").GetResult().GetImage())
		}
	}
	if check != nil {
		check(run)
	}
}

func dump(t *testing.T, r *pb.Run) {
	t.Helper()
	for _, task := range r.GetTasks() {
		t.Logf("%-28s %-10s %s", task.GetId(), strings.TrimPrefix(task.GetState().String(), "TASK_STATE_"), task.GetMessage())
		for _, a := range task.GetAttempts() {
			t.Logf("    %d %s %s %s", a.GetNumber(), a.GetWorker(), a.GetOutcome(), a.GetMessage())
		}
	}
}

const apply = "apply/one@prod/eu"

// before is what a cluster has of the service before a release.
type before struct {
	generation, other int64
	image             string
	writes            int
}

func look(t *testing.T, cluster string) before {
	t.Helper()
	var b before
	b.generation, b.image = generation(t, cluster, "one")
	b.other, _ = generation(t, cluster, "two")
	b.writes = writes(t, cluster, deployer, "one")
	return b
}

// wroteOnce checks that a release of one of the services was written once, and nothing else.
func (b before) wroteOnce(t *testing.T, cluster string) {
	t.Helper()
	is := look(t, cluster)
	if is.generation != b.generation+1 || is.image == b.image {
		t.Errorf("%s: the Deployment has generation %d after one release, before it %d; image %s, before it %s", cluster, is.generation, b.generation, is.image, b.image)
	}
	if is.other != b.other {
		t.Errorf("%s: the Deployment of an unchanged service has generation %d, before %d", cluster, is.other, b.other)
	}
	if n := is.writes - b.writes; n != 1 {
		t.Errorf("%s: the audit log has %d writes of the Deployment, want 1", cluster, n)
	}
}

// written waits until every API server has accepted the Deployment of this release: of a write
// whose client is killed before it has the answer the audit log may not say that it was accepted.
func written(t *testing.T, was map[string]before) {
	t.Helper()
	for _, cluster := range clusters {
		must(t, until("the Deployment to be written", func() bool { return writes(t, cluster, deployer, "one") > was[cluster].writes }))
	}
}

// TestAKilledProgram kills one program in the middle of a run. What was written to the
// cluster must have been written once.
func TestAKilledProgram(t *testing.T) {
	first := newRepo(t)
	first.succeeds(first.submit(), func(run *pb.Run) { traced(t, run) })
	for _, c := range []struct {
		name string
		kill func(t *testing.T, run string, was map[string]before) (undo func())
		// again is the task that the kill interrupted, so that somebody had to begin it anew.
		again string
		// whole: nothing of the trace is lost. What a killed worker had not sent is.
		whole bool
	}{
		{"coordinator while a build runs", func(t *testing.T, run string, _ map[string]before) func() {
			t.Helper()
			holder(t, run, "build/one")
			shared.programs["coordinator"].Kill()
			must(t, shared.programs["coordinator"].Start())
			return nil
		}, "", true},
		{"coordinator after an apply wrote", func(t *testing.T, run string, was map[string]before) func() {
			t.Helper()
			holder(t, run, apply)
			written(t, was)
			shared.programs["coordinator"].Kill()
			must(t, shared.programs["coordinator"].Start())
			return nil
		}, "", true},
		{"worker", func(t *testing.T, run string, _ map[string]before) func() {
			t.Helper()
			p := shared.programs[holder(t, run, "build/one")]
			p.Kill()
			return func() { must(t, p.Start()) }
		}, "build/one", false},
		{"deployer after it wrote", func(t *testing.T, run string, was map[string]before) func() {
			t.Helper()
			p := shared.programs[holder(t, run, apply)]
			written(t, was)
			p.Kill()
			return func() { must(t, p.Start()) }
		}, apply, false},
		{"BuildKit", func(t *testing.T, run string, _ map[string]before) func() {
			t.Helper()
			holder(t, run, "build/one")
			pid := shared.buildkit.PID()
			if pid == 0 {
				t.Fatal("BuildKit does not run")
			}
			must(t, syscall.Kill(pid, syscall.SIGKILL))
			return nil
		}, "build/one", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepo(t)
			r.write("services/one/content", c.name+"\n")
			r.commit("Change one")
			was := map[string]before{}
			for _, cluster := range clusters {
				was[cluster] = look(t, cluster)
			}
			run := r.submit()
			undo := c.kill(t, run, was)
			r.succeeds(run, func(run *pb.Run) {
				for _, id := range []string{"build/one", apply} {
					for _, a := range task(run, id).GetAttempts() {
						t.Log(id, a.GetNumber(), a.GetWorker(), a.GetFence(), a.GetOutcome())
					}
				}
				if c.again != "" && len(task(run, c.again).GetAttempts()) < 2 {
					t.Errorf("%s was begun once: nothing was interrupted", c.again)
				}
				for _, cluster := range clusters {
					was[cluster].wroteOnce(t, cluster)
				}
			})
			if undo != nil {
				undo()
			}
			if c.whole {
				traced(t, get(t, client(t), run))
			}
		})
	}
}

// TestAWorkerThatIsToldToStopFinishesWhatItHas: SIGTERM drains.
func TestAWorkerThatIsToldToStopFinishesWhatItHas(t *testing.T) {
	r := newRepo(t)
	r.write("services/one/content", t.Name()+"\n")
	r.commit("Change one")
	run := r.submit()
	name := holder(t, run, "build/one")
	p := shared.programs[name]
	if code := p.Stop(); code != 0 {
		t.Errorf("%s ended with %d", name, code)
	}
	defer func() { must(t, p.Start()) }()
	r.succeeds(run, func(run *pb.Run) {
		attempts := task(run, "build/one").GetAttempts()
		if len(attempts) != 1 || attempts[0].GetWorker() != name {
			t.Errorf("build/one had attempts %v, want one, by %s", attempts, name)
		}
	})
}
