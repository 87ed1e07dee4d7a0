package farm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// services of each project: what one builds on is a chain of two, so that a run is a graph
// of builds, tests, renders and a rollout.
const services = 4

// targets of a project: the only one has a place to go; of several, six tasks of the team that has a
// service in each are carried out at once in the whole farm. With fewer all runs would wait for them.
func targets(n int, only bool) string {
	text := "version: 1\nproject: " + Project(n) + "\n"
	if !only {
		return text + "quotas: { crew: { running: 6 } }\n"
	}
	return text + "clusters: { one: { labels: { tier: prod } } }\nenvironments:\n  prod: { clusters: { tier: prod }, namespace: chaos, strategy: rolling }\n"
}

// Project names the one with a number.
func Project(n int) string { return fmt.Sprintf("p%d", n) }

// repository makes one with a pipeline; limited: a team has a service in it, and a test is in a group.
func repository(dir, project string, limited bool) error {
	var pipeline strings.Builder
	fmt.Fprintf(&pipeline, "version: 1\nproject: %s\nservices:\n", project)
	files := map[string]string{}
	for i := range services {
		s := fmt.Sprintf("s%d", i)
		test := `unit: { run: "true" }`
		if limited && i == 2 { // one at a time, of all runs of the project
			test = `unit: { run: "true", group: db }`
		}
		fmt.Fprintf(&pipeline, "  %s:\n    path: services/%s\n    test: { %s }\n", s, s, test)
		if limited && i == services-1 {
			fmt.Fprint(&pipeline, "    owner: crew\n")
		}
		if i%2 == 1 {
			fmt.Fprintf(&pipeline, "    needs: [s%d]\n    build: { contexts: { base: \"service:s%d\" } }\n", i-1, i-1)
		}
		files["services/"+s+"/Dockerfile"] = "FROM scratch\nCOPY services/" + s + " /\n"
		files["deploy/"+s+"/kustomization.yaml"] = "resources: [d.yaml]\n"
		files["deploy/"+s+"/d.yaml"] = "kind: Deployment\n"
	}
	files["slipway.yaml"] = pipeline.String()
	for name, text := range files {
		if err := write(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "first"}} {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=chaos", "-c", "user.email=chaos@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %v: %w\n%s", args, err, out)
		}
	}
	return nil
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
