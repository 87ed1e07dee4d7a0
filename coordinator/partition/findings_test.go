package partition_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
)

// scanned carries out the scan of the service of a run, which leaves a report.
func (f *farm) scanned(id, report string) {
	f.t.Helper()
	w := f.hold(id, "scan/s0/secrets")
	rep := run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}, Result: plan.Result{Scan: &plan.ScanSummary{Tool: "x", Report: report, High: 1}}}
	f.must(func(tx *partition.Tx) error { return tx.Complete(w.Ref, rep) })
	f.eventually("what was found is judged", f.idle)
}

func (f *farm) verdict(id string) *run.Task {
	f.t.Helper()
	t, ok := f.run(id).Find("findings/s0")
	if !ok {
		f.t.Fatalf("nothing judges what is found")
	}
	return t
}

// TestFindingsAreComparedWithTheLastRunThatSucceeded: of a stranger's run, of one that failed and of a working tree
// nothing is known; a branch has that of the main one, until it has its own; a pull request that of the branch it is for;
// an old run that ends late changes nothing; and the next owner knows it, too.
func TestFindingsAreComparedWithTheLastRunThatSucceeded(t *testing.T) {
	f := open(t)
	submit := func(change func(*plan.Plan)) string {
		p := plantest.Scanned(plantest.Shop("shop", 1, 0, nil))
		change(p)
		id := f.submit(p)
		f.do(id, "build/s0")
		return id
	}
	none := func(*plan.Plan) {}
	message := func(id, want string) {
		t.Helper()
		if got := f.verdict(id); got.Message != want {
			t.Errorf("%s: %s: %s", id, got.State, got.Message)
		}
	}
	stranger := submit(func(p *plan.Plan) { p.Untrusted = true })
	f.scanned(stranger, "his")
	f.want(stranger, "release", run.TaskSucceeded)
	blocked := submit(none)
	f.scanned(blocked, "blocks")
	message(blocked, `1 scans, compared with ""`)
	if v := f.verdict(blocked); v.State != run.TaskFailed || v.Class != run.ClassUser || v.Result.Findings.Blocking != 1 {
		t.Errorf("%s, class %q, %+v", v.State, v.Class, v.Result.Findings)
	}
	f.want(blocked, "release", run.TaskSkipped)

	first := submit(none)
	f.scanned(first, "clean")
	f.want(first, "release", run.TaskSucceeded)
	message(first, `1 scans, compared with ""`)
	base := f.verdict(first).Result.Findings.Report
	tree := submit(func(p *plan.Plan) { p.Dirty = true })
	f.scanned(tree, "other")
	message(tree, `1 scans, compared with "`+base+`"`)
	branch := submit(func(p *plan.Plan) { p.Ref = "feature" })
	f.scanned(branch, "of the branch")
	message(branch, `1 scans, compared with "`+base+`"`) // that of the main one: it has none of its own

	f.again()
	own := f.verdict(branch).Result.Findings.Report
	again := submit(func(p *plan.Plan) { p.Ref = "feature" })
	f.scanned(again, "again")
	message(again, `1 scans, compared with "`+own+`"`)
	main := submit(none)
	f.scanned(main, "clean")
	message(main, `1 scans, compared with "`+base+`"`)
	late := submit(none)
	pull := submit(func(p *plan.Plan) {
		p.Ref = "pull/1"
		p.Findings.Onto = "refs/heads/feature"
	})
	f.scanned(pull, "of a pull request")
	message(pull, `1 scans, compared with "`+f.verdict(again).Result.Findings.Report+`"`)
	newest := submit(none)
	f.scanned(newest, "newest")
	f.scanned(late, "late")
	after := submit(none)
	f.scanned(after, "after")
	message(after, `1 scans, compared with "`+f.verdict(newest).Result.Findings.Report+`"`)
	main = after
	if st, _ := f.read(); st.Project("shop").Baseline("", "", "s0") != f.verdict(main).Result.Findings.Report {
		t.Errorf("of any branch it is %s", st.Project("shop").Baseline("", "", "s0"))
	}
}

// TestFindingsAreWeighed: what a record has room for is decided by weights, which must not be less than what is written.
func TestFindingsAreWeighed(t *testing.T) {
	sum := &plan.FindingsSummary{Fresh: 50, Report: plan.Sum(nil)}
	for range plan.MaxFindings {
		sum.Worst = append(sum.Worst, plan.Finding{Scan: "secrets", Rule: "private-key", Severity: "critical", Path: "services/api/key.pem", Line: 7, Message: strings.Repeat("m", 300), Fingerprint: strings.Repeat("0", 32), Blocking: true})
	}
	digest := plan.Sum([]byte("x"))
	for name, res := range map[string]plan.Result{
		"findings": {Findings: sum},
		"a scan":   {Scan: &plan.ScanSummary{Tool: "slipway-secrets", Report: digest, Critical: 1000, High: 1000, Medium: 1000, Low: 1000}},
		"a build":  {Image: "r/shop/api@" + digest, Index: "r/shop/api@" + digest, SBOM: digest, Key: "abcd1234"},
	} {
		e := run.TaskFinished{Run: "shop-1", Task: "findings/api", State: run.TaskSucceeded, Result: res, Digest: digest}
		m, err := wire.NewCodec().Event(e)
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(m); partition.Weight(e) < size {
			t.Errorf("%s: %d bytes are taken for %d", name, size, partition.Weight(e))
		}
	}
}
