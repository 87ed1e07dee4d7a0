package worktree_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/slipway/worktree"
)

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDirty(t *testing.T) {
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	git, err := gitcmd.New(gitcmd.Options{Env: gitcmd.PassThrough(os.Environ()), UserConfig: true})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := worktree.Open(t.Context(), git, dir); !errors.Is(err, worktree.ErrNoRepository) {
		t.Errorf("no repository: %v", err)
	}
	run(t, dir, "init", "-q", "-b", "main")
	tree, err := worktree.Open(t.Context(), git, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Head(t.Context()); !errors.Is(err, worktree.ErrNoCommit) {
		t.Errorf("no commit: %v", err)
	}
	write(t, filepath.Join(dir, "sub/a"), "1")
	write(t, filepath.Join(dir, "gone"), "1")
	write(t, filepath.Join(dir, ".gitignore"), "ignored\n")
	run(t, dir, "add", "-A")
	run(t, dir, "commit", "-q", "-m", "x")
	head := run(t, dir, "rev-parse", "HEAD")

	tree, err = worktree.Open(t.Context(), git, filepath.Join(dir, "sub"))
	if err != nil {
		t.Fatal(err)
	}
	if commit, dirty, err := tree.Dirty(t.Context()); err != nil || dirty || commit != head {
		t.Errorf("clean: %s %t %v", commit, dirty, err)
	}
	if changed, err := tree.Changed(t.Context()); err != nil || changed {
		t.Errorf("clean: changed=%t, %v", changed, err)
	}

	write(t, filepath.Join(dir, "sub/a"), "2")
	run(t, dir, "add", "-A")
	write(t, filepath.Join(dir, "sub/a"), "3")
	write(t, filepath.Join(dir, "new"), "n")
	write(t, filepath.Join(dir, "ignored"), "n")
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	status := run(t, dir, "status", "--porcelain")
	commit, dirty, err := tree.Dirty(t.Context())
	if err != nil || !dirty {
		t.Fatalf("%t, %v", dirty, err)
	}
	if got := run(t, dir, "ls-tree", "-r", "--name-only", commit); got != ".gitignore\nnew\nsub/a" {
		t.Errorf("files %q", got)
	}
	if got := run(t, dir, "show", commit+":sub/a"); got != "3" {
		t.Errorf("content %q", got)
	}
	if got := run(t, dir, "rev-parse", commit+"^"); got != head {
		t.Errorf("parent %s, want %s", got, head)
	}
	kept := func() []string {
		return strings.Fields(run(t, dir, "for-each-ref", "--format=%(objectname)", "refs/slipway/dirty/"))
	}
	if got := kept(); len(got) != 1 || got[0] != commit {
		t.Errorf("kept: %v", got)
	}
	if again, _, err := tree.Dirty(t.Context()); err != nil || again != commit || len(kept()) != 1 {
		t.Errorf("the same working tree again: %s, kept %v, %v", again, kept(), err)
	}
	if run(t, dir, "status", "--porcelain") != status || run(t, dir, "rev-parse", "HEAD") != head {
		t.Error("the index or HEAD changed")
	}
	if again, _, err := tree.Dirty(t.Context()); err != nil || again != commit {
		t.Errorf("the same tree gave %s, then %s (%v)", commit, again, err)
	}
	if changed, err := tree.Changed(t.Context()); err != nil || !changed {
		t.Errorf("changed=%t, %v", changed, err)
	}
	for i := range 25 {
		write(t, filepath.Join(dir, "new"), strconv.Itoa(i))
		if commit, _, err = tree.Dirty(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := kept(); len(got) != 20 || !slices.Contains(got, commit) {
		t.Errorf("after 26 working trees %d are kept, want 20 with the newest", len(got))
	}
}
