package workspace_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/worker/workspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, keep int64, limits workspace.Limits) *workspace.Cache {
	t.Helper()
	return openIn(t, t.TempDir(), keep, limits)
}

func openIn(t testing.TB, dir string, keep int64, limits workspace.Limits) *workspace.Cache {
	t.Helper()
	c, err := workspace.Open(workspace.Config{Dir: dir, Keep: keep, Limits: limits, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func of(commit string, paths ...string) workspace.Source {
	return workspace.Source{Project: "shop", Commit: commit, Paths: paths}
}

// get acquires a source, which is released at the end of the test or before.
func get(t testing.TB, c *workspace.Cache, s workspace.Source, o *origin) (workspace.Checkout, func()) {
	t.Helper()
	f, release, err := c.Acquire(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return f, release
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCheckout(t *testing.T) {
	sum := sha256.Sum256([]byte("large"))
	large := item{workspace.Entry{Path: "large", Kind: workspace.File, ID: workspace.Content{SHA256: string(sum[:])}}, "large"}
	o := &origin{commits: map[string][]item{"c1": {
		entry("a/run.sh", workspace.Executable, "run"), link("a/x", "../b/c/x"), file("b/c/x", "x"), file("b/same", "run"), large,
		{workspace.Entry{Path: "module", Kind: workspace.Folder}, ""},
	}}}
	got, _ := get(t, open(t, 0, workspace.Limits{}), of("c1", "."), o)
	if want := (workspace.Checkout{Dir: got.Dir, Files: 6, Fetched: 20, Written: 20}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for name, mode := range map[string]os.FileMode{"a/run.sh": 0o555, "b/c/x": 0o444, "b/same": 0o444, "large": 0o444, "b/c": os.ModeDir | 0o755, "a": os.ModeDir | 0o755, "module": os.ModeDir | 0o755} {
		info, err := os.Stat(filepath.Join(got.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode || info.ModTime().Unix() != 315532800 {
			t.Errorf("%s: mode %s, time %s", name, info.Mode(), info.ModTime())
		}
	}
	for name, want := range map[string]string{"a/x": "x", "a/run.sh": "run", "b/same": "run", "large": "large"} {
		if data := content(t, got.Dir, name); data != want {
			t.Errorf("%s has %q", name, data)
		}
	}
}

// TestOnlyWhatChanged: of a second commit one file moves; what two commits have in common is
// one file on the disk; folders with equal content are one folder.
func TestOnlyWhatChanged(t *testing.T) {
	items := []item{link("link", "f001")}
	for i := range 200 {
		items = append(items, file(fmt.Sprintf("f%03d", i), strings.Repeat(fmt.Sprintln(i), 1000)))
	}
	next := slices.Clone(items)
	next[7] = file(items[7].Path, "changed")
	o := &origin{commits: map[string][]item{"c1": items, "c2": next, "revert": items}}
	c := open(t, 0, workspace.Limits{})
	one, _ := get(t, c, of("c1", "."), o)
	o.read, o.bytes = nil, 0
	two, release := get(t, c, of("c2", "."), o)
	if diff := cmp.Diff([]string{items[7].Path}, o.read); diff != "" || o.bytes != 7 || two.Fetched != 7 || two.Written != 7 {
		t.Errorf("%d bytes were read, %+v; paths (-want +got):\n%s", o.bytes, two, diff)
	}
	if content(t, one.Dir, items[7].Path) != items[7].content || content(t, two.Dir, items[7].Path) != "changed" {
		t.Error("the commits have not their own content")
	}
	for _, i := range items[1:] {
		a, err := os.Stat(filepath.Join(one.Dir, i.Path))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(filepath.Join(two.Dir, i.Path))
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(a, b) == (i.Path == items[7].Path) {
			t.Errorf("%s: one file: %v", i.Path, os.SameFile(a, b))
		}
	}
	release()
	o.read = nil
	for _, s := range []workspace.Source{of("c2", "."), of("revert", ".")} {
		again, _ := get(t, c, s, o)
		if !again.Reused || len(o.read) > 0 || s.Commit == "revert" && again.Dir != one.Dir {
			t.Errorf("%s: %+v, %d contents were read", s.Commit, again, len(o.read))
		}
	}
	// Another set of paths, which has the same content.
	if other, _ := get(t, c, of("c1", "x", "y"), o); len(o.read) > 0 || other.Fetched != 0 {
		t.Errorf("%+v, %d contents were read", other, len(o.read))
	}
	// Another project has content of its own.
	if _, _ = get(t, c, workspace.Source{Project: "other", Commit: "c2"}, o); len(o.read) != len(items) {
		t.Errorf("%d contents were read for another project", len(o.read))
	}
}

// TestNotWritable: a folder cannot be used to change what another has. Nothing is read-only for
// root, for whom the modes are looked at alone.
func TestNotWritable(t *testing.T) {
	o := &origin{commits: map[string][]item{"c1": {file("a", "1")}}}
	f, _ := get(t, open(t, 0, workspace.Limits{}), of("c1"), o)
	name := filepath.Join(f.Dir, "a")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o222 != 0 {
		t.Errorf("its mode is %s", info.Mode())
	}
	if os.Geteuid() == 0 {
		return
	}
	if err := os.WriteFile(name, []byte("2"), 0o644); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("written: %v", err)
	}
}

func TestRefused(t *testing.T) {
	for name, items := range map[string][]item{
		"parent":                {file("../x", "")},
		"parent further in":     {file("a/../../x", "")},
		"absolute":              {file("/etc/x", "")},
		"root":                  {file(".", "")},
		"link out":              {link("a", "../x")},
		"absolute link":         {link("a", "/etc/passwd")},
		"twice":                 {file("a", ""), file("a", "")},
		"twice, as link":        {file("a", ""), link("a", "b")},
		"file as folder":        {file("a", ""), file("a/b", "")},
		"through a link":        {link("a", "b"), file("b/x", ""), link("a/y", "x")},
		"long link":             {link("a", strings.Repeat("x", 5000))},
		"too many":              {file("a", ""), file("b", ""), file("c", ""), file("d", "")},
		"too large":             {file("a", strings.Repeat("long", 2000))},
		"too large by one file": {file("a", strings.Repeat("x", 4000)), file("b", strings.Repeat("x", 4000))},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			c := openIn(t, filepath.Join(outer, "in"), 0, workspace.Limits{Files: 3, Bytes: 7000})
			if _, _, err := c.Acquire(t.Context(), of("c1"), &origin{commits: map[string][]item{"c1": items}}); !errors.Is(err, workspace.ErrRefused) {
				t.Errorf("error %v, want refused", err)
			}
			if entries, _ := os.ReadDir(outer); len(entries) != 1 {
				t.Errorf("something was written outside: %v", entries)
			}
			if left := files(t, outer); len(left) != 1 { // the lock
				t.Errorf("something is left: %v", left)
			}
		})
	}
}

func files(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDamaged: what is not what its id names is taken for nobody, and is not the repository's
// mistake.
func TestDamaged(t *testing.T) {
	for name, alter := range map[string]func(path, content string) string{
		"other":  func(_, content string) string { return strings.ToUpper(content) },
		"short":  func(_, content string) string { return content[1:] },
		"longer": func(_, content string) string { return content + "x" },
	} {
		t.Run(name, func(t *testing.T) {
			o := &origin{commits: map[string][]item{"c1": {file("a", "content")}}, alter: alter}
			c := open(t, 0, workspace.Limits{})
			if _, _, err := c.Acquire(t.Context(), of("c1"), o); err == nil || errors.Is(err, workspace.ErrRefused) {
				t.Errorf("error %v, want one that is not the repository's fault", err)
			}
			o.alter = nil
			if f, _ := get(t, c, of("c1"), o); content(t, f.Dir, "a") != "content" {
				t.Error("the damage was kept")
			}
		})
	}
}

func TestSharing(t *testing.T) {
	items := []item{file("a", "1"), file("b", "2")}
	o := &origin{commits: map[string][]item{"c1": items, "c2": append(slices.Clone(items), file("c", "3"))}}
	c := open(t, 0, workspace.Limits{})
	var wg sync.WaitGroup
	for i := range 40 {
		paths := []string{"x", "y"}
		if i%2 == 0 {
			paths = []string{"y", "x"}
		}
		wg.Go(func() {
			f, release, err := c.Acquire(t.Context(), of([]string{"c1", "c2"}[i%4/2], paths...), o)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if _, err := os.Stat(filepath.Join(f.Dir, "a")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(o.read)
	if diff := cmp.Diff([]string{"a", "b", "c"}, o.read); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
}

// TestOneBreaksOff: what an attempt was reading for another one as well, and did not get, the
// other one reads itself.
func TestOneBreaksOff(t *testing.T) {
	away := errors.New("coordinator away")
	begun, waits := make(chan struct{}), make(chan struct{})
	first := &origin{commits: map[string][]item{"c1": {file("a", "1"), file("b", "2")}}, before: func(path string) error {
		if path == "b" {
			close(begun)
			<-waits
			return away
		}
		return nil
	}}
	c := open(t, 0, workspace.Limits{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := c.Acquire(t.Context(), of("c1"), first); !errors.Is(err, away) {
			t.Errorf("error %v, want the fetch's", err)
		}
	})
	<-begun
	second := &origin{commits: map[string][]item{"c2": {file("a", "1"), file("b", "2"), file("c", "3")}}, before: func(path string) error {
		if path == "c" {
			close(waits) // it has claimed only this one
		}
		return nil
	}}
	f, release := get(t, c, of("c2"), second)
	wg.Wait()
	if content(t, f.Dir, "a")+content(t, f.Dir, "b") != "12" {
		t.Error("it is not whole")
	}
	slices.Sort(second.read)
	if got := strings.Join(second.read, " "); got != "b c" {
		t.Errorf("it read %s", got)
	}
	release()
	again, _ := get(t, c, of("c1"), &origin{commits: first.commits})
	if again.Fetched != 0 {
		t.Errorf("%+v", again)
	}
}

func TestEndedWhileWaiting(t *testing.T) {
	waits, begun := make(chan struct{}), make(chan struct{})
	o := &origin{commits: map[string][]item{"c1": {file("a", "1")}, "c2": {file("a", "1"), file("b", "2")}}}
	slow := &origin{commits: o.commits, before: func(string) error { close(begun); <-waits; return nil }}
	c := open(t, 0, workspace.Limits{})
	var wg sync.WaitGroup
	wg.Go(func() { get(t, c, of("c1"), slow) })
	<-begun
	for _, commit := range []string{"c1", "c2"} { // the same folder, and another one with the same file
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("no more")
		cancel(why)
		if _, _, err := c.Acquire(ctx, of(commit), o); !errors.Is(err, why) {
			t.Errorf("%s: %v", commit, err)
		}
	}
	close(waits)
	wg.Wait()
	if f, _ := get(t, c, of("c2"), o); content(t, f.Dir, "a") != "1" {
		t.Error("it is not whole")
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	items := map[string][]item{}
	for _, commit := range []string{"in use", "1", "2", "3"} {
		items[commit] = []item{file("shared", "shared"), file("a", commit)}
	}
	o := &origin{commits: items}
	dir := t.TempDir()
	// Of each folder that nobody uses: itself, its names and its own file.
	c := openIn(t, dir, 2*(3*4096), workspace.Limits{})
	kept, release := get(t, c, of("in use"), o)
	for _, commit := range []string{"1", "2", "1", "3"} {
		_, r := get(t, c, of(commit), o)
		r()
	}
	for _, commit := range []string{"1", "3"} {
		f, r := get(t, c, of(commit), o)
		r()
		if !f.Reused {
			t.Errorf("commit %s is gone", commit)
		}
	}
	o.read = nil
	f, r := get(t, c, of("2"), o)
	r()
	if diff := cmp.Diff([]string{"a"}, o.read); f.Reused || diff != "" {
		t.Errorf("%+v; of what is gone, and not in use, was read (-want +got):\n%s", f, diff)
	}
	if content(t, kept.Dir, "a") != "in use" {
		t.Error("a folder in use was removed")
	}
	release()
	// Names of folders and their content, the lock.
	if left := len(files(t, filepath.Join(dir, "content"))); left > 4 {
		t.Errorf("%d contents are kept", left)
	}
}

// TestNothingIsKept: content goes with the last folder that has it.
func TestNothingIsKept(t *testing.T) {
	o := &origin{commits: map[string][]item{"c1": {file("a", "1"), file("b", "2")}, "c2": {file("a", "1")}}}
	dir := t.TempDir()
	c := openIn(t, dir, 1, workspace.Limits{})
	_, one := get(t, c, of("c1"), o)
	_, two := get(t, c, of("c2"), o)
	for i, step := range []struct {
		release func()
		left    int
	}{{one, 1 + 2}, {two, 1}} { // with the lock: a folder has a name for a content
		step.release()
		if left := files(t, dir); len(left) != step.left {
			t.Errorf("after %d: %v", i, left)
		}
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	cfg := workspace.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	c, err := workspace.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workspace.Open(cfg); err == nil || !strings.Contains(err.Error(), "in use by another worker") {
		t.Errorf("error %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// partial gives runs of strangers less of a commit than others, as a coordinator does where there are submodules.
type partial struct{ trusted, untrusted *origin }

func (p partial) of(s workspace.Source) *origin {
	if s.Untrusted {
		return p.untrusted
	}
	return p.trusted
}

func (p partial) List(ctx context.Context, s workspace.Source, held []string) (string, []workspace.Entry, error) {
	return p.of(s).List(ctx, s, held)
}

func (p partial) Read(ctx context.Context, s workspace.Source, identity string, wanted []int, take func(size int64, content io.Reader) error) error {
	return p.of(s).Read(ctx, s, identity, wanted, take)
}

// A stranger's run of a commit has less than another run of it, whichever was first on the worker.
func TestRunsOfOneCommitThatAreGivenDifferentThings(t *testing.T) {
	from := partial{
		trusted:   &origin{commits: map[string][]item{"c": {file("lib/x", "x"), file("main", "m")}}},
		untrusted: &origin{commits: map[string][]item{"c": {entry("lib", workspace.Folder, ""), file("main", "m")}}},
	}
	for _, first := range []bool{true, false} {
		c := open(t, 0, workspace.Limits{})
		for _, untrusted := range []bool{first, !first} {
			s := of("c", ".")
			s.Untrusted = untrusted
			f, release, err := c.Acquire(t.Context(), s, from)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(f.Dir, "lib/x")); (err == nil) == untrusted {
				t.Errorf("untrusted: %t, first: %t: the submodule's file: %v", untrusted, untrusted == first, err)
			}
			release()
		}
	}
}
