package shop_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const node = `test: { unit: { in: test, run: "node --test --test-reporter=spec --test-reporter-destination=stdout --test-reporter=junit --test-reporter-destination=junit.xml", report: junit.xml } }`

// alone is a repository of the shop with one service in slipway.yaml: what is not in it
// is neither built nor deployed, and stays.
func alone(t *testing.T, service, rest string) *repo {
	t.Helper()
	r := newShop(t)
	r.write("slipway.yaml", "version: 1\nproject: shop\nservices:\n  "+service+":\n    path: services/"+service+"\n    "+rest+"\n")
	r.commit(service + " alone")
	return r
}

func (r *repo) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		r.t.Fatal(err)
	}
}

// slipway runs the program, and answers its exit code and all that it said.
func slipway(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(shared.dir, "slipway"), args...)
	cmd.Env = append(os.Environ(), "SLIPWAY_ADDR="+shared.farm.Address, "SLIPWAY_TOKEN="+shared.farm.Token)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("slipway %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func latest(t *testing.T) *pb.Run {
	t.Helper()
	g, err := runs(t).Get(t.Context(), &pb.GetRequest{Run: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	return g.GetRun()
}

func TestAFailingGoTestStopsTheRunBeforeAnythingIsDeployed(t *testing.T) {
	r := alone(t, "catalog", `also: [libs/kit]
    test: { unit: { in: test, run: "go test -json ./... > unit.json", report: unit.json } }`)
	r.edit("services/catalog/catalog.go", "if matches(", "if !matches(")
	before := pods(t)
	run := r.run()
	if run.GetState() != pb.RunState_RUN_STATE_FAILED {
		dump(t, run)
		t.Errorf("the run is %s", run.GetState())
	}
	says(t, "the run", run.GetMessage(), "test/catalog/unit", "TestSearch", `want "lantern"`)
	untouched(t, run)
	if after := pods(t); len(after) != len(before) {
		t.Errorf("pods: %v, before: %v", after, before)
	}
}

func TestAFailingNodeTestIsTheExitCodeOfSlipwayRun(t *testing.T) {
	r := alone(t, "reviews", node)
	r.edit("services/reviews/src/reviews.js", "* 10) / 10", "* 100) / 100")
	code, out := slipway(t, "run", "--repo", r.dir, "--ref", "main")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	says(t, "slipway run", out, "the average has one decimal and the newest review comes first", "4.33", "4.3")
	untouched(t, latest(t))
}

func TestFiveMistakesAreFivePositionedErrors(t *testing.T) {
	r := newShop(t)
	r.write("slipway.yaml", `version: 1
project: shop
services:
  catalog:
    pth: services/catalog
    path: services/catalog
  cart:
    path: services/cart
    needs: [katalog]
  orders:
    path: /services/orders
  reviews:
    path: services/reviews
    test: { unit: { run: "node --test", timeout: soon } }
  web:
    path: services/web
    build: { provenance: "perhaps" }
`)
	r.commit("Five mistakes")
	_, err := runs(t).Plan(t.Context(), &pb.PlanRequest{Repository: r.dir, Ref: "main"})
	if status.Code(err) != codes.InvalidArgument {
		t.Fatalf("plan: %v", err)
	}
	type mistake struct {
		line, column int32
		about        string
	}
	var got []*pb.Problem
	for _, d := range status.Convert(err).Details() {
		if p, ok := d.(*pb.Problems); ok {
			got = p.GetProblems()
		}
	}
	want := []mistake{{5, 5, "pth"}, {9, 13, "katalog"}, {11, 11, "/services/orders"}, {14, 50, "soon"}, {17, 26, "perhaps"}}
	if len(got) != len(want) {
		t.Fatalf("%d problems, want %d: %v", len(got), len(want), got)
	}
	for i, w := range want {
		p := got[i]
		if p.GetPath() != "slipway.yaml" || p.GetLine() != w.line || p.GetColumn() != w.column || p.GetExcerpt() == "" || !strings.Contains(p.GetMessage(), w.about) {
			t.Errorf("problem %d is %v, want %+v", i, p, w)
		}
	}
	code, out := slipway(t, "run", "--repo", r.dir, "--ref", "main")
	if code != 1 {
		t.Errorf("slipway run ended with %d, want 1", code)
	}
	says(t, "slipway run", out, "slipway.yaml:5:5: ", "slipway.yaml:9:13: ", "slipway.yaml:11:11: ", "slipway.yaml:14:50: ", "slipway.yaml:17:26: ", "5 mistakes")
}

func TestARunThatCannotBeginSaysWhy(t *testing.T) {
	r := alone(t, "reviews", node)
	r.git("branch", "whole")
	r.git("rm", "-q", "services/reviews/Dockerfile")
	r.commit("No Dockerfile")
	empty := filepath.Join(shared.dir, "repos", "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		repository, ref string
		code            codes.Code
		says            []string
	}{
		"missing Dockerfile": {r.dir, "main", codes.InvalidArgument, []string{"services/reviews/Dockerfile", "slipway.yaml:4:3:"}},
		"wrong ref":          {r.dir, "mian", codes.NotFound, []string{`"mian"`, r.dir}},
		"no repository":      {empty, "main", codes.Unavailable, []string{empty, "no git repository"}},
		"no folder":          {empty + "/none", "main", codes.Unavailable, []string{empty + "/none"}},
		"path elsewhere":     {"/etc", "main", codes.PermissionDenied, []string{"/etc", "local_repositories"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runs(t).Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: t.Name(), Repository: c.repository, Ref: c.ref})
			t.Log(err)
			if status.Code(err) != c.code {
				t.Errorf("code %s, want %s", status.Code(err), c.code)
			}
			says(t, "the error", status.Convert(err).Message(), c.says...)
		})
	}
}

func TestAnUnreachableRegistryIsNamed(t *testing.T) {
	r := alone(t, "reviews", node+"\n    build: { push: \"127.0.0.1:1/shop\" }")
	run := r.run()
	if run.GetState() != pb.RunState_RUN_STATE_FAILED {
		dump(t, run)
	}
	t.Log(run.GetMessage())
	says(t, "the run", run.GetMessage(), "build/reviews", "registry 127.0.0.1:1", "connection refused")
	untouched(t, run)
}

// TestADeadClusterIsNamed: nothing was done there, so the run ends without waiting for it.
func TestADeadClusterIsNamed(t *testing.T) {
	r := alone(t, "reviews", node)
	stable := succeeded(t, r.run())
	before := pods(t)
	shared.link.cut()
	mend := sync.OnceValue(shared.link.mend)
	defer func() { _ = mend() }()
	r.edit("services/reviews/src/reviews.js", "a review needs an author", "a review wants an author")
	c := runs(t)
	s, err := c.Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: t.Name(), Repository: r.dir, Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	const apply = "apply/reviews@prod/prod-us"
	run := wait(t, c, s.GetRun().GetId())
	_, shown := slipway(t, "get", s.GetRun().GetId())
	says(t, "slipway get", shown, apply+" errored: the farm broke, not your code", `cluster "prod-us"`, "does not answer", "connection refused", "check that it runs")
	if err := mend(); err != nil {
		t.Fatal(err)
	}
	if run.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("the run is %s: %s", run.GetState(), run.GetMessage())
	}
	says(t, "the run", run.GetMessage(), apply, `cluster "prod-us"`, "connection refused")
	for _, cluster := range []string{"prod-eu", "prod-us"} {
		if got := deployment(t, cluster, "reviews").Spec.Template.Spec.Containers[0].Image; got != images(stable)["reviews"] {
			t.Errorf("%s runs %s, want %s", cluster, got, images(stable)["reviews"])
		}
	}
	if after := pods(t); len(after) != len(before) {
		t.Errorf("pods: %v, before: %v", after, before)
	}
}
