//go:build e2e

package checks_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/devfarm/devfarmtest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const pipeline = `version: 1
project: vault
defaults:
  scan: { secrets: {}, config: {}, packages: {} }
services:
  api:
    path: api
    scan:
      licenses: { deny: [AGPL-3.0-only] }
      style: { run: sh lint.sh, in: tests, report: out.sarif }
`

const dockerfile = `FROM scratch AS tests
COPY --chmod=755 api/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
WORKDIR /src/api
COPY api .
FROM scratch
COPY api/version /version
USER 1000
`

// lint is a linter: it says in SARIF which files have a tab in them, and ends with 1 if there are any.
const lint = `found=$(grep -n "	" *.txt | head -1)
line=${found#*:}; line=${line%%:*}
{
  echo '{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"tabs"}},"results":['
  [ -z "$found" ] || echo '{"ruleId":"tab","level":"warning","message":{"text":"a tab"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"api/'${found%%:*}'"},"region":{"startLine":'$line'}}}]}'
  echo ']}]}'
} >out.sarif
[ -z "$found" ]
`

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec:
  selector: { matchLabels: { app: api } }
  template:
    metadata: { labels: { app: api } }
    spec:
      containers:
        - name: api
          image: api
`

const advisory = `{
  "schema_version": "1.6.0", "id": "GO-2026-0001", "aliases": ["CVE-2026-1"], "modified": "2026-01-01T00:00:00Z", "summary": "a header can take all memory",
  "severity": [{ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H" }],
  "affected": [{ "package": { "ecosystem": "Go", "name": "golang.org/x/net" }, "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }, { "fixed": "0.23.0" }] }] }]
}`

// found are the findings of a run, but for what the last green commit had.
func found(t *testing.T, farm *devfarmtest.Farm, run string) (out []string, known int) {
	t.Helper()
	stream, err := farm.Runs.Findings(t.Context(), &pb.FindingsRequest{Run: run})
	for err == nil {
		var m *pb.FindingsResponse
		if m, err = stream.Recv(); err != nil {
			break
		}
		for _, f := range m.GetFindings() {
			if f.GetState() == pb.FindingState_FINDING_STATE_KNOWN {
				known++
				continue
			}
			text := fmt.Sprintf("%s %s:%d %s/%s", f.GetSeverity(), f.GetPath(), f.GetLine(), f.GetScan(), f.GetRule())
			if f.GetBlocking() {
				text += " blocks"
			}
			if f.GetWaivedUntil() != "" {
				text += " waived"
			}
			out = append(out, text)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out, known
}

func TestWhatIsPlantedIsFound(t *testing.T) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("needs the package busybox-static: %v", err)
	}
	dir := t.TempDir()
	repo := devfarmtest.NewRepository(t, filepath.Join(dir, "repositories", "vault"))
	targets := filepath.Join(dir, "targets.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(targets, "version: 1\nproject: vault\n")
	write(filepath.Join(dir, "advisories", "GO-2026-0001.json"), advisory)
	// On the first day there is a privileged container already.
	old := strings.Replace(deployment, "image: api\n", "image: api\n          securityContext: { privileged: true }\n", 1)
	repo.Commit(t, map[string]string{
		"slipway.yaml": pipeline, "api/Dockerfile": dockerfile, "api/busybox": string(busybox), "api/version": "1\n", "api/lint.sh": lint, "api/notes.txt": "none\n",
		"api/go.mod": "module example.com/api\n\ngo 1.26\n", "deploy/api/kustomization.yaml": "resources: [d.yaml]\n", "deploy/api/d.yaml": old,
	})
	farm := devfarmtest.StartWith(t, func(c *devfarm.Config) {
		c.Targets, c.Advisories = targets, filepath.Join(dir, "advisories")
	}, filepath.Dir(repo.Dir))
	first := farm.Run(t, repo)
	if first.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("first: %s: %s\n%v", first.GetState(), first.GetMessage(), tasks(first))
	}
	if list, known := found(t, farm, first.GetId()); len(list) > 0 || known != 1 {
		t.Errorf("on the first day %v are new, %d known", list, known)
	}

	token := "glpat" + "-" + strings.Repeat("aB3dE6gH9j", 2) // of the form of GitLab's
	repo.Commit(t, map[string]string{
		"api/config.txt":    "name=api\ntoken=" + token + "\n",
		"api/notes.txt":     "one\ntwo\twords\n",
		"api/go.mod":        "module example.com/api\n\ngo 1.26\n\nrequire golang.org/x/net v0.20.0\n",
		"deploy/api/d.yaml": "# moved\n" + strings.Replace(old, "    spec:\n      containers:", "    spec:\n      hostNetwork: true\n      containers:", 1),
	})
	second := farm.Run(t, repo)
	list, known := found(t, farm, second.GetId())
	want := []string{
		"high api/go.mod:5 packages/GO-2026-0001 blocks", "high deploy/api/d.yaml:10 config/hostNamespaces blocks", "high api/config.txt:2 secrets/gitlab-token blocks", "medium api/notes.txt:2 style/tab",
	}
	slices.Sort(want)
	if d := cmp.Diff(want, list); d != "" || known != 1 || second.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("%s, %d known, (-want +got):\n%s\n%v", second.GetState(), known, d, tasks(second))
	}
	for _, task := range second.GetTasks() {
		if shown := task.String() + logs(t, farm, second.GetId(), task) + documents(t, farm, second.GetId(), task); strings.Contains(shown, token) {
			t.Errorf("%s shows the secret: %s", task.GetId(), shown)
		}
	}

	day := func(d int) string { return time.Now().UTC().AddDate(0, 0, d).Format(time.DateOnly) }
	waivers := func(until string) {
		t.Helper()
		write(targets, "version: 1\nproject: vault\nfindings:\n  waivers:\n    - { rule: packages/*, until: "+until+", reason: x }\n"+
			"    - { rule: config/hostNamespaces, service: api, until: 2099-01-01, reason: x }\n    - { rule: secrets/*, path: api/config.txt, until: 2099-01-01, reason: x }\n")
	}
	waivers(day(1))
	waived := farm.Run(t, repo)
	if waived.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("waived: %s\n%v", waived.GetState(), tasks(waived))
	}
	waivers(day(-1))
	over := farm.Run(t, repo)
	list, _ = found(t, farm, over.GetId())
	if !slices.Contains(list, "high api/go.mod:5 packages/GO-2026-0001 blocks") || over.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("the day after: %s, %v", over.GetState(), list)
	}
}

// logs are what a task wrote.
func logs(t *testing.T, farm *devfarmtest.Farm, run string, task *pb.Task) string {
	t.Helper()
	if len(task.GetAttempts()) == 0 {
		return ""
	}
	stream, err := pb.NewLogServiceClient(farm.Conn).Tail(t.Context(), &pb.TailRequest{Run: run, Task: task.GetId()})
	var b strings.Builder
	for err == nil {
		var m *pb.TailResponse
		if m, err = stream.Recv(); err == nil {
			b.Write(m.GetData())
		}
	}
	if !errors.Is(err, io.EOF) || b.Len() == 0 && strings.HasPrefix(task.GetId(), "scan/") {
		t.Errorf("logs of %s: %d bytes, %v", task.GetId(), b.Len(), err)
	}
	return b.String()
}

// documents are what a task left.
func documents(t *testing.T, farm *devfarmtest.Farm, run string, task *pb.Task) string {
	t.Helper()
	stream, err := farm.Runs.Download(t.Context(), &pb.DownloadRequest{Run: run, Task: task.GetId()})
	var b strings.Builder
	for err == nil {
		var m *pb.DownloadResponse
		if m, err = stream.Recv(); err == nil {
			b.Write(m.GetData())
		}
	}
	if status.Code(err) != codes.NotFound && !errors.Is(err, io.EOF) {
		t.Errorf("the document of %s: %v", task.GetId(), err)
	}
	return b.String()
}

func tasks(r *pb.Run) string {
	var b strings.Builder
	for _, t := range r.GetTasks() {
		fmt.Fprintf(&b, "%s %s %s\n", t.GetId(), t.GetState(), t.GetMessage())
	}
	return b.String()
}
