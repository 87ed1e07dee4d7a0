package project

import (
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// scanned is a service at a ref; an empty ref: at any.
type scanned struct{ ref, service string }

// baseline is what the scans of a service found in the newest run that succeeded.
type baseline struct {
	report string // digest of the blob
	at     time.Time
}

// Baseline is what new findings of a service are told by: the report of the last green commit of a
// ref, or of any ref; empty: there is none.
func (p *Project) Baseline(ref, service string) string {
	if b, ok := p.baselines[scanned{ref, service}]; ok {
		return b.report
	}
	return p.baselines[scanned{"", service}].report
}

// noteFindings notes what the scans of a run that succeeded found. A stranger's run says nothing about
// what others have, and neither does a working tree that nobody committed.
func (p *Project) noteFindings(r *run.Run, at time.Time) {
	if r.Plan.Untrusted || r.Dirty {
		return
	}
	for _, t := range r.Tasks {
		if t.Spec.Kind != plan.KindFindings || t.Result.Findings == nil {
			continue
		}
		b := baseline{t.Result.Findings.Report, at}
		p.baselines[scanned{r.Ref, t.Spec.Service}], p.baselines[scanned{"", t.Spec.Service}] = b, b
	}
}
