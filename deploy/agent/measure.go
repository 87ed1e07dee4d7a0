package agent

import (
	"context"

	"github.com/slipway-build/slipway/deploy/analysis"
	"github.com/slipway-build/slipway/deploy/canary"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// measures is what the metrics of a candidate say, for the watch on its pods.
type measures struct {
	req       analysis.Request
	providers analysis.Providers
	listen    analysis.Listener
}

// Judge measures for as long as the pause takes, or until something failed.
func (m measures) Judge(ctx context.Context) (canary.Judgment, error) {
	report, err := analysis.Run(ctx, m.req, m.providers, m.listen)
	if err != nil {
		return canary.Judgment{}, err //nolint:wrapcheck // it says what to do
	}
	return canary.Judgment{OK: report.Verdict == analysis.Passed, Text: report.Explanation()}, nil
}

// judge of what is to be measured; nil: nothing is.
func judge(g *pb.Grant, manifests []byte, providers analysis.Providers, n *narrator) canary.Judge {
	if len(g.GetAnalyze().GetMetrics()) == 0 {
		return nil
	}
	return measures{req: analysisOf(g, canary.Deployments(manifests)), providers: providers, listen: func(text string) { n.say("%s", text) }}
}

func analysisOf(g *pb.Grant, deployments []string) analysis.Request {
	w := g.GetAnalyze()
	t := w.GetTarget()
	req := analysis.Request{Pause: w.GetPause().AsDuration(), Subject: analysis.Subject{
		Project: g.GetProject(), Service: g.GetService(), Environment: t.GetEnvironment(), Cluster: t.GetCluster(), Namespace: t.GetNamespace(),
		Weight: int(w.GetWeight()), Deployments: deployments, Itself: w.GetRouter() == pb.Router_ROUTER_FLAG,
	}}
	for _, a := range w.GetMetrics() {
		out := analysis.Analysis{
			Name: a.GetName(), Provider: a.GetProvider(), Interval: a.GetInterval().AsDuration(), Tolerated: int(a.GetInconclusive()), DryRun: a.GetDryRun(),
			NoData: map[string]analysis.Outcome{"pass": analysis.Good, "fail": analysis.Bad}[a.GetNoData()], // the zero value is Unknown
		}
		for _, m := range a.GetMetrics() {
			out.Metrics = append(out.Metrics, analysis.Metric{
				Name: m.GetName(), Query: m.GetQuery(), Field: m.GetField(), Max: m.Max, Min: m.Min, MaxRatio: m.MaxRatio, MaxIncrease: m.MaxIncrease, Failures: int(m.GetFailures()),
			})
		}
		req.Analyses = append(req.Analyses, out)
	}
	return req
}
