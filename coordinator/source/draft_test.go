package source_test

import (
	"encoding/pem"
	"errors"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/internal/gitcmd"
)

func TestADraftIsACommitAndAPatch(t *testing.T) {
	r := newRepo(t)
	parent := r.commit(map[string]string{"deploy/cart/cm.yaml": "color: blue\n", "deploy/run.sh": "#!/bin/sh\n", "README": "shop\n"})
	m := newMirror(t, r.dir)
	at := time.Date(2026, 12, 4, 17, 0, 0, 0, time.UTC)
	d := source.Draft{Parent: parent, Files: map[string][]byte{"deploy/cart/cm.yaml": []byte("color: red\n"), "deploy/new.yaml": []byte("a: b\n")}, Message: "Adopt what is live\n\nwhy\n", Author: "ann <x>\n", At: at}
	commit, patch, err := m.Draft(t.Context(), r.dir, d)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := m.Draft(t.Context(), r.dir, d)
	if err != nil || again != commit {
		t.Errorf("the same draft is %s and %s, %v", commit, again, err)
	}
	// As whoever is given the patch does it.
	p := filepath.Join(t.TempDir(), "patch")
	if err := os.WriteFile(p, patch, 0o600); err != nil {
		t.Fatal(err)
	}
	r.git("am", "--quiet", p)
	if got := r.git("show", "--format=%an|%s|%b", "--stat", "HEAD"); !strings.Contains(got, "ann x (Slipway)|Adopt what is live|why") || !strings.Contains(got, "2 files changed") {
		t.Errorf("the patch is\n%s", got)
	}
	if got := r.git("show", "HEAD:deploy/cart/cm.yaml"); got != "color: red" {
		t.Errorf("the file is %q", got)
	}
	if err := m.Push(t.Context(), r.dir, commit, "slipway/adopt"); !errors.Is(err, source.ErrNotPushed) {
		t.Errorf("pushed to somebody's own repository: %v", err)
	}
	d.Files = map[string][]byte{"deploy": []byte("x")}
	if _, _, err := m.Draft(t.Context(), r.dir, d); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("a folder became a file: %v", err)
	}
}

// TestABranchIsPushed to a server that is git's own.
func TestABranchIsPushed(t *testing.T) {
	r := newRepo(t)
	parent := r.commit(map[string]string{"a": "1\n"})
	root := t.TempDir()
	bare := filepath.Join(root, "shop.git")
	r.git("clone", "-q", "--bare", r.dir, bare)
	r.git("-C", bare, "config", "http.receivepack", "true")
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(&cgi.Handler{Path: git, Args: []string{"http-backend"}, Stderr: t.Output(), Env: []string{
		"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}})
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	g, err := gitcmd.New(gitcmd.Options{Home: filepath.Join(dir, "home"), Env: gitcmd.PassThrough(append(os.Environ(), "GIT_SSL_CAINFO="+ca))})
	if err != nil {
		t.Fatal(err)
	}
	m, err := source.New(source.Config{Dir: filepath.Join(dir, "mirror")}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	at := s.URL + "/shop.git"
	if _, err := m.Resolve(t.Context(), at, "main"); err != nil {
		t.Fatal(err)
	}
	draft := func(text string) string {
		t.Helper()
		commit, _, err := m.Draft(t.Context(), at, source.Draft{Parent: parent, Files: map[string][]byte{"a": []byte(text)}, Message: "m", Author: "ann", At: time.Unix(1_800_000_000, 0)})
		if err != nil {
			t.Fatal(err)
		}
		return commit
	}
	commit := draft("2\n")
	for range 2 { // a repeat is as good
		if err := m.Push(t.Context(), at, commit, "slipway/adopt-prod-1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.git("-C", bare, "rev-parse", "refs/heads/slipway/adopt-prod-1"); got != commit {
		t.Errorf("the branch is at %s, want %s", got, commit)
	}
	if err := m.Push(t.Context(), at, draft("3\n"), "slipway/adopt-prod-1"); !errors.Is(err, source.ErrNotPushed) {
		t.Errorf("a branch of others was replaced: %v", err)
	}
	if err := m.Push(t.Context(), at, commit, "../main"); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("a name that is none: %v", err)
	}
	r.git("-C", bare, "config", "http.receivepack", "false")
	if err := m.Push(t.Context(), at, commit, "other"); !errors.Is(err, source.ErrNotPushed) || !strings.Contains(err.Error(), "right to write") {
		t.Errorf("without the right to write: %v", err)
	}
}
