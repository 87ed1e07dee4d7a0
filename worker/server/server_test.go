package server_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/natstest"
	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/server"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec: { template: { spec: { containers: [{ name: api, image: api }] } } }
`

// farm is a worker between a coordinator and a BuildKit daemon.
type farm struct {
	*buildkittest.Farm
	coordinator *coordinator
	metrics     string
	stop        context.CancelFunc
	ended       chan error
}

func start(t *testing.T, edit func(*config.Config)) *farm {
	t.Helper()
	f := &farm{Farm: buildkittest.Start(t), ended: make(chan error, 1)}
	f.coordinator = startCoordinator(t, buildkittest.Workspace(t, map[string]string{
		"services/api/Dockerfile": buildkittest.Base + `FROM base AS slow
RUN echo going on; sleep 3; echo enough
FROM base AS endless
RUN echo going on; sleep 1000
FROM base
COPY services/api/main.txt /
`,
		"services/api/main.txt":   "hello\n",
		"deploy/api/service.yaml": deployment,
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.metrics = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{
		Name: "builder", Coordinator: config.Coordinator{Address: f.coordinator.address, Token: f.coordinator.token},
		BuildKit: f.Daemon.Address(), State: t.TempDir(), HTTP: &daemon.HTTP{Address: f.metrics, Token: "scrape"},
	}
	if edit != nil {
		edit(&cfg)
	}
	cfg, err = cfg.Complete()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	f.stop = stop
	go func() { f.ended <- server.New(cfg, slog.New(slog.DiscardHandler)).Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-f.ended; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	return f
}

func (f *farm) build(target string) *pb.BuildWork {
	return &pb.BuildWork{
		Paths: []string{"services/api", "busybox"}, Dockerfile: "services/api/Dockerfile", Platform: "linux/amd64", Target: target,
		Push: f.Registry + "/shop/api", Provenance: true,
	}
}

func want(t *testing.T, c *pb.Completion, outcome pb.Outcome) {
	t.Helper()
	if c.GetOutcome() != outcome {
		t.Fatalf("outcome %s, want %s: %s", c.GetOutcome(), outcome, c.GetMessage())
	}
}

func TestTasksFromTheQueue(t *testing.T) {
	n := natstest.Start(t)
	q, err := queue.Open(t.Context(), n.JetStream(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{config.CapabilityBuild, config.CapabilityRender} {
		if err := q.EnsureConsumer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	f := start(t, func(c *config.Config) { c.NATS = &queue.Address{URL: n.URL()} })
	c := f.coordinator
	put := func(capability string, g *pb.Grant) string {
		c.grant(t, capability, g)
		if err := q.Publish(t.Context(), capability, g.GetLease().GetToken()); err != nil {
			t.Fatal(err)
		}
		return g.GetLease().GetToken()
	}
	build := put("build", &pb.Grant{TaskId: "build/api", Work: &pb.Grant_Build{Build: f.build("")}, Timeout: durationpb.New(time.Minute)})
	unit := put("build", &pb.Grant{TaskId: "test/api/unit", Work: &pb.Grant_Test{Test: &pb.TestWork{Name: "unit", Build: f.build("base"), Run: "echo tested; exit 5"}}})
	built := c.completion(t, build)
	want(t, built, pb.Outcome_OUTCOME_SUCCEEDED)
	image := built.GetResult().GetImage()
	if !strings.HasPrefix(image, f.Registry+"/shop/api@sha256:") {
		t.Errorf("image %q", image)
	}
	kinds := map[string]int{}
	for _, s := range built.GetSteps() {
		kinds[s.GetKind()]++
	}
	if kinds["fetch"] != 1 || kinds["vertex"] < 4 {
		t.Errorf("steps: %v", kinds)
	}
	tested := c.completion(t, unit)
	want(t, tested, pb.Outcome_OUTCOME_FAILED)
	if tested.GetFailureClass() != pb.FailureClass_FAILURE_CLASS_USER || !strings.Contains(tested.GetMessage(), "exit code 5") {
		t.Errorf("class %s: %s", tested.GetFailureClass(), tested.GetMessage())
	}
	render := put("render", &pb.Grant{TaskId: "render/api@prod/eu", Work: &pb.Grant_Render{Render: &pb.RenderWork{
		Path: "deploy/api", Paths: []string{"deploy/api"}, Using: "manifests", Images: map[string]string{"api": image},
		Target: &pb.DeployTarget{Environment: "prod", Cluster: "eu", Namespace: "shop"},
	}}})
	rendered := c.completion(t, render)
	want(t, rendered, pb.Outcome_OUTCOME_SUCCEEDED)
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := string(c.blobs[rendered.GetResult().GetManifests()]); !strings.Contains(m, image) || !strings.Contains(m, "namespace: shop") {
		t.Errorf("manifests:\n%s", m)
	}
	for name, n := range c.fetches { // for two sets of paths
		if n != 1 {
			t.Errorf("%s was fetched %d times", name, n)
		}
	}
	if len(c.fetches) == 0 {
		t.Error("nothing was fetched")
	}
	if c.hello.GetOffers() {
		t.Error("a worker with a queue asked for offers")
	}
}

func TestOfferedTasks(t *testing.T) {
	f := start(t, nil)
	c := f.coordinator
	t.Run("unknown kind", func(t *testing.T) {
		c.grant(t, "render", &pb.Grant{TaskId: "apply", Work: &pb.Grant_Apply{Apply: &pb.ApplyWork{}}})
		want(t, c.completion(t, "apply"), pb.Outcome_OUTCOME_ERRORED)
	})
	t.Run("missing source", func(t *testing.T) {
		c.grant(t, "render", &pb.Grant{TaskId: "render/api", Work: &pb.Grant_Render{Render: &pb.RenderWork{Path: "nowhere", Paths: []string{"nowhere"}}}})
		d := c.completion(t, "render_api")
		want(t, d, pb.Outcome_OUTCOME_FAILED)
		if !strings.Contains(d.GetMessage(), "lacks what render/api needs: commit 0123 has no nowhere") {
			t.Errorf("message: %s", d.GetMessage())
		}
	})
	t.Run("canceled", func(t *testing.T) {
		g := &pb.Grant{TaskId: "build/endless", Work: &pb.Grant_Build{Build: f.build("endless")}}
		c.grant(t, "build", g)
		c.until(t, "the build", func() bool { return strings.Contains(string(c.logs["build_endless"]), " going on") })
		c.send(&pb.SessionResponse{Revocations: []*pb.Revocation{{Lease: g.GetLease(), Cause: pb.Revocation_CAUSE_CANCELED, Message: "by alice"}}})
		d := c.completion(t, "build_endless")
		want(t, d, pb.Outcome_OUTCOME_CANCELED)
		if !strings.Contains(d.GetMessage(), "by alice") {
			t.Errorf("message: %s", d.GetMessage())
		}
	})
	t.Run("time limit", func(t *testing.T) {
		c.grant(t, "build", &pb.Grant{TaskId: "build/late", Work: &pb.Grant_Build{Build: f.build("endless")}, Timeout: durationpb.New(2 * time.Second)})
		d := c.completion(t, "build_late")
		want(t, d, pb.Outcome_OUTCOME_FAILED)
		if d.GetFailureClass() != pb.FailureClass_FAILURE_CLASS_TIMEOUT {
			t.Errorf("class %s", d.GetFailureClass())
		}
	})
	t.Run("metrics", func(t *testing.T) {
		body := f.scrape(t)
		if !strings.Contains(body, `slipway_worker_attempt_seconds_count{class="timeout",kind="build",outcome="failed"} 1`) {
			t.Errorf("metrics:\n%s", body)
		}
	})
	t.Run("drain", func(t *testing.T) {
		c.grant(t, "build", &pb.Grant{TaskId: "build/slow", Work: &pb.Grant_Build{Build: f.build("slow")}})
		c.until(t, "the build", func() bool { return strings.Contains(string(c.logs["build_slow"]), " going on") })
		f.stop()
		want(t, c.completion(t, "build_slow"), pb.Outcome_OUTCOME_SUCCEEDED)
		err := <-f.ended
		f.ended <- err
		if err != nil {
			t.Errorf("worker: %v", err)
		}
		c.until(t, "a heartbeat that says so", func() bool { return len(c.beats) > 0 && c.beats[len(c.beats)-1].GetDraining() })
	})
}

func TestRefusedForGood(t *testing.T) {
	c := startCoordinator(t, t.TempDir())
	cfg, err := config.Config{
		Coordinator: config.Coordinator{Address: c.address, Token: "wrong"}, Slots: map[string]int{"render": 1}, State: t.TempDir(),
	}.Complete()
	if err != nil {
		t.Fatal(err)
	}
	err = server.New(cfg, slog.New(slog.DiscardHandler)).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v, want one that says that the coordinator refused", err)
	}
}
