package project

import (
	"cmp"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// scanned is a service at a branch; an empty one: at any.
type scanned struct{ ref, service string }

// baseline is what the scans of a service found in the newest run that succeeded.
type baseline struct {
	report string // digest of the blob
	run    uint64 // its number
	at     time.Time
}

// Baseline is what new findings of a service are told by: the report of the newest run that succeeded of the
// branch that the commit is to be merged into, of its own, of the main one, or of any; empty: there is none.
func (p *Project) Baseline(onto, ref, service string) string {
	for _, branch := range []string{cmp.Or(onto, ref), ref, "main", "master", ""} {
		if b, ok := p.baselines[scanned{strings.TrimPrefix(branch, "refs/heads/"), service}]; ok {
			return b.report
		}
	}
	return ""
}

// noteFindings notes what the scans of a run that succeeded found. A stranger's run says nothing about
// what others have, and neither does a working tree that nobody committed; nor does an old run that ends late.
func (p *Project) noteFindings(r *run.Run, at time.Time) {
	if r.Plan.Untrusted || r.Dirty {
		return
	}
	for _, t := range r.Tasks {
		if t.Spec.Kind != plan.KindFindings || t.Result.Findings == nil {
			continue
		}
		for _, branch := range []string{strings.TrimPrefix(r.Ref, "refs/heads/"), ""} {
			of := scanned{branch, t.Spec.Service}
			if p.baselines[of].run < r.Number {
				p.baselines[of] = baseline{t.Result.Findings.Report, r.Number, at}
			}
		}
	}
}
