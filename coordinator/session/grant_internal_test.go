package session

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// A worker is told of every task whether its run is of a stranger's commit.
func TestGrantSaysWhoseCommitItIs(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		g := toGrant(partition.Work{Task: &plan.Task{Kind: plan.KindScan, Scan: &plan.Scan{}}, Trusted: trusted}, "")
		if g.GetUntrusted() == trusted {
			t.Errorf("trusted: %t, and the grant says untrusted: %t", trusted, g.GetUntrusted())
		}
	}
}

// TestAnalyses: what is measured reaches the deployer as it was planned; a limit of 0 is one.
func TestAnalyses(t *testing.T) {
	target := &plan.Target{Environment: "prod", Cluster: "eu", Namespace: "shop"}
	g := toGrant(partition.Work{Task: &plan.Task{Kind: plan.KindAnalyze, Target: target, Analyze: &plan.Analyze{Weight: 5, Pause: 600, Metrics: []plan.Analysis{{
		Name: "signals", Provider: plan.ProviderJSON, Interval: 30, NoData: plan.NoDataPass, Inconclusive: 2, DryRun: true,
		Metrics: []plan.Metric{{Name: "errors", Query: "/q", Field: "/f", Max: new(0.0), MaxIncrease: new(1.5), Failures: 2}},
	}}}}}, "")
	want := []*pb.Analysis{{
		Name: "signals", Provider: "json", Interval: durationpb.New(30 * time.Second), NoData: "pass", Inconclusive: 2, DryRun: true,
		Metrics: []*pb.AnalysisMetric{{Name: "errors", Query: "/q", Field: "/f", Max: new(0.0), MaxIncrease: new(1.5), Failures: 2}},
	}}
	if diff := cmp.Diff(want, g.GetAnalyze().GetMetrics(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
