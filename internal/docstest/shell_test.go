package docstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// typed says of a block of commands which file runs the same commands, and what stands
// there if it does. The blocks are not run as they stand.
type typed struct{ page, first, file, proof string }

func elsewhere() []typed {
	return []typed{
		{"README.md", "git clone https://github.com/slipway-build/slipway && cd slipway", "Makefile", "e2e\n\tPATH="},
		{"README.md", "git clone https://github.com/slipway-build/slipway && cd slipway", "Makefile", "\t$(MAKE) demo\n"},
		{"README.md", `export PATH="$PWD/bin:$PATH"`, "internal/e2e/testdata/cli/doctor.txtar", "exec slipway doctor"},
		{"README.md", "slipway init", "internal/e2e/testdata/cli/init.txtar", "exec slipway init\n"},
		{"README.md", "slipway up -d --targets targets.yaml --dev-clusters", "scripts/demo/demo.go", `"up", "-d", "--targets"`}, // with clusters that it starts itself
		{"README.md", "slipway images bootstrap --for .", "scripts/demo/demo.go", `"images", "bootstrap"`},
		{"README.md", "slipway run --dirty", "internal/e2e/testdata/cli/dirty.txtar", "exec slipway --state $STATE run --dirty"},
		{"docs/cli.md", "slipway images bootstrap --for .", "scripts/demo/demo.go", `"images", "bootstrap"`},
		{"docs/cli.md", "slipway init", "internal/e2e/testdata/cli/init.txtar", "exec slipway init --dry-run"},
		{"docs/cli.md", "slipway lint", "internal/e2e/testdata/cli/init.txtar", "exec slipway lint targets.yaml"},
		{"docs/cli.md", "slipway logs latest test/api/unit", "internal/e2e/testdata/cli/run.txtar", "exec slipway --state $STATE logs latest build/api"},
		{"docs/cli.md", "slipway run                              # the commit that is checked out", "internal/e2e/testdata/cli/run.txtar", "exec slipway --state $STATE run\n"},
		{"docs/cli.md", "slipway up --targets targets.yaml --context dev=kind-dev", "scripts/demo/demo.go", `"up", "-d", "--targets"`},
		{"docs/dashboard.md", "slipway dashboard", "slipway/command/command_test.go", `env(t, "dashboard")`},
		// Only that commands and flags exist is tested of these: TestCommands.
		{"docs/cli.md", "slipway diff                             # the commit that is checked out", "docs/cli.md", "## slipway diff\n"},
		{"docs/tracing.md", "slipway up --traces 127.0.0.1:4317      # a farm on one machine", "docs/cli.md", "--traces string"},
		{"docs/tracing.md", `kubectl get deployment api -o jsonpath='{.metadata.annotations.slipway\.dev/traceparent}'`, "docs/tracing.md", "`slipway.dev/traceparent`"},
		// No image builder but Slipway's own is needed for its tests.
		{"docs/install.md", "docker build --target slipway --build-arg VERSION=0.1.0 --tag registry.example.com/slipway:0.1.0 .", "slipway.yaml", "{ dockerfile: Dockerfile, target: slipway }"},
		{"docs/install.md", "docker build --target slipway --build-arg VERSION=0.1.0 --tag registry.example.com/slipway:0.1.0 .", "Dockerfile", "ARG VERSION="},
		// The same Secrets, made through the API.
		{"docs/install.md", "kubectl create namespace slipway", "internal/e2e/install/install_test.go", "secrets makes those of docs/install.md."},
		{"docs/install.md", "helm install slipway charts/slipway --namespace slipway --values values.yaml", "charts/charts_test.go", "func TestTheGuide("},
	}
}

// TestEveryExampleIsListed with what runs its commands: a new one is to be run, or to be
// listed with a reason.
func TestEveryExampleIsListed(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	known, seen := map[string]bool{}, map[string]bool{}
	for _, e := range elsewhere() {
		known[e.page+": "+e.first] = true
		if !strings.Contains(read(e.file), e.proof) {
			t.Errorf("%s does not have %q any more, by which %s of %s is tested", e.file, e.proof, e.first, e.page)
		}
	}
	checked := 0
	for page, text := range pages(t) {
		for _, b := range Blocks(page, text) {
			if b.Language != "sh" {
				continue
			}
			checked++
			key := page + ": " + b.First()
			if !known[key] {
				t.Errorf("%s: no test runs %s: say here which one does", b, b.First())
			}
			seen[key] = true
		}
	}
	for key := range known {
		if seen[key] {
			continue
		}
		t.Errorf("%s: there is no such example any more", key)
	}
	if checked < 10 {
		t.Errorf("only %d examples were found", checked)
	}
}
