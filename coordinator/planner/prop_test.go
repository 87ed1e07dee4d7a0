package planner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/dag"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

func indent(t tester, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// drawProject makes a valid repository with targets: services refer to earlier ones.
func drawProject(t *rapid.T) (commit, []byte) {
	c := commit{}
	var b strings.Builder
	b.WriteString("version: 1\nproject: shop\nservices:\n")
	n := rapid.IntRange(1, 7).Draw(t, "services")
	var images, deployed []string
	for i := range n {
		name := fmt.Sprint("s", i)
		fmt.Fprintf(&b, "  %s:\n    path: services/%s\n", name, name)
		c["services/"+name+"/Dockerfile"] = []byte(name)
		if rapid.Bool().Draw(t, "also") {
			b.WriteString("    also: [libs]\n")
			c["libs/x"] = []byte("x")
		}
		if len(deployed) > 0 && rapid.Bool().Draw(t, "needs") {
			fmt.Fprintf(&b, "    needs: [%s]\n", rapid.SampledFrom(deployed).Draw(t, "need"))
		}
		image := rapid.IntRange(0, 4).Draw(t, "image") > 0
		switch {
		case !image:
			b.WriteString("    build: false\n")
		case len(images) > 0 && rapid.Bool().Draw(t, "contexts"):
			fmt.Fprintf(&b, "    build: { contexts: { base: \"service:%s\" } }\n", rapid.SampledFrom(images).Draw(t, "context"))
		}
		if image {
			images = append(images, name)
			b.WriteString("    test:\n")
			for j := range rapid.IntRange(1, 3).Draw(t, "tests") {
				fmt.Fprintf(&b, "      t%d: { %s }\n", j, rapid.SampledFrom([]string{"run: x", "run: x, in: y", "target: z"}).Draw(t, "test"))
			}
		}
		switch rapid.IntRange(0, 2).Draw(t, "deploy") {
		case 0:
			b.WriteString("    deploy: false\n")
		case 1: // a library, unless the folder is there
			deployed = append(deployed, name)
		case 2:
			deployed = append(deployed, name)
			c["deploy/"+name+"/kustomization.yaml"] = []byte(name)
		}
	}
	c["slipway.yaml"] = []byte(b.String())
	var targets strings.Builder
	targets.WriteString("version: 1\nproject: shop\nclusters:\n")
	for i := range rapid.IntRange(1, 3).Draw(t, "clusters") {
		fmt.Fprintf(&targets, "  c%d: { labels: { all: yes, n: %d } }\n", i, i%2)
	}
	targets.WriteString("environments:\n")
	for i := range rapid.IntRange(1, 3).Draw(t, "environments") {
		after := ""
		if i > 0 && rapid.Bool().Draw(t, "after") {
			after = fmt.Sprintf(", after: { env: e%d }", rapid.IntRange(0, i-1).Draw(t, "env"))
		}
		fmt.Fprintf(&targets, "  e%d: { clusters: { %s }, namespace: n%d%s, on_failure: { rollback: %s } }\n", i,
			rapid.SampledFrom([]string{"all: yes", "n: 0"}).Draw(t, "selector"), i, after,
			rapid.SampledFrom([]string{"every-wave", "none"}).Draw(t, "rollback"))
	}
	return c, []byte(targets.String())
}

func mustPlan(t tester, in planner.Input) plan.Plan {
	t.Helper()
	p, problems := planner.Plan(in)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

// graphOf checks the form of a plan and returns its graph.
func graphOf(t tester, p plan.Plan) *dag.Graph[string] {
	t.Helper()
	g := dag.New[string]()
	seen := map[string]bool{}
	for _, task := range p.Tasks {
		if seen[task.ID] {
			t.Fatalf("%s is there twice", task.ID)
		}
		g.Add(task.ID)
		for _, need := range task.Needs {
			if !seen[need] {
				t.Fatalf("%s needs %s, which is not before it", task.ID, need)
			}
			g.Edge(need, task.ID)
		}
		if !slices.IsSorted(task.Needs) || task.Reason == "" || (len(task.Needs) == 0) != (task.ID == plan.CheckoutID) {
			t.Fatalf("%s: needs %v, reason %q", task.ID, task.Needs, task.Reason)
		}
		seen[task.ID] = true
	}
	for _, task := range p.Rollbacks {
		if apply := "apply" + strings.TrimPrefix(task.ID, "rollback"); !slices.Equal(task.Needs, []string{apply}) || !seen[apply] {
			t.Fatalf("%s compensates %v", task.ID, task.Needs)
		}
	}
	return g
}

func TestOrderOfEverything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c, targets := drawProject(rt)
		in := input(rt, c, targets)
		p := mustPlan(rt, in)
		g := graphOf(rt, p)
		deployed := map[string]bool{}
		for _, task := range p.Tasks {
			if task.Kind == plan.KindApply {
				deployed[task.Service] = true
			}
		}
		for _, task := range p.Tasks {
			before := map[string]bool{}
			for _, id := range g.Before(task.ID) {
				before[id] = true
			}
			if task.Kind == plan.KindApply {
				checkApply(rt, in, p, task, before, deployed)
			}
			if task.Kind == plan.KindRollout {
				checkRollout(rt, in, task, before, deployed)
			}
		}
	})
}

// checkRollout: behind every apply of the environment before.
func checkRollout(t *rapid.T, in planner.Input, begin plan.Task, before, deployed map[string]bool) {
	e, _ := in.Targets.Environment(begin.Target.Environment)
	if e.After == nil {
		return
	}
	after, _ := in.Targets.Environment(e.After.Env)
	for service := range deployed {
		for _, cluster := range after.Clusters {
			id := plan.ApplyID(service, plan.Target{Environment: after.Name, Cluster: cluster})
			if !before[id] {
				t.Fatalf("%s does not wait for %s", begin.ID, id)
			}
		}
	}
}

// checkApply: behind every test of the run, behind its own manifests and image, behind
// what its service needs on the same target; with compensation unless none is wanted.
func checkApply(t *rapid.T, in planner.Input, p plan.Plan, apply plan.Task, before, deployed map[string]bool) {
	want := []string{plan.ReleaseID, plan.RolloutID(apply.Target.Environment), plan.RenderID(apply.Service, *apply.Target)}
	for _, other := range p.Tasks {
		if other.Kind == plan.KindTest || other.Kind == plan.KindBuild {
			want = append(want, other.ID)
		}
	}
	s, _ := in.Pipeline.Service(apply.Service)
	for _, ref := range s.Needs {
		if deployed[ref.Service] {
			want = append(want, plan.ApplyID(ref.Service, *apply.Target))
		}
	}
	for _, id := range want {
		if !before[id] {
			t.Fatalf("%s does not wait for %s", apply.ID, id)
		}
	}
	e, _ := in.Targets.Environment(apply.Target.Environment)
	_, has := p.Find(plan.RollbackID(apply.Service, *apply.Target))
	if has != (e.Rollback == pipeline.RollbackEveryWave) {
		t.Fatalf("%s: compensation %v", apply.ID, has)
	}
	if apply.Digest != "" || apply.Reuse != nil || apply.Can != plan.CapabilityDeployPrefix+apply.Target.Cluster {
		t.Fatalf("%+v", apply)
	}
}

// Equal inputs give equal plans, and a repeated run of a commit reuses every build,
// test and render; after any change, exactly what depends on it runs.
func TestReuse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c, targets := drawProject(rt)
		in := input(rt, c, targets)
		first := mustPlan(rt, in)
		again := in
		again.Objects = map[string]string{}
		for _, k := range slices.Backward(slices.Sorted(maps.Keys(in.Objects))) {
			again.Objects[k] = in.Objects[k]
		}
		a, _ := plan.Hash(first)
		if b, _ := plan.Hash(mustPlan(rt, again)); a != b {
			rt.Fatal("equal inputs, different plans")
		}
		data, err := plan.Encode(first)
		if err != nil {
			rt.Fatal(err)
		}
		if decoded, err := plan.Decode(data); err != nil {
			rt.Fatal(err)
		} else if b, _ := plan.Hash(decoded); a != b {
			rt.Fatal("Decode changes the plan")
		}

		known := results{}
		known.run("1", first)
		in.Known, in.Base, in.BasePipeline = known.known, in.Commit, in.Pipeline
		for _, task := range mustPlan(rt, in).Tasks {
			if task.Digest != "" && task.Reuse == nil {
				rt.Fatalf("%s runs again", task.ID)
			}
		}

		file := rapid.SampledFrom(slices.Sorted(maps.Keys(c))).Draw(rt, "changed")
		if file == pipeline.File {
			return
		}
		c[file] = append(c[file], '!')
		next := input(rt, c, targets)
		next.Known, next.Base, next.BasePipeline, next.Changed = known.known, in.Commit, in.Pipeline, []string{file}
		checkReuse(rt, next, mustPlan(rt, next), file)
	})
}

func checkReuse(t *rapid.T, in planner.Input, p plan.Plan, changed string) {
	build, render := map[string]bool{}, map[string]bool{}
	for _, s := range in.Pipeline.Services { // contexts refer to earlier services
		for _, path := range s.Paths() {
			build[s.Name] = build[s.Name] || pipeline.Inside(changed, path)
		}
		if s.Build != nil {
			for _, context := range s.Build.Contexts {
				build[s.Name] = build[s.Name] || build[context.Service]
			}
		}
		render[s.Name] = build[s.Name] && s.Build != nil || s.Deploy != nil && pipeline.Inside(changed, s.Deploy.Path)
	}
	for _, task := range p.Tasks {
		runs := build[task.Service]
		if task.Kind == plan.KindRender {
			runs = render[task.Service]
		}
		if task.Digest != "" && runs != (task.Reuse == nil) {
			t.Fatalf("%s changed: %s runs %v, want %v", changed, task.ID, task.Reuse == nil, runs)
		}
	}
	for _, s := range p.Services {
		if s.Affected != (build[s.Name] || render[s.Name]) {
			t.Fatalf("%s changed: %s affected %v (%s)", changed, s.Name, s.Affected, s.Reason)
		}
	}
}

// Manifests carry the image: a build of the same digest that made another image must
// not meet the old manifests.
func TestRendersFollowTheImage(t *testing.T) {
	c := commit{
		"slipway.yaml":                []byte("version: 1\nproject: shop\nservices: { a: { path: a } }\n"),
		"a/Dockerfile":                []byte("x"),
		"deploy/a/kustomization.yaml": []byte("x"),
	}
	targets := []byte("version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { e: { clusters: { x: y }, namespace: n } }\n")
	in := input(t, c, targets)
	first := mustPlan(t, in)
	known := results{}
	known.run("1", first)
	in.Known = known.known
	build, _ := first.Find(plan.BuildID("a"))
	reuse := known[build.Digest]
	reuse.Result.Image = "other@sha256:0"
	known[build.Digest] = reuse
	second := mustPlan(t, in)
	render, _ := second.Find(plan.RenderID("a", plan.Target{Environment: "e", Cluster: "c"}))
	if b, _ := second.Find(plan.BuildID("a")); b.Reuse == nil || render.Reuse != nil {
		t.Errorf("build reused: %v, render reused: %v", b.Reuse != nil, render.Reuse != nil)
	}
	delete(known, build.Digest)
	in.Base, in.BasePipeline, in.Gone = in.Commit, in.Pipeline, map[string]string{build.Digest: "1", "another": "2"}
	third := mustPlan(t, in)
	const lost = "the image that run 1 made of the same inputs cannot be found any more"
	if b, _ := third.Find(plan.BuildID("a")); b.Reason != lost || third.Services[0].Reason != "unchanged since "+in.Commit[:12]+"; "+lost {
		t.Errorf("it is built because %s; of the service: %s", b.Reason, third.Services[0].Reason)
	}
	if render, _ := third.Find(render.ID); render.Reuse != nil {
		t.Error("the render is reused although its image is built")
	}
	in.Rebuild = true
	for _, task := range mustPlan(t, in).Tasks {
		if task.Reuse != nil {
			t.Errorf("%s is reused", task.ID)
		}
	}
}

func TestUntil(t *testing.T) {
	c := commit{
		"slipway.yaml":                []byte("version: 1\nproject: shop\nservices: { a: { path: a, test: { t: { run: x } } } }\n"),
		"a/Dockerfile":                []byte("x"),
		"deploy/a/kustomization.yaml": []byte("x"),
	}
	targets := []byte("version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { e: { clusters: { x: y }, namespace: n } }\n")
	for until, want := range map[string]string{
		pipeline.StageBuild: "checkout build/a", pipeline.StageTest: "checkout build/a test/a/t",
		"": "checkout build/a render/a@e/c test/a/t release rollout/e apply/a@e/c promote/a@e verified/e",
	} {
		in := input(t, c, targets)
		in.Until = until
		var ids []string
		for _, task := range mustPlan(t, in).Tasks {
			ids = append(ids, task.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("until %q: %s", until, got)
		}
	}
	for until, want := range map[string]string{
		pipeline.StageBuild: "checkout build/a render/a@e/c diff/a@e/c", pipeline.StageTest: "checkout build/a render/a@e/c test/a/t diff/a@e/c",
	} {
		in := input(t, c, targets)
		in.Until, in.Diff, in.Adopt = until, true, true
		p := mustPlan(t, in)
		var ids []string
		for _, task := range p.Tasks {
			ids = append(ids, task.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("diff after %q: %s", until, got)
		}
		diff, _ := p.Find("diff/a@e/c")
		if diff.Can != "deploy_c" || diff.Apply.Manifests != "render/a@e/c" || !diff.Apply.Adopt || len(p.Rollbacks) > 0 || len(p.Services[0].Targets) != 1 {
			t.Errorf("%+v", diff)
		}
	}
}

// TestATagThatMovesIsAnotherInput: of what stands on it, and of nothing else; what is built is pinned.
func TestATagThatMovesIsAnotherInput(t *testing.T) {
	c := commit{
		"slipway.yaml": []byte(`version: 1
project: shop
sidecars: { db: { image: "postgres:17" } }
services:
  a: { path: a, test: { unit: { run: x, sidecars: [db] } } }
  b: { path: b, build: { contexts: { base: "service:a" } } }
  c: { path: c, test: { unit: { run: x } } }
`),
		"a/Dockerfile": []byte("x"), "b/Dockerfile": []byte("x"), "c/Dockerfile": []byte("x"),
	}
	const golang, alpine, postgres, pinned = "docker.io/library/golang:1.26", "docker.io/library/alpine:3", "postgres:17", "docker.io/library/busybox:1@sha256:ff"
	in := input(t, c, nil)
	in.Stands = map[string][]string{"a": {golang, pinned}, "c": {alpine}}
	in.Tags = map[string]planner.Tag{golang: {Digest: "sha256:01"}, alpine: {Digest: "sha256:02"}, postgres: {Digest: "sha256:03"}, pinned: {Digest: "sha256:ff"}}
	first := mustPlan(t, in)
	known := results{}
	known.run("1", first)
	build, _ := first.Find(plan.BuildID("a"))
	test, _ := first.Find(plan.TestID("a", "unit"))
	if d := cmp.Diff(map[string]string{golang: "sha256:01"}, build.Build.Bases); d != "" {
		t.Errorf("pinned (-want +got):\n%s", d)
	}
	if got := test.Test.Sidecars[0].Image; got != "postgres:17@sha256:03" {
		t.Errorf("the sidecar is %s", got)
	}
	for _, m := range []struct {
		tag  string
		want string // what is carried out again
	}{
		{golang, "build/a build/b test/a/unit"},
		{alpine, "build/c test/c/unit"},
		{postgres, "test/a/unit"},
		{"docker.io/library/other:1", ""},
	} {
		again := in
		again.Known = known.known
		again.Tags = maps.Clone(in.Tags)
		again.Base, again.BasePipeline = in.Commit, in.Pipeline
		again.Tags[m.tag] = planner.Tag{Digest: "sha256:99", Was: in.Tags[m.tag].Digest}
		var got []string
		for _, task := range mustPlan(t, again).Tasks {
			if task.Digest == "" || task.Reuse != nil {
				continue
			}
			got = append(got, task.ID)
			why := m.tag + " is another image now: 99, not " + strings.TrimPrefix(in.Tags[m.tag].Digest, "sha256:")
			switch {
			case m.tag == postgres:
				why = "no earlier result is kept"
			case task.ID == "build/b":
				why = "the image of a is built anew"
			}
			if task.Reason != why {
				t.Errorf("%s is carried out because %q, want %q", task.ID, task.Reason, why)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != m.want {
			t.Errorf("%s moved: %v are carried out, want %s", m.tag, got, m.want)
		}
	}
}
