package source_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/coordinator/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// children are the processes of git that a test has started and not ended.
func children(t *testing.T) []int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "pgrep", "-P", strconv.Itoa(os.Getpid()), "-x", "git").Output()
	var none *exec.ExitError
	if err != nil && !errors.As(err, &none) {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// TestProcessesStay: reading starts no process for each question, goes on when one was
// killed, and leaves none behind.
func TestProcessesStay(t *testing.T) {
	r := newRepo(t)
	first := r.commit(map[string]string{"a": "1", "b/c": "2"})
	second := r.commit(map[string]string{"a": "2"})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	read := func() {
		t.Helper()
		for c, want := range map[string]string{first: "1", second: "2"} {
			if data, err := m.File(t.Context(), r.dir, c, "a"); err != nil || string(data) != want {
				t.Fatalf("%q, %v", data, err)
			}
		}
	}
	read()
	before := children(t)
	read()
	if diff := cmp.Diff(before, children(t)); diff != "" || len(before) == 0 {
		t.Errorf("other processes (-before +after):\n%s", diff)
	}
	for _, pid := range before {
		p, err := os.FindProcess(pid)
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.File(ctx, r.dir, first, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := m.Files(t.Context(), r.dir, first, []string{"nowhere"}); err != nil {
		t.Error(err)
	}
	read()
	m.Close()
	if left := children(t); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// TestMoreThanOneQuestion: more files than are asked for at once, one of which is too large.
func TestMoreThanOneQuestion(t *testing.T) {
	r := newRepo(t)
	files := map[string]string{}
	for i := range 1201 {
		files[fmt.Sprintf("f%04d", i)] = strings.Repeat(fmt.Sprintln(i), i)
	}
	files["f0000"] = "0"
	c := r.commit(files)
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	got, err := m.Files(t.Context(), r.dir, c, []string{"f*"})
	if err != nil || len(got) != len(files) {
		t.Fatalf("%d files, %v", len(got), err)
	}
	for name, data := range got {
		if string(data) != files[name] {
			t.Errorf("%s is not what was committed", name)
		}
	}
	large := r.commit(map[string]string{"f0700": strings.Repeat("x", 1<<20+1)})
	resolve(t, m, r.dir, "main")
	if _, err := m.Files(t.Context(), r.dir, large, []string{"f*"}); !errors.Is(err, source.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if got, err := m.Files(t.Context(), r.dir, c, []string{"f070*"}); err != nil || len(got) != 10 {
		t.Errorf("afterwards: %d files, %v", len(got), err)
	}
}

// TestAsGitSays: what has changed, and what there is, is what git itself answers, whatever
// became of a name.
func TestAsGitSays(t *testing.T) {
	r := newRepo(t)
	commits := []string{r.commit(map[string]string{"a": "1", "b/c": "1", "b/d/e": "1", "gone/x": "1", "gone/y/z": "1", "same/x": "1", "a-b": "1", "a.b/x": "1"})}
	step := func(change func()) {
		change()
		r.git("add", "-A")
		r.git("commit", "-q", "-m", "change")
		commits = append(commits, r.git("rev-parse", "HEAD"))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	step(func() { // a file becomes a folder, a folder a file, one a link, and one goes
		must(os.Remove(filepath.Join(r.dir, "a")))
		must(os.Mkdir(filepath.Join(r.dir, "a"), 0o755))
		must(os.WriteFile(filepath.Join(r.dir, "a", "x"), nil, 0o644))
		must(os.RemoveAll(filepath.Join(r.dir, "b")))
		must(os.WriteFile(filepath.Join(r.dir, "b"), []byte("b"), 0o644))
		must(os.RemoveAll(filepath.Join(r.dir, "gone")))
		must(os.Symlink("a/x", filepath.Join(r.dir, "gone")))
	})
	step(func() { must(os.Chmod(filepath.Join(r.dir, "same/x"), 0o755)) })
	step(func() { // a submodule, which git takes for what it is by its folder
		r.git("clone", "-q", ".", "same/module")
	})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	for _, from := range commits {
		for _, to := range commits {
			got, err := m.Changed(t.Context(), r.dir, from, to)
			must(err)
			want := strings.Fields(r.git("diff-tree", "-r", "--name-only", "--no-renames", from, to))
			slices.Sort(want)
			if diff := cmp.Diff(strings.Join(want, " "), strings.Join(got, " ")); diff != "" {
				t.Errorf("changed from %.7s to %.7s (-want +got):\n%s", from, to, diff)
			}
		}
		tree, err := m.Tree(t.Context(), r.dir, from, strings.Fields(r.git("ls-tree", "-r", "-t", "--name-only", from)))
		must(err)
		for line := range strings.Lines(r.git("ls-tree", "-r", "-t", from)) {
			f := strings.Fields(line)
			if e := tree[f[3]]; e.Mode != f[0] || e.ID != f[2] {
				t.Errorf("%s is %v, want %s", f[3], e, line)
			}
		}
	}
}

// TestABranchNamedAsACommit is not taken for the commit.
func TestABranchNamedAsACommit(t *testing.T) {
	r := newRepo(t)
	want := r.commit(map[string]string{"a": "1"})
	other := r.commit(map[string]string{"a": "2"})
	r.git("update-ref", "refs/heads/"+want, other)
	if got := resolve(t, newMirror(t, r.dir), r.dir, want); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
