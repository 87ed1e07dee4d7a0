package scan_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/scan"
)

// store keeps blobs in memory.
type store struct {
	mu    sync.Mutex
	blobs map[string][]byte
	reads int
	err   error
}

func (s *store) PutBlob(_ context.Context, data []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if s.blobs == nil {
		s.blobs = map[string][]byte{}
	}
	s.blobs[digest] = data
	return digest, s.err
}

func (s *store) GetBlob(_ context.Context, digest string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if data, ok := s.blobs[digest]; ok {
		return data, s.err
	}
	return nil, errors.New("there is no such blob")
}

// plant makes a workspace.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// result is what a scan that succeeded left.
type result struct {
	outcome  runner.Outcome
	log      string
	findings []sarif.Finding
	raw      string // SARIF
}

func run(t *testing.T, s *store, dir string, work runner.Scan) result {
	t.Helper()
	return runWith(t, scan.New(s, nil), s, dir, work)
}

func runWith(t *testing.T, r *scan.Runner, s *store, dir string, work runner.Scan) result {
	t.Helper()
	rec := &runnertest.Recorder{}
	o := r.Run(t.Context(), runner.Task{ID: "scan/api/x", Attempt: 1, Workspace: dir, Work: work}, rec)
	runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	raw := s.blobs[o.Result.Scan.Report]
	report, err := sarif.Read(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := *o.Result.Scan
	if n := sum.Critical + sum.High + sum.Medium + sum.Low; n != len(report.Findings) || report.Tool != sum.Tool {
		t.Errorf("summary %+v of %d findings of %s", sum, len(report.Findings), report.Tool)
	}
	return result{outcome: o, log: rec.Log(), findings: report.Findings, raw: string(raw)}
}

// places are "severity path:line rule" of findings.
func (r result) places() (out []string) {
	for _, f := range r.findings {
		out = append(out, fmt.Sprintf("%s %s:%d %s", f.Severity, f.Path, f.Line, f.Rule))
	}
	return out
}

func (r result) fingerprint(t *testing.T, rule string) string {
	t.Helper()
	for _, f := range r.findings {
		if f.Rule == rule {
			return f.Fingerprint
		}
	}
	t.Fatalf("no finding of %s in %v", rule, r.places())
	return ""
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestOutside: nothing is read but regular files of the workspace.
func TestOutside(t *testing.T) {
	elsewhere := plant(t, map[string]string{"secret.env": gitlabToken(), "d/secret.env": gitlabToken()})
	dir := plant(t, map[string]string{"a/fine.txt": "x", "b/real.env": gitlabToken()})
	for from, to := range map[string]string{"a/link.env": elsewhere + "/secret.env", "a/folder": elsewhere, "a/up": "../../" + filepath.Base(elsewhere), "a/inside.env": "../b/real.env"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "a/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &store{}
	got := run(t, s, dir, runner.Scan{Using: runner.UsingSecrets, Paths: []string{"a"}})
	same(t, got.places())
	contains(t, got.log, "4 symbolic links were not followed")
	if got.outcome.Message != "nothing found" {
		t.Errorf("message %q", got.outcome.Message)
	}
	for _, p := range []string{"../x", "/etc", "a/folder/secret.env"} {
		o := scan.New(s, nil).Run(t.Context(), runner.Task{ID: "t", Workspace: dir, Work: runner.Scan{Using: runner.UsingSecrets, Paths: []string{p}}}, &runnertest.Recorder{})
		if o.Kind != runner.Failed || o.Class != runner.ClassUser {
			t.Errorf("%s: %s: %s", p, o.Kind, o.Message)
		}
	}
	// requirements.txt may name other files: those of the workspace alone.
	blob := pack(t, s)
	dir = plant(t, map[string]string{"requirements.txt": "-r ../x/secret.txt\n-r " + elsewhere + "/secret.env\n-r more.txt\n", "more.txt": "django==1.0\n"})
	same(t, run(t, s, dir, runner.Scan{Using: runner.UsingPackages, Paths: []string{"."}, Advisories: blob}).places(), "medium requirements.txt:3 PYSEC-1")
}

func TestConformance(t *testing.T) {
	dir := plant(t, map[string]string{"a.txt": "x"})
	task := func(work runner.Scan) func() runner.Task {
		return func() runner.Task { return runner.Task{ID: "scan/x", Workspace: dir, Work: work} }
	}
	runnertest.Conform(t, runnertest.Cases{
		Runner: scan.New(&store{}, nil), Succeeds: task(runner.Scan{Using: runner.UsingSecrets, Paths: []string{"."}}), Fails: task(runner.Scan{Using: "nothing"}),
	})
	o := scan.New(&store{err: errors.New("the disk is full")}, nil).Run(t.Context(), task(runner.Scan{Using: runner.UsingSecrets, Paths: []string{"."}})(), &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
	o = scan.New(&store{}, nil).Run(t.Context(), task(runner.Scan{Test: &runner.Test{}})(), &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
}
