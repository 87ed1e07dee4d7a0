package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/deploy/analysis"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const candidate = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\n---\napiVersion: v1\nkind: Service\nmetadata: { name: web }\n"

// measured is a grant whose analysis has a metric with every limit.
func measured() *pb.Grant {
	limit := func(f float64) *float64 { return &f }
	return &pb.Grant{Project: "shop", Service: "web", Work: &pb.Grant_Analyze{Analyze: &pb.AnalyzeWork{
		Target: &pb.DeployTarget{Environment: "prod", Cluster: "eu", Namespace: "shop"}, Weight: 25, Pause: durationpb.New(time.Minute),
		Metrics: []*pb.Analysis{{
			Name: "golden", Provider: "prometheus", Interval: durationpb.New(10 * time.Second), NoData: "fail", Inconclusive: 2, DryRun: true,
			Metrics: []*pb.AnalysisMetric{{Name: "errors", Query: "q $service", Field: "/a", Max: limit(1), Min: limit(2), MaxRatio: limit(3), MaxIncrease: limit(4), Failures: 5}},
		}},
	}}}
}

func TestAGrantBecomesWhatIsMeasured(t *testing.T) {
	limit := func(f float64) *float64 { return &f }
	want := analysis.Request{
		Subject: analysis.Subject{Project: "shop", Service: "web", Environment: "prod", Cluster: "eu", Namespace: "shop", Weight: 25, Deployments: []string{"web"}},
		Pause:   time.Minute,
		Analyses: []analysis.Analysis{{
			Name: "golden", Provider: "prometheus", Interval: 10 * time.Second, NoData: analysis.Bad, Tolerated: 2, DryRun: true,
			Metrics: []analysis.Metric{{Name: "errors", Query: "q $service", Field: "/a", Max: limit(1), Min: limit(2), MaxRatio: limit(3), MaxIncrease: limit(4), Failures: 5}},
		}},
	}
	j, ok := judge(measured(), []byte(candidate), nil, nil).(measures)
	if !ok {
		t.Fatal("nothing is measured")
	}
	if d := cmp.Diff(want, j.req); d != "" {
		t.Error(d)
	}
	if j := judge(&pb.Grant{Work: &pb.Grant_Analyze{Analyze: &pb.AnalyzeWork{}}}, nil, nil, nil); j != nil {
		t.Errorf("without analyses %v is measured", j)
	}
}

// always measures the same.
type always float64

func (a always) Measure(context.Context, analysis.Question) (float64, bool, error) {
	return float64(a), true, nil
}

func TestWhatIsMeasuredSaysNoWithItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := measured()
		g.GetAnalyze().Metrics[0].DryRun = false
		m := g.GetAnalyze().GetMetrics()[0].GetMetrics()[0]
		m.Min, m.MaxRatio, m.MaxIncrease, m.Failures = nil, nil, nil, 2
		says := func(text string) { t.Log(text) }
		j := measures{req: analysisOf(g, []string{"web"}), providers: analysis.Providers{"prometheus": always(7)}, listen: says}
		if no, err := j.Judge(t.Context()); err != nil || no.OK || !strings.Contains(no.Text, "golden/errors is 7, above 1, in 2 measurements") {
			t.Errorf("%+v, %v", no, err)
		}
		j.providers = analysis.Providers{"prometheus": always(0.5)}
		if yes, err := j.Judge(t.Context()); err != nil || !yes.OK || !strings.Contains(yes.Text, "golden/errors is 0.5") {
			t.Errorf("%+v, %v", yes, err)
		}
		j.providers = nil
		if _, err := j.Judge(t.Context()); !errors.Is(err, analysis.ErrNoProvider) || !strings.Contains(err.Error(), "deployer.yaml") {
			t.Errorf("without a provider: %v", err)
		}
	})
}
