package server_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/githost/githosttest"
	"github.com/slipway-build/slipway/coordinator/server"
	"github.com/slipway-build/slipway/coordinator/webhook"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/natstest"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// farm is a real coordinator on a real NATS, whose tasks are carried out by a handler
// of the test's.
type farm struct {
	nats    *natstest.Server
	redis   config.Redis
	images  string
	repo    string
	remote  string // the address of repo for the coordinator; empty: its path
	trusts  string // file of the certificate of remote
	dir     string
	address string
	http    string        // where webhooks are delivered; empty: there are none
	ttl     time.Duration // of leases; 0: a second
	forks   bool          // webhooks run strangers' pull requests
	poll    time.Duration // webhooks look at their repositories; 0: they do not
	keep    time.Duration // runs stay for so long after their end; 0: as by default
	moves   time.Duration // logs are archived so long after the end of their run; 0: as by default
	bases   bool          // what tags of base images mean is looked up, each time
	silent  bool          // hosts of webhooks that check never call
	hosts   map[webhook.Kind]*githosttest.Host
	admin   string

	advisories string // folder; empty: there are none
	signing    []byte // a key; empty: nothing is signed
	people     []config.Token

	worker  string
	stop    func()
	runs    pb.RunServiceClient
	workers pb.WorkerServiceClient
}

const pipelineFile = `version: 1
project: shop
services:
  api:
    path: services/api
    test: { unit: { run: "true" } }
  web:
    path: services/web
    needs: [api]
`

const targetsFile = `version: 1
project: shop
clusters:
  one: { labels: { tier: prod } }
  two: { labels: { tier: prod } }
environments:
  prod: { clusters: { tier: prod }, namespace: shop, strategy: rolling }
`

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "slipway.yaml", pipelineFile)
	for _, s := range []string{"api", "web"} {
		write(t, dir, "services/"+s+"/Dockerfile", "FROM scratch\nCOPY services/"+s+" /\n")
		write(t, dir, "deploy/"+s+"/kustomization.yaml", "resources: [d.yaml]\n")
		write(t, dir, "deploy/"+s+"/d.yaml", "kind: Deployment\n")
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "first")
	return dir
}

func start(t *testing.T) *farm { t.Helper(); return startWith(t, config.Redis{}) }

func startWith(t *testing.T, redis config.Redis) *farm {
	t.Helper()
	images := httptest.NewServer(registry.New(registry.Logger(stdlog.New(io.Discard, "", 0))))
	t.Cleanup(images.Close)
	f := &farm{redis: redis, images: strings.TrimPrefix(images.URL, "http://"), nats: natstest.Start(t), repo: repository(t), dir: t.TempDir(), admin: rpc.NewToken(), worker: rpc.NewToken()}
	write(t, f.dir, "targets.yaml", targetsFile)
	f.run(t)
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *farm) run(t *testing.T) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	cfg := config.Config{
		Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", State: f.dir, NATS: queue.Address{URL: f.nats.URL()}, Redis: f.redis, Partitions: 2, Registry: f.images + "/shop", LeaseTTL: cmp.Or(f.ttl, time.Second),
		Targets: filepath.Join(f.dir, "targets.yaml"), Advisories: f.advisories, Signing: config.Signing{Key: f.signing},
		Tokens: []config.Token{{Name: "anna", Hash: rpc.HashToken(f.admin), Role: "administer"}, {Name: "w", Hash: rpc.HashToken(f.worker), Role: "worker"}},
	}
	if f.remote == "" {
		cfg.LocalPaths = []string{filepath.Dir(f.repo)}
	}
	if f.bases {
		cfg.BaseImages = config.BaseImages{Resolve: true, Fresh: 1}
	}
	cfg.Tokens = append(cfg.Tokens, f.people...)
	f.addHooks(&cfg)
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if f.keep > 0 {
		cfg.Retention.Runs = f.keep
	}
	cfg.Logs.ArchiveAfter = cmp.Or(f.moves, cfg.Logs.ArchiveAfter)
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- server.Run(ctx, server.Options{Config: cfg, Version: "test", Env: gitcmd.PassThrough(append(os.Environ(), f.environment()...)), Log: log, Ready: func(a string) { ready <- a }})
	}()
	select {
	case f.address = <-ready:
	case err := <-done:
		t.Fatalf("coordinator: %v", err)
	}
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("coordinator: %v", err)
		}
	})
	f.runs, f.workers = pb.NewRunServiceClient(f.dial(t, f.admin)), pb.NewWorkerServiceClient(f.dial(t, f.worker))
}

// url is what the coordinator calls the repository.
func (f *farm) url() string { return cmp.Or(f.remote, f.repo) }

func (f *farm) environment() []string {
	if f.trusts == "" {
		return nil
	}
	return []string{"GIT_SSL_CAINFO=" + f.trusts}
}

func (f *farm) dial(t *testing.T, token string) *grpc.ClientConn {
	t.Helper()
	c, err := rpc.Dial(t.Context(), f.address, rpc.DialOptions{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// work runs sessions that carry out every task with h: one with hints from the queue,
// one that is offered tasks.
func (f *farm) work(t *testing.T, h session.Handler) (stop func()) {
	t.Helper()
	js := f.nats.JetStream(t)
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	var wg sync.WaitGroup
	for i, slots := range []map[string]int{{"build": 2, "render": 2}, {"deploy_one": 1, "deploy_two": 1}} {
		c := session.Config{Client: f.workers, Name: fmt.Sprint("w", i), Instance: rpc.NewToken()[:16], Slots: slots, Log: log, Now: time.Now}
		if i == 0 {
			c.Hints = map[string]session.Hints{"build": queue.NewPuller(js, "build"), "render": queue.NewPuller(js, "render")}
		}
		wg.Go(func() {
			if err := session.New(c, h).Run(ctx); err != nil {
				t.Errorf("session: %v", err)
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

func (f *farm) submit(t *testing.T, key string) *pb.Run {
	t.Helper()
	return f.submitted(t, &pb.SubmitRequest{IdempotencyKey: key, Repository: f.url(), Ref: "main"})
}

// submitAnew is submit of a run that takes nothing from others.
func (f *farm) submitAnew(t *testing.T, key string) *pb.Run {
	t.Helper()
	return f.submitted(t, &pb.SubmitRequest{IdempotencyKey: key, Repository: f.url(), Ref: "main", NoReuse: true})
}

func (f *farm) submitted(t *testing.T, req *pb.SubmitRequest) *pb.Run {
	t.Helper()
	r, err := f.runs.Submit(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return r.GetRun()
}

// end waits until a run has ended.
func (f *farm) end(t *testing.T, id string) *pb.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := f.runs.Watch(ctx, &pb.WatchRequest{Run: id})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := w.Recv(); err != nil {
			if ctx.Err() != nil {
				t.Error("the run does not end")
			}
			break
		}
	}
	g, err := f.runs.Get(t.Context(), &pb.GetRequest{Run: id})
	if err != nil {
		t.Fatal(err)
	}
	return g.GetRun()
}

func digest(s string) string { return "sha256:" + strings.Repeat(fmt.Sprintf("%02x", len(s)), 32) }

// good carries out every task with success.
func good(_ context.Context, l *session.Lease) *pb.Completion {
	l.Started()
	fmt.Fprintf(l, "%s says hello\n", l.Grant.GetTaskId())
	c := &pb.Completion{Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Result: &pb.Result{}}
	switch w := l.Grant.GetWork().(type) {
	case *pb.Grant_Build:
		c.Result.Image = w.Build.GetPush() + "@" + digest(l.Grant.GetService())
	case *pb.Grant_Render:
		c.Result.Manifests = digest(l.Grant.GetTaskId())
	case *pb.Grant_Apply:
		c.Result.Deploy = &pb.Deployed{State: "healthy"}
	case *pb.Grant_Rollback:
		c.Result.Deploy = &pb.Deployed{State: "removed"}
	}
	return c
}

func states(r *pb.Run) string {
	var b strings.Builder
	for _, t := range r.GetTasks() {
		fmt.Fprintf(&b, "%s %s\n", t.GetId(), strings.TrimPrefix(t.GetState().String(), "TASK_STATE_"))
	}
	return b.String()
}

func TestARunGoesFromCheckoutToTheLastCluster(t *testing.T) {
	f := start(t)
	defer f.work(t, good)()
	r := f.end(t, f.submit(t, "k1").GetId())
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("run is %s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
	}
	if again := f.submit(t, "k1"); again.GetId() != r.GetId() {
		t.Errorf("the same key began another run: %s and %s", r.GetId(), again.GetId())
	}
	log, err := pb.NewLogServiceClient(f.dial(t, f.admin)).Tail(t.Context(), &pb.TailRequest{Run: r.GetId(), Task: "build/api"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := log.Recv()
	if err != nil || string(m.GetData()) != "build/api says hello\n" {
		t.Errorf("log: %q, %v", m.GetData(), err)
	}
}

func TestAnApplyThatFailsIsRolledBackWhereverItWasBegun(t *testing.T) {
	f := start(t)
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetTaskId() == "apply/api@prod/two" {
			return &pb.Completion{Outcome: pb.Outcome_OUTCOME_FAILED, FailureClass: pb.FailureClass_FAILURE_CLASS_USER, Message: "pod api-1 is not ready"}
		}
		return good(ctx, l)
	})()
	r := f.end(t, f.submit(t, "k1").GetId())
	got := states(r)
	for _, want := range []string{"rollback/api@prod/two SUCCEEDED", "promote/api@prod SKIPPED", "apply/web@prod/two SKIPPED", "verified/prod SKIPPED"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q", want)
		}
	}
	if r.GetState() != pb.RunState_RUN_STATE_FAILED || !strings.Contains(r.GetMessage(), "pod api-1 is not ready") {
		t.Errorf("run is %s: %s", r.GetState(), r.GetMessage())
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestARunGoesOnAfterTheCoordinatorWasReplaced(t *testing.T) {
	f := start(t)
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h := func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetTaskId() == "build/api" {
			once.Do(func() { close(begun) })
			select {
			case <-release:
			case <-ctx.Done():
				return &pb.Completion{Outcome: pb.Outcome_OUTCOME_ERRORED, Message: context.Cause(ctx).Error()}
			}
		}
		return good(ctx, l)
	}
	stop := f.work(t, h)
	id := f.submit(t, "k1").GetId()
	<-begun
	f.stop()
	f.run(t)
	stop2 := f.work(t, h)
	close(release)
	r := f.end(t, id)
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("run is %s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
	}
	stop()
	stop2()
}

func TestACanceledRunStopsItsTasks(t *testing.T) {
	f := start(t)
	begun := make(chan struct{})
	var once sync.Once
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetTaskId() != "build/web" {
			return good(ctx, l)
		}
		once.Do(func() { close(begun) })
		<-ctx.Done()
		return &pb.Completion{Outcome: pb.Outcome_OUTCOME_CANCELED, Message: context.Cause(ctx).Error()}
	})()
	id := f.submit(t, "k1").GetId()
	<-begun
	if _, err := f.runs.Cancel(t.Context(), &pb.CancelRequest{Run: id, Reason: "wrong branch"}); err != nil {
		t.Fatal(err)
	}
	r := f.end(t, id)
	if r.GetState() != pb.RunState_RUN_STATE_CANCELED || r.GetMessage() != "canceled by anna: wrong branch" {
		t.Errorf("run is %s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
	}
}
