//go:build e2e

package docs_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/docstest"
)

// example is a block of a page, and what is expected of it.
type example struct {
	page, first string   // of its lines
	dir         string   // where it is typed; empty: the reader's repository
	each        bool     // its lines are examples of their own
	want        []string // expressions, in what it prints
	after       func(t *testing.T, r *reader, out string)
}

// course is what a reader types, in an order in which it works.
func course() []example {
	return []example{
		{page: "README.md", first: `export PATH="$PWD/bin:$PATH"`, dir: "slipway", want: []string{`ok +git`, `ok +BuildKit`}},
		{page: "README.md", first: "slipway init", want: []string{"wrote slipway.yaml", "wrote targets.yaml"}, after: withTest},
		{page: "docs/cli.md", first: "slipway init", dir: "other", each: true, want: []string{"wrote slipway.yaml", "docs/schemas/targets.schema.json"}},
		{page: "docs/cli.md", first: "slipway lint", each: true},
		{page: "README.md", first: "slipway up -d --targets targets.yaml --dev-clusters", want: []string{"the farm is up", "slipway down stops it"}},
		{page: "README.md", first: "slipway images bootstrap --for .", want: []string{`busybox:1\.36`}},
		{page: "docs/cli.md", first: "slipway images bootstrap --for .", each: true, want: []string{`golang:1\.24-alpine`}},
		{page: "README.md", first: "slipway run --dirty", want: []string{`build/api +succeeded`, `test/api/unit +succeeded`, `dev/dev healthy`, `run shop-1\S* succeeded`}, after: again},
		{page: "docs/cli.md", first: "slipway logs latest test/api/unit", each: true, want: []string{`test/api/unit wrote nothing in run shop-2-\w+: the same inputs as in run shop-1-\w+, which has its log`, `apply/api@dev/dev .*│`}},
		{page: "docs/cli.md", first: "slipway run                              # the commit that is checked out", each: true, want: []string{`(?s)succeeded.*succeeded.*succeeded.*shop-6`}},
		{page: "docs/cli.md", first: "slipway diff                             # the commit that is checked out", each: true, want: []string{`nothing would be changed of api`, `run shop-\S* succeeded`}},
		{page: "docs/tracing.md", first: `kubectl get deployment api -o jsonpath='{.metadata.annotations.slipway\.dev/traceparent}'`, want: []string{`^00-[0-9a-f]{32}-[0-9a-f]{16}-01`}},
		{page: "docs/dashboard.md", first: "slipway dashboard", want: []string{`^http://127\.0\.0\.1:7421/login#`}, after: prose},
		{page: "docs/cli.md", first: "slipway up --targets targets.yaml --context dev=kind-dev", each: true, want: []string{`(?s)the farm is up.*the farm is up.*the farm is up`}, after: func(t *testing.T, r *reader, _ string) { //nolint:thelper // a step
			r.shell(t, r.repo, "slipway down --state ~/farm")
		}},
		{page: "docs/tracing.md", first: "slipway up --traces 127.0.0.1:4317      # a farm on one machine", want: []string{"the farm is up"}},
	}
}

func TestExamples(t *testing.T) {
	pages, err := docstest.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	for _, e := range course() {
		blocks := docstest.Blocks(e.page, pages[e.page])
		i := slices.IndexFunc(blocks, func(b docstest.Block) bool { return b.Language == "sh" && b.First() == e.first })
		if i < 0 {
			t.Fatalf("%s has no example that begins with %s", e.page, e.first)
		}
		out := r.run(t, e, blocks[i])
		for _, want := range e.want {
			if !regexp.MustCompile(`(?m)` + want).MatchString(out) {
				t.Fatalf("%s: no %q in what it prints:\n%s", blocks[i], want, out)
			}
		}
		if e.after != nil {
			e.after(t, r, out)
		}
	}
}

// run types a block, or each of its lines, and answers what was printed.
func (r *reader) run(t *testing.T, e example, b docstest.Block) string {
	t.Helper()
	t.Logf("%s in %s:\n%s", b, r.place(e.dir), b.Text)
	if !e.each {
		return r.command(t, r.place(e.dir), b.Text)
	}
	var out strings.Builder
	for line := range strings.Lines(b.Text) {
		out.WriteString(r.command(t, r.place(e.dir), line))
	}
	return out.String()
}

// command types what a page shows. What it has of its own, the reader has not: a run, an
// address, a kubectl that may not be on this machine.
func (r *reader) command(t *testing.T, dir, text string) string {
	t.Helper()
	text = strings.NewReplacer("shop-12", "latest", "https://example.com/shop.git", r.repo).Replace(strings.TrimSpace(text))
	switch {
	case strings.HasPrefix(text, "kubectl "):
		return r.kubectl(t, text)
	case strings.HasPrefix(text, "slipway up ") && !strings.Contains(text, " -d"):
		r.shell(t, dir, "slipway down")
		return r.foreground(t, dir, text)
	case strings.HasPrefix(text, "slipway up "):
		r.shell(t, dir, "slipway down")
	}
	return r.shell(t, dir, text)
}

// withTest is what a reader adds to what init has proposed.
func withTest(t *testing.T, r *reader, _ string) {
	t.Helper()
	file := filepath.Join(r.repo, "slipway.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const service = "    path: services/api\n"
	with := strings.Replace(string(text), service, service+"    test: { unit: { run: \"test -f /www/index.html && echo the page is there\" } }\n", 1)
	if with == string(text) {
		t.Fatalf("init proposes no service api:\n%s", text)
	}
	for _, name := range []string{"slipway.yaml", "services.yaml"} { // the second is one of docs/cli.md's
		if err := os.WriteFile(filepath.Join(r.repo, name), []byte(with), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// again is what README.md says after its last command: nothing is built, and the pods are there.
func again(t *testing.T, r *reader, _ string) {
	t.Helper()
	if out := r.shell(t, r.repo, "slipway run --dirty"); !regexp.MustCompile(`build/api +reused`).MatchString(out) || !strings.Contains(out, "unchanged since") {
		t.Errorf("the second run of the same folder:\n%s", out)
	}
	pages, err := docstest.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	const look = "`kubectl --kubeconfig ~/.local/state/slipway/kubeconfig --context dev get pods -A`"
	if !strings.Contains(pages["README.md"], look) {
		t.Errorf("README.md does not say %s any more: look where it says now", look)
	}
	if pods := r.pods(t); !strings.Contains(pods, "api-") {
		t.Errorf("pods: %s", pods)
	}
	r.shell(t, r.repo, "git add -A && git commit -q -m 'A shop'")
}

// prose are the commands that README.md names in its text, and the page behind the link.
func prose(t *testing.T, r *reader, link string) {
	t.Helper()
	pages, err := docstest.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{"slipway plan": "api", "slipway logs -f latest": "│", "slipway trace": "critical path"} {
		if !strings.Contains(pages["README.md"], "`"+command+"`") {
			t.Errorf("README.md does not say %s any more: try what it says now", command)
		}
		if out := r.shell(t, r.repo, command); !strings.Contains(out, want) {
			t.Errorf("%s prints no %q:\n%s", command, want, out)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSpace(link), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Error(fmt.Errorf("the dashboard answers %s: %w", res.Status, err))
	}
}
