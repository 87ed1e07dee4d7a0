package sarif_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/internal/sarif"
)

// TestTools reads what tools write.
func TestTools(t *testing.T) {
	for name, want := range map[string]sarif.Report{
		"hadolint": {Tool: "Hadolint", Version: "2.12.0", Findings: []sarif.Finding{
			{Rule: "DL3008", Severity: sarif.Medium, Path: "services/api/Dockerfile", Line: 4, Message: "Pin versions in apt get install."},
			{Rule: "DL3002", Severity: sarif.Low, Path: "services/api/Dockerfile", Line: 9, Message: "Last USER should not be root"},
		}},
		"trivy": {Tool: "Trivy", Version: "0.58.1", Findings: []sarif.Finding{
			{Rule: "AVD-DS-0002", Severity: sarif.High, Path: "services/api/Dockerfile", Line: 1, Message: "Artifact: services/api/Dockerfile Type: dockerfile", Help: "https://avd.aquasec.com/misconfig/ds002"},
			{Rule: "CVE-2023-44487", Severity: sarif.High, Path: "services/api/go.mod", Line: 12, Message: "Package: golang.org/x/net Installed Version: 0.1.0", Help: "https://avd.aquasec.com/nvd/cve-2023-44487"},
			{Rule: "CVE-2099-1", Severity: sarif.Critical, Path: "services/api/go.mod", Line: 14, Message: "Package: example.com/worse", Help: "https://avd.aquasec.com/nvd/cve-2099-1"},
		}},
		"golangci-lint": {Tool: "golangci-lint", Findings: []sarif.Finding{
			{Rule: "errcheck", Severity: sarif.High, Path: "worker/100%.go", Line: 7, Message: "Error return value of `f.Close` is not checked"},
			{Rule: "errcheck", Severity: sarif.High, Path: "worker/100%.go", Line: 9, Message: "Error return value of `f.Close` is not checked"},
			{Rule: "gosec", Severity: sarif.Medium, Path: "worker/main.go", Line: 31, Message: "G404: weak random"},
		}},
		"semgrep": {Tool: "Semgrep OSS", Version: "1.99.0", Findings: []sarif.Finding{
			{Rule: "go.lang.security.audit.xss", Severity: sarif.Critical, Path: "web/page.go", Line: 3, Message: "Written without escaping.", Help: "https://semgrep.dev/r/go.lang.security.audit.xss"},
			{Rule: "go.lang.security.audit.xss", Severity: sarif.Critical, Path: "web/page.go", Line: 8, Message: "Written without escaping.", Help: "https://semgrep.dev/r/go.lang.security.audit.xss"},
		}},
		"codeql": {Tool: "CodeQL, CodeQL other", Findings: []sarif.Finding{
			{Rule: "codeql", Severity: sarif.Low, Message: "CodeQL other"},
			{Rule: "js/sqli", Severity: sarif.Medium, Path: "app/db.js", Line: 2, Message: "From a user provided value into a query."},
		}},
	} {
		if name == "codeql" {
			want.Findings[0].Rule = "CodeQL other"
		}
		t.Run(name, func(t *testing.T) {
			data := file(t, name+".sarif")
			line := func(_ string, n int) string { return fmt.Sprintf("  text %d  ", n) }
			got, err := sarif.Read(data, line, "/src")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(sarif.Finding{}, "Fingerprint")); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			seen := map[string]bool{}
			for _, f := range got.Findings {
				if seen[f.Fingerprint] || len(f.Fingerprint) != 32 {
					t.Errorf("fingerprint %q of %s:%d is there twice, or is none", f.Fingerprint, f.Path, f.Line)
				}
				seen[f.Fingerprint] = true
			}
			roundTrip(t, got)
		})
	}
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func roundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, r sarif.Report) {
	t.Helper()
	data, err := sarif.Write(r)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	got, err := sarif.Read(data, nil)
	if err != nil {
		t.Fatalf("read what was written: %v\n%s", err, data)
	}
	sarif.Sort(r.Findings)
	if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("-written +read\n%s", diff)
	}
	rand.Shuffle(len(r.Findings), func(i, j int) { r.Findings[i], r.Findings[j] = r.Findings[j], r.Findings[i] })
	if again, err := sarif.Write(r); err != nil || string(again) != string(data) {
		t.Fatalf("the same findings in another order were written differently: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string {
			if s := sarif.OneLine(rapid.String().Draw(t, "text")); s != "" {
				return s
			}
			return "x"
		})
		segment := rapid.StringMatching(`[a-zA-Z0-9 %:?#&=+äé…\\"'.-]{1,9}`).Filter(func(s string) bool { return s != "." && s != ".." })
		r := sarif.Report{Tool: text.Draw(t, "tool"), Version: sarif.OneLine(rapid.String().Draw(t, "version"))}
		for i := range rapid.IntRange(0, 20).Draw(t, "findings") {
			f := sarif.Finding{
				Rule: rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "a/b"}), text).Draw(t, "rule"), Severity: rapid.SampledFrom(sarif.Severities()).Draw(t, "severity"),
				Message: text.Draw(t, "message"), Help: rapid.SampledFrom([]string{"", "https://a.example/x?y=1#z", "http://b.example"}).Draw(t, "help"), Fingerprint: sarif.Fingerprint(fmt.Sprint(i)),
			}
			if rapid.Bool().Draw(t, "placed") {
				f.Path = strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "path"), "/")
				f.Line = rapid.IntRange(0, 1<<31).Draw(t, "line")
			}
			r.Findings = append(r.Findings, f)
		}
		roundTrip(t, r)
	})
}

// TestMoved: a finding keeps its fingerprint when its line moves, and when another line is like it there is a number.
func TestMoved(t *testing.T) {
	const doc = `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"t"}},"results":[%s]}]}`
	at := func(lines ...int) string {
		var results []string
		for _, n := range lines {
			results = append(results, fmt.Sprintf(`{"ruleId":"r","message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.go"},"region":{"startLine":%d}}}]}`, n))
		}
		return fmt.Sprintf(doc, strings.Join(results, ","))
	}
	read := func(data string, text string) []sarif.Finding {
		r, err := sarif.Read([]byte(data), func(string, int) string { return text })
		if err != nil {
			t.Fatal(err)
		}
		return r.Findings
	}
	first, moved, indented, changed := read(at(3), "x()"), read(at(70), "x()"), read(at(3), "\tx()  "), read(at(3), "y()")
	if first[0].Fingerprint != moved[0].Fingerprint || first[0].Fingerprint != indented[0].Fingerprint || first[0].Fingerprint == changed[0].Fingerprint {
		t.Errorf("fingerprints %s, moved %s, indented %s, of another text %s", first[0].Fingerprint, moved[0].Fingerprint, indented[0].Fingerprint, changed[0].Fingerprint)
	}
	two := read(at(9, 5), "x()")
	if two[0].Line != 5 || two[0].Fingerprint != first[0].Fingerprint || two[1].Fingerprint == first[0].Fingerprint {
		t.Errorf("two equal lines: %+v", two)
	}
}

func TestMistakes(t *testing.T) {
	result := func(s string) string {
		return `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"t"}},"results":[{"ruleId":"ok","message":{"text":"x"}},` + s + `]}]}`
	}
	uri := func(s string) string {
		return result(`{"ruleId":"r","message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"` + s + `"}}}]}`)
	}
	whole := string(file(t, "trivy.sarif"))
	for name, c := range map[string]struct{ data, want string }{
		"empty":          {" \n", "the file is empty: expected SARIF 2.1.0"},
		"cut short":      {whole[:len(whole)/2], "the file is cut short: expected the rest of the SARIF; the tool may have been killed while it wrote"},
		"no JSON":        {"\n<xml/>", "line 2, column 1: invalid character '<'"},
		"another kind":   {"{\n\"version\":\"2.1.0\",\"runs\":{}}", "line 2, column "},
		"old version":    {`{"version":"2.0.0","runs":[]}`, `version is "2.0.0": expected SARIF 2.1.0`},
		"no runs":        {`{"version":"2.1.0"}`, "runs is missing"},
		"no tool":        {`{"version":"2.1.0","runs":[{}]}`, "runs[0].tool.driver.name is missing"},
		"leaves":         {uri("a/../../b"), `runs[0].results[1]: path "a/../../b" leaves the repository: expected one relative to it`},
		"leaves escaped": {uri("%2e%2e/b"), `path "../b" leaves the repository`},
		"absolute":       {uri("/etc/passwd"), `path "/etc/passwd" is outside of the repository: expected one relative to it, or below /src`},
		"file URI":       {uri("file:///src/../etc/passwd"), `path "/src/../etc/passwd" is outside`},
		"the root":       {uri("file:///src"), "is outside of the repository"},
		"too many":       {result(strings.Repeat(`{"message":{"text":"m"}},`, sarif.MaxFindings) + `{"message":{"text":"m"}}`), "there are 10002 findings, at most 10000 are taken"},
		"long path":      {uri(strings.Repeat("p", sarif.MaxPath+1)), "has 1001 bytes: expected at most 1000"},
		"too large":      {strings.Repeat(" ", sarif.MaxSize+1), "at most 33554432 are read"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := sarif.Read([]byte(c.data), nil, "/src"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %s", err, c.want)
			}
		})
	}
	good := sarif.Finding{Rule: "r", Severity: sarif.Low, Path: "a", Line: 1, Message: "m", Fingerprint: sarif.Fingerprint("a")}
	for want, edit := range map[string]func(*sarif.Finding){
		"rule is":            func(f *sarif.Finding) { f.Rule = "a\nb" },
		"severity is":        func(f *sarif.Finding) { f.Severity = "bad" },
		"path is":            func(f *sarif.Finding) { f.Path = "../a" },
		"line is":            func(f *sarif.Finding) { f.Path = "" },
		"message of 2 bytes": func(f *sarif.Finding) { f.Message = "a\n" },
		"help is":            func(f *sarif.Finding) { f.Help = "javascript:alert(1)" },
		"fingerprint is":     func(f *sarif.Finding) { f.Fingerprint = "1" },
	} {
		f := good
		edit(&f)
		if _, err := sarif.Write(sarif.Report{Tool: "t", Findings: []sarif.Finding{f}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	// What is written can be read, however it looks; what could not is not written.
	many := make([]sarif.Finding, sarif.MaxFindings)
	for i := range many {
		many[i] = sarif.Finding{Rule: strings.Repeat("<", 400), Severity: sarif.Low, Path: strings.Repeat("p", 900), Message: strings.Repeat("<", sarif.MaxMessage), Fingerprint: sarif.Fingerprint(strconv.Itoa(i))}
	}
	data, err := sarif.Write(sarif.Report{Tool: "t", Findings: many})
	if err == nil {
		_, err = sarif.Read(data, nil)
	}
	if err != nil {
		t.Errorf("many, with brackets: %v", err)
	}
	for i := range many {
		many[i].Help = "https://" + strings.Repeat("h", 900)
		many[i].Path, many[i].Rule = strings.Repeat("<", 900), strconv.Itoa(i)+strings.Repeat("<", 300)
	}
	if _, err := sarif.Write(sarif.Report{Tool: "t", Findings: many}); err == nil || !strings.Contains(err.Error(), "at most 33554432: leave out rules, or folders that are not yours") {
		t.Errorf("more than can be read: %v", err)
	}
	if _, err := sarif.Write(sarif.Report{Tool: "t", Findings: []sarif.Finding{good, good}}); err == nil || !strings.Contains(err.Error(), "same fingerprint") {
		t.Errorf("the same fingerprint twice: %v", err)
	}
}

func TestSeverity(t *testing.T) {
	if !sarif.High.AtLeast(sarif.Medium) || sarif.Low.AtLeast(sarif.Medium) || sarif.Severity("x").Rank() != 0 || sarif.Severity("x").AtLeast(sarif.Low) {
		t.Error("severities are out of order")
	}
}

// FuzzRead: whatever is read can be written, and read again.
func FuzzRead(f *testing.F) {
	names, err := filepath.Glob("testdata/*.sarif")
	if err != nil || len(names) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := sarif.Read(data, func(string, int) string { return "x" }, "/src")
		if err == nil {
			roundTrip(t, r)
		}
	})
}
