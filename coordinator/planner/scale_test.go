package planner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/affected"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

// large is a repository of n services with five tests each, in chains of needs, for
// three environments of four clusters.
func large(n int) (commit, []byte) {
	c := commit{}
	var b strings.Builder
	b.WriteString("version: 1\nproject: shop\nservices:\n")
	for i := range n {
		fmt.Fprintf(&b, "  s%d:\n    path: services/s%d\n    also: [libs/a, libs/b]\n    test:\n", i, i)
		for j := range 5 {
			fmt.Fprintf(&b, "      t%d: { run: go test ./..., in: build, report: \"**/*.json\", env: { A: b } }\n", j)
		}
		fmt.Fprintf(&b, "    deploy: { health: { http: /healthz, port: 8080 } }\n")
		if i%10 > 0 {
			fmt.Fprintf(&b, "    needs: [s%d]\n", i-1)
		}
		c[fmt.Sprintf("services/s%d/Dockerfile", i)] = []byte("x")
		c[fmt.Sprintf("deploy/s%d/kustomization.yaml", i)] = []byte("x")
	}
	c["slipway.yaml"], c["libs/a/x"], c["libs/b/x"] = []byte(b.String()), []byte("x"), []byte("x")
	var t strings.Builder
	t.WriteString("version: 1\nproject: shop\nclusters:\n")
	for i := range 12 {
		fmt.Fprintf(&t, "  c%d: { labels: { env: e%d } }\n", i, i/4)
	}
	t.WriteString("environments:\n  e0: { clusters: { env: e0 }, namespace: n }\n" +
		"  e1: { clusters: { env: e1 }, namespace: n, after: { env: e0 } }\n  e2: { clusters: { env: e2 }, namespace: n, after: { env: e1 } }\n")
	return c, []byte(t.String())
}

func TestTooLarge(t *testing.T) {
	c, targets := large(10)
	in := input(t, c, targets)
	first := in.Targets.Environments[0]
	for i := range 3000 {
		first.Clusters = append(first.Clusters, fmt.Sprint("x", i))
	}
	if _, problems := planner.Plan(in); !strings.Contains(problems.Error(), "at most 50000") {
		t.Errorf("got %v", problems)
	}
}

func BenchmarkParse(b *testing.B) {
	c, _ := large(1000)
	files := c.pipelineFiles()
	for b.Loop() {
		if _, problems := pipeline.Parse(files); problems != nil {
			b.Fatal(problems)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{250, 500, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, targets := large(n)
			in := input(b, c, targets)
			in.Base, in.BasePipeline = in.Commit, in.Pipeline
			for i := range 10_000 {
				in.Changed = append(in.Changed, fmt.Sprintf("services/s%d/a/b/c/file%d", i%n, i))
			}
			for b.Loop() {
				p, problems := planner.Plan(in)
				if problems != nil {
					b.Fatal(problems)
				}
				if _, err := plan.Hash(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	services := make([]affected.Service, 1000)
	for i := range services {
		services[i] = affected.Service{Name: fmt.Sprint(i), Path: fmt.Sprint("services/", i), Also: []string{"libs/a"}, Definition: "x", Before: "x"}
	}
	change := affected.Change{Base: "x"}
	for i := range 100_000 {
		change.Changed = append(change.Changed, fmt.Sprintf("services/%d/a/b/c/%d", i%1000, i))
	}
	for b.Loop() {
		affected.Decide(services, change)
	}
}
