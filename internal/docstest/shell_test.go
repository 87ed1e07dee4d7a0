package docstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reader is the test that runs examples as they stand, in the order in which they work.
const reader = "internal/e2e/docs/docs_test.go"

// typed says of a block of commands that reader does not run which file runs the same
// commands, and what stands there if it does.
type typed struct{ page, first, file, proof string }

func elsewhere() []typed {
	return []typed{
		{"README.md", "git clone https://github.com/slipway-build/slipway && cd slipway", "Makefile", "e2e\n\tPATH="},
		{"README.md", "git clone https://github.com/slipway-build/slipway && cd slipway", "Makefile", "\t$(MAKE) demo\n"},
		// No image builder but Slipway's own is needed for its tests.
		{"docs/install.md", "docker build --target slipway --build-arg VERSION=0.1.0 --tag registry.example.com/slipway:0.1.0 .", "slipway.yaml", "{ dockerfile: Dockerfile, target: slipway }"},
		{"docs/install.md", "docker build --target slipway --build-arg VERSION=0.1.0 --tag registry.example.com/slipway:0.1.0 .", "Dockerfile", "ARG VERSION="},
		{"docs/cli.md", "slipway simulate --last 20 --slots 2,4,8 --keep deploy_prod-eu=1", "slipway/command/simulate_test.go", `"--last 20 --slots 2,4,8 --keep deploy_prod-eu=1"`},
		{"docs/cli.md", "slipway download latest build/api -f api.spdx.json", "slipway/command/findings_test.go", `"download", "shop-7", "build/api", "-f"`},
		{"docs/cli.md", "slipway artifacts shop-12", "slipway/command/artifacts_test.go", `"artifacts shop-7 -o json"`},
		{"docs/cli.md", "slipway download latest build/api -f api.spdx.json", "slipway/command/artifacts_test.go", `get("shots", "-C", in)`},
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
			if !known[key] && !readsIt(read(reader), b) {
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

// readsIt tells whether the text of reader has an example.
func readsIt(text string, b Block) bool {
	return strings.Contains(text, fmt.Sprintf("page: %q, first: %q", b.Page, b.First())) || strings.Contains(text, fmt.Sprintf("page: %q, first: `%s`", b.Page, b.First()))
}
