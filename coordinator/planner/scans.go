package planner

import (
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/affected"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// scanners is the version of what workers look for themselves: raised with the libraries that know it, so that
// what an older one found is looked for again.
const scanners = "1"

// wanted are the scans of a service: its own, and those that the platform has every service have, but for those
// of configuration where there is neither a manifest nor a Dockerfile.
func (p *planner) wanted(s *pipeline.Service) []*pipeline.Scan {
	out := slices.Clone(s.Scans)
	for _, using := range rule(p.in.Targets).Require {
		if !slices.ContainsFunc(out, func(have *pipeline.Scan) bool { return have.Using == using }) {
			scan := pipeline.NewScan(using, rule(p.in.Targets).Pos)
			scan.Name = pipeline.RequiredScan + using
			out = append(out, scan)
		}
	}
	if s.Build == nil && p.manifests(s) == "" {
		out = slices.DeleteFunc(out, func(scan *pipeline.Scan) bool { return scan.Using == pipeline.ScanConfig })
	}
	slices.SortFunc(out, func(a, b *pipeline.Scan) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// manifests is the folder with those of a service; empty: it has none.
func (p *planner) manifests(s *pipeline.Service) string {
	if s.Deploy == nil || p.in.Objects[s.Deploy.Path] == "" {
		return ""
	}
	return s.Deploy.Path
}

// rule is the platform's word about findings.
func rule(targets *pipeline.Targets) pipeline.Findings {
	if targets == nil || targets.Findings == nil {
		return pipeline.Findings{Block: pipeline.DefaultBlock}
	}
	return *targets.Findings
}

// Rule is what says no to what is found. targets may be nil.
func Rule(targets *pipeline.Targets, onto string) *plan.Findings {
	all := rule(targets)
	return &plan.Findings{Onto: onto, Block: all.Block, Waivers: all.Waivers}
}

// WantsAdvisories says that a pipeline has packages scanned, or its platform does. targets may be nil.
func WantsAdvisories(p *pipeline.Pipeline, targets *pipeline.Targets) bool {
	return slices.Contains(rule(targets).Require, pipeline.ScanPackages) || slices.ContainsFunc(p.Services, func(s *pipeline.Service) bool {
		return slices.ContainsFunc(s.Scans, func(scan *pipeline.Scan) bool { return scan.Using == pipeline.ScanPackages })
	})
}

// checkScans reports scans that have nothing to compare with, each place where one is written down once.
func (p *planner) checkScans() {
	if p.until < stageTest || p.in.Advisories != "" {
		return
	}
	told := map[pipeline.Pos]bool{}
	for _, s := range p.in.Pipeline.Services {
		for _, scan := range p.wanted(s) {
			if scan.Using == pipeline.ScanPackages && !told[scan.Pos] {
				told[scan.Pos] = true
				p.report.Add(scan.Pos, "set advisories: in the coordinator's configuration (slipway up: --advisories), or remove the scan",
					"the scan %s of service %s compares packages with advisories, and this farm has none", scan.Name, s.Name)
			}
		}
	}
}

// scans adds the scans of a service, and what judges what they find.
func (p *planner) scans(s *pipeline.Service) {
	all := p.wanted(s)
	if len(all) == 0 {
		return
	}
	judge := plan.Task{
		ID: plan.FindingsID(s.Name), Kind: plan.KindFindings, Service: s.Name,
		Reason: "compares what is found with what the last green commit had",
	}
	for _, scan := range all {
		var t plan.Task
		if scan.Run == "" {
			t = p.scan(s, scan)
		} else {
			t = p.tool(s, scan)
		}
		p.add(t)
		judge.Needs = append(judge.Needs, t.ID)
	}
	p.add(judge)
	p.judges = true
}

// scan is the task of one that the worker carries out itself.
func (p *planner) scan(s *pipeline.Service, scan *pipeline.Scan) plan.Task {
	work := &plan.Scan{Name: scan.Name, Using: scan.Using, Level: scan.Level, Deny: scan.Deny}
	paths := p.paths(s)
	manifests := p.manifests(s)
	if manifests != "" {
		paths = pipeline.Outermost(append(paths, manifests))
	}
	if scan.Using == pipeline.ScanConfig {
		if work.Manifests = manifests; s.Build != nil {
			work.Dockerfile = s.Build.Dockerfile
		}
	}
	if scan.Using == pipeline.ScanPackages {
		work.Advisories = p.in.Advisories
	}
	work.Paths = paths
	digest := affected.ScanDigest(affected.ScanInputs{
		Objects: p.objects(paths), Using: work.Using, Manifests: work.Manifests, Dockerfile: work.Dockerfile, Level: work.Level, Deny: work.Deny,
		Advisories: work.Advisories, Runner: p.in.Runner + " scanners " + scanners, Scope: p.in.Scope,
	})
	return plan.Task{
		ID: plan.ScanID(s.Name, scan.Name), Kind: plan.KindScan, Service: s.Name, Needs: []string{plan.CheckoutID}, Can: plan.CapabilityRender,
		Digest: digest, Reason: "nothing is kept of a scan of these sources", Timeout: seconds(scan.Timeout), Infra: scan.Infra, Scan: work,
	}
}

// tool is the task of one that is a command in a stage of the Dockerfile, as a test is.
func (p *planner) tool(s *pipeline.Service, scan *pipeline.Scan) plan.Task {
	b := p.builds[s.Name]
	needs := []string{plan.CheckoutID}
	for _, context := range b.Contexts {
		needs = append(needs, plan.BuildID(context))
	}
	if scan.In != "" {
		b.Target = scan.In
	} else {
		needs = append(needs, plan.BuildID(s.Name))
	}
	digest := affected.ScanDigest(affected.ScanInputs{
		Tool: affected.TestDigest(affected.TestInputs{Build: p.digests[s.Name], Run: scan.Run, In: scan.In, Report: scan.Report, Runner: p.in.Runner}),
	})
	_, b.Fresh = p.in.Forgotten[digest]
	return plan.Task{
		ID: plan.ScanID(s.Name, scan.Name), Kind: plan.KindScan, Service: s.Name, Needs: needs, Can: plan.CapabilityBuild,
		Digest: digest, Reason: p.why(s), Timeout: seconds(scan.Timeout), Infra: scan.Infra,
		Scan: &plan.Scan{Name: scan.Name, Paths: b.Paths, Test: &plan.Test{Name: scan.Name, Build: b, Run: scan.Run, Report: scan.Report}},
	}
}
