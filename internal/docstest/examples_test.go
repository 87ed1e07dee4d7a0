package docstest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	coordinatorconfig "github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	deployerconfig "github.com/slipway-build/slipway/deploy/config"
	workerconfig "github.com/slipway-build/slipway/worker/config"
)

const root = "../.."

func pages(t *testing.T) map[string]string {
	t.Helper()
	out, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestYAML: what pages show is read by the program that it is for. The first line of a
// part of a file says which one it is part of; the rest is filled in.
func TestYAML(t *testing.T) {
	read := map[string]int{}
	for page, text := range pages(t) {
		var pipe *pipeline.Pipeline
		var targets *pipeline.Targets
		for _, b := range Blocks(page, text) {
			if b.Language != "yaml" {
				continue
			}
			kind := kindOf(b.Text)
			read[kind]++
			var err error
			switch kind {
			case "slipway.yaml":
				pipe, err = readPipeline(b.Text)
			case "targets.yaml":
				targets, err = readTargets(b.Text)
			case "coordinator.yaml":
				_, err = coordinatorconfig.Load(write(t, kind, filled(b.Text, map[string]string{
					"state": "/var/lib/slipway", "nats": "{ url: \"tls://nats.internal:4222\" }", "registry": "registry.example.com/shop",
					"tokens": "[{ name: ci, hash: \"sha256:…\", role: submit }]",
				})))
			case "worker.yaml":
				_, err = workerconfig.Load(write(t, kind, b.Text))
			case "deployer.yaml":
				_, err = deployerconfig.Load(write(t, kind, b.Text))
			case "values.yaml": // by the tests of the chart
			default:
				t.Errorf("%s: write in the first line which file this is part of, as # slipway.yaml", b)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", b, kind, err)
			}
		}
		// A page that shows both shows what belongs together.
		if pipe != nil && targets != nil {
			report := pipeline.NewReporter()
			if pipeline.Match(pipe, targets, report); report.Count() > 0 {
				t.Errorf("%s: %v", page, report.Problems())
			}
		}
	}
	for _, kind := range []string{"slipway.yaml", "targets.yaml", "coordinator.yaml", "worker.yaml", "deployer.yaml"} {
		if read[kind] == 0 {
			t.Errorf("no page shows %s", kind)
		}
	}
}

// kindOf is the file that a block is part of.
func kindOf(text string) string {
	if m := regexp.MustCompile(`^# (\w+\.yaml)\n`).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	switch {
	case !strings.HasPrefix(text, "version: 1\n"):
		return ""
	case has(text, "services"):
		return "slipway.yaml"
	default:
		return "targets.yaml"
	}
}

func has(text, key string) bool { return regexp.MustCompile(`(?m)^` + key + `:`).MatchString(text) }

// filled adds keys that a part of a file does not show.
func filled(text string, with map[string]string) string {
	for key, value := range with {
		if !has(text, key) {
			text += key + ": " + value + "\n"
		}
	}
	return text
}

func readPipeline(text string) (*pipeline.Pipeline, error) {
	text = filled(text, map[string]string{"version": "1", "project": "shop", "services": "{ api: { path: services/api } }"})
	p, problems := pipeline.Parse(map[string][]byte{pipeline.File: []byte(text)})
	return p, problems.Err()
}

func readTargets(text string) (*pipeline.Targets, error) {
	text = filled(text, map[string]string{
		"version": "1", "project": "shop", "clusters": "{ here: { labels: { tier: dev } } }", "environments": "{ dev: { clusters: { tier: dev }, namespace: shop-dev } }",
	})
	p, problems := pipeline.ParseTargets("targets.yaml", []byte(text))
	return p, problems.Err()
}

// write makes a file of a configuration, beside it those that it names, and answers its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	for n := 0; strings.Contains(text, "sha256:…"); n++ { // no two the same
		text = strings.Replace(text, "sha256:…", fmt.Sprintf("sha256:%064x", n), 1)
	}
	for _, m := range regexp.MustCompile(`(?:_file|kubeconfig): ([a-z][\w.-]*)`).FindAllStringSubmatch(text, -1) {
		if err := os.WriteFile(filepath.Join(dir, m[1]), []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
