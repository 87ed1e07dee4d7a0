package findings_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/sarif"
)

// store keeps blobs in memory.
type store map[string][]byte

func (s store) Get(_ context.Context, digest string) ([]byte, error) {
	data, ok := s[digest]
	switch {
	case digest == "sha256:away":
		return nil, fmt.Errorf("blob %s: not now", digest)
	case !ok:
		return nil, fmt.Errorf("blob %s: not found: %w", digest, findings.ErrGone)
	}
	return data, nil
}

func (s store) Put(_ context.Context, data []byte) (string, error) {
	s[plan.Sum(data)] = data
	return plan.Sum(data), nil
}

func (s store) report(t *testing.T, list ...sarif.Finding) string {
	t.Helper()
	data, err := sarif.Write(sarif.Report{Tool: "x", Findings: list})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := s.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// one is a finding that is told from others by its rule and file.
func one(severity sarif.Severity, rule, file string, line int) sarif.Finding {
	return sarif.Finding{Rule: rule, Severity: severity, Path: file, Line: line, Message: "there is " + rule, Fingerprint: plan.Sum([]byte(rule + file))[7:39]}
}

var noon = time.Date(2026, 12, 31, 12, 0, 0, 0, time.UTC)

func judge(t *testing.T, s store, base string, rule plan.Findings, at time.Time, list ...sarif.Finding) (plan.FindingsSummary, string) {
	t.Helper()
	sum, message, err := findings.Judge(t.Context(), s, findings.Input{
		Scans: []findings.Scan{{Name: "secrets", Report: s.report(t, list...)}}, Base: base, Rule: rule, At: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum, message
}

// TestOnlyWhatIsNewBlocks: what was there on the first day does not, nor does what moved, nor what is less severe.
func TestOnlyWhatIsNewBlocks(t *testing.T) {
	s, rule := store{}, plan.Findings{Block: "high"}
	old := one(sarif.Critical, "key", "api/a.go", 3)
	first, message := judge(t, s, "", rule, noon, old)
	if !first.First || first.Known != 1 || first.Blocking != 0 || message != "scanned for the first time: 1 critical; later runs are told what is new since" {
		t.Errorf("first: %+v, %q", first, message)
	}
	old.Line = 30
	again, message := judge(t, s, first.Report, rule, noon, old)
	if again.Known != 1 || again.Fresh != 0 || message != "nothing new; 1 known" {
		t.Errorf("after the line moved: %+v, %q", again, message)
	}
	next, message := judge(t, s, again.Report, rule, noon, old, one(sarif.Medium, "m", "api/b.go", 1), one(sarif.High, "key", "api/b.go", 7))
	want := plan.FindingsSummary{Fresh: 2, Known: 1, Blocking: 1, Report: next.Report, Worst: []plan.Finding{
		{Scan: "secrets", Rule: "key", Severity: "high", Path: "api/b.go", Line: 7, Message: "there is key", Fingerprint: plan.Sum([]byte("keyapi/b.go"))[7:39], Blocking: true},
		{Scan: "secrets", Rule: "m", Severity: "medium", Path: "api/b.go", Line: 1, Message: "there is m", Fingerprint: plan.Sum([]byte("mapi/b.go"))[7:39]},
	}}
	if d := cmp.Diff(want, next); d != "" {
		t.Error(d)
	}
	if want := "1 finding is new since the last green commit, and high or worse:\n  ✗ high api/b.go:7: there is key (secrets/key)\n  besides: 1 new and less severe, 1 known"; message != want {
		t.Errorf("message:\n%s\nwant:\n%s", message, want)
	}
	if sum, message := judge(t, s, again.Report, plan.Findings{Block: plan.BlockNever}, noon, one(sarif.Critical, "key", "x", 1)); sum.Blocking != 0 || message != "1 new, none of which blocks" {
		t.Errorf("never: %+v, %q", sum, message)
	}
	if sum, message := judge(t, s, again.Report, rule, noon); sum.Report == "" || message != "nothing found" {
		t.Errorf("mended: %+v, %q", sum, message)
	}
}

// TestAWaiverEndsOnItsDay: it holds until the day is over, and what it let pass was never known.
func TestAWaiverEndsOnItsDay(t *testing.T) {
	s := store{}
	clean, _ := judge(t, s, "", plan.Findings{Block: "high"}, noon)
	found := one(sarif.High, "key", "api/test/a.go", 3)
	rule := plan.Findings{Block: "high", Waivers: []plan.Waiver{
		{Rule: "secrets/key", Path: "api/test", Until: "2026-12-30", Reason: "an older one"},
		{Rule: "secrets/*", Path: "api/test", Until: "2026-12-31", Reason: "made up for tests"},
		{Rule: "secrets/key", Path: "api/tes", Until: "2099-12-31", Reason: "another folder"},
		{Rule: "packages/key", Until: "2099-12-31", Reason: "another scan"},
	}}
	last := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	waived, message := judge(t, s, clean.Report, rule, last, found)
	if waived.Waived != 1 || waived.Blocking+waived.Fresh != 0 || message != "nothing new; 1 waived" {
		t.Errorf("on the last day: %+v, %q", waived, message)
	}
	doc, err := findings.Read(t.Context(), s, waived.Report)
	if err != nil || doc.Findings[0].Until != "2026-12-31" || doc.Findings[0].Because != "made up for tests" {
		t.Errorf("%v, %+v", err, doc)
	}
	over, message := judge(t, s, waived.Report, rule, last.Add(time.Second), found)
	if over.Blocking != 1 || !strings.Contains(message, "✗ high api/test/a.go:3") {
		t.Errorf("on the day after: %+v, %q", over, message)
	}
}

// TestCompareLosesNothing: each finding is new, known or waived, what blocks is new and severe, and against
// itself nothing is new that is not waived.
func TestCompareLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) []plan.Finding {
			return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) plan.Finding {
				id := rapid.SampledFrom([]string{"a", "b", "c", "d"})
				return plan.Finding{
					Scan: id.Draw(t, "scan"), Rule: id.Draw(t, "rule"), Path: id.Draw(t, "path"), Fingerprint: id.Draw(t, "fingerprint"),
					Severity: rapid.SampledFrom(plan.Severities()).Draw(t, "severity"),
				}
			}), 0, 12).Draw(t, name)
		}
		rule := plan.Findings{Block: rapid.SampledFrom(append(plan.Severities(), plan.BlockNever)).Draw(t, "block")}
		for range rapid.IntRange(0, 2).Draw(t, "waivers") {
			rule.Waivers = append(rule.Waivers, plan.Waiver{Rule: rapid.SampledFrom([]string{"a/b", "b/*", "*/c"}).Draw(t, "rule"), Until: rapid.SampledFrom([]string{"2026-12-30", "2026-12-31"}).Draw(t, "until")})
		}
		before, now := draw("before"), draw("now")
		base := findings.Compare(before, nil, plan.Findings{Block: "high"}, noon)
		base.Scans = []string{"a", "b", "c"} // d looks for the first time
		doc := findings.Compare(now, &base, rule, noon)
		sum := findings.Summary(doc, false)
		if sum.Fresh+sum.Known+sum.Waived != len(now) || sum.Blocking > sum.Fresh {
			t.Fatalf("of %d: %+v", len(now), sum)
		}
		severe := map[string]bool{}
		for _, s := range plan.Severities() {
			severe[s] = rule.Block != plan.BlockNever
			if s == rule.Block {
				break
			}
		}
		for _, f := range doc.Findings {
			if f.Scan == "d" && f.State == findings.New {
				t.Fatalf("new in a scan that looks for the first time: %+v", f)
			}
			if f.Blocking != (f.State == findings.New && severe[f.Severity]) {
				t.Fatalf("%+v with %+v", f, rule)
			}
			had := slices.ContainsFunc(before, func(b plan.Finding) bool { return b.Scan == f.Scan && b.Fingerprint == f.Fingerprint })
			if f.Scan != "d" && f.State != findings.Waived && had != (f.State == findings.Known) {
				t.Fatalf("%+v; before: %v", f, before)
			}
		}
		doc.Scans = []string{"a", "b", "c", "d"}
		again := findings.Compare(now, &doc, plan.Findings{Block: "low"}, noon)
		for i, f := range again.Findings {
			if waived := doc.Findings[i].State == findings.Waived; !waived && f.State == findings.New {
				t.Fatalf("new against itself: %+v", f)
			}
		}
	})
}

// TestReportsThatCannotBeRead: nothing is decided then.
func TestReportsThatCannotBeRead(t *testing.T) {
	s := store{}
	garbage, _ := s.Put(t.Context(), []byte("{"))
	newer, _ := s.Put(t.Context(), []byte(`{"version":9}`))
	good := s.report(t)
	for _, c := range []struct {
		in   findings.Input
		want string
	}{
		{findings.Input{Scans: []findings.Scan{{Name: "secrets", Report: "sha256:gone"}}}, "the report of the scan secrets: blob sha256:gone: not found"},
		{findings.Input{Scans: []findings.Scan{{Name: "secrets", Report: garbage}}}, "the report of the scan secrets: "},
		{findings.Input{Scans: []findings.Scan{{Name: "secrets", Report: good}}, Base: "sha256:away"}, "what the last green commit had: blob sha256:away: not now"},
		{findings.Input{Scans: []findings.Scan{{Name: "secrets"}}}, "the scan secrets left no report; its worker may be of another version"},
	} {
		if _, _, err := findings.Judge(t.Context(), s, c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.in, err)
		}
	}
	many := make([]sarif.Finding, 10_000)
	for i := range many {
		many[i] = one(sarif.Low, fmt.Sprint("r", i), "a", 1)
	}
	report := s.report(t, many...)
	if _, _, err := findings.Judge(t.Context(), s, findings.Input{Scans: []findings.Scan{{Name: "a", Report: report}, {Name: "b", Report: report}, {Name: "c", Report: report}}}); err == nil ||
		!strings.Contains(err.Error(), "more than 20000 findings of one service: have its scans look at less") {
		t.Errorf("too many: %v", err)
	}
	// What can never be read again is compared with nothing, and that is said.
	for _, base := range []string{"sha256:gone", garbage, newer} {
		sum, message, err := findings.Judge(t.Context(), s, findings.Input{Scans: []findings.Scan{{Name: "secrets", Report: s.report(t, one(sarif.High, "key", "a", 1))}}, Base: base, Rule: plan.Findings{Block: "low"}})
		if err != nil || sum.Known != 1 || !sum.First || !strings.HasPrefix(message, "what the last green commit had is gone, so that nothing is new; ") {
			t.Errorf("%s: %+v, %q, %v", base, sum, message, err)
		}
	}
	broken := errors.New("the disk is full")
	if _, _, err := findings.Judge(t.Context(), full{s, broken}, findings.Input{}); !errors.Is(err, broken) {
		t.Errorf("a full store: %v", err)
	}
}

type full struct {
	store
	err error
}

func (f full) Put(context.Context, []byte) (string, error) { return "", f.err }
