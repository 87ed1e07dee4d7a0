package source_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/internal/gitcmd"
)

// repo is a working tree that tests commit to.
type repo struct {
	t   testing.TB
	dir string
}

func newRepo(t testing.TB) *repo {
	t.Helper()
	r := &repo{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files (an empty content removes) and returns the commit.
func (r *repo) commit(files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		p := filepath.Join(r.dir, name)
		if content == "" {
			r.git("rm", "-q", name)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "change")
	return r.git("rev-parse", "HEAD")
}

func newMirror(t testing.TB, local ...string) *source.Mirror {
	t.Helper()
	dir := t.TempDir()
	g, err := gitcmd.New(gitcmd.Options{Home: filepath.Join(dir, "home"), Env: gitcmd.PassThrough(os.Environ())})
	if err != nil {
		t.Fatal(err)
	}
	m, err := source.New(source.Config{Dir: filepath.Join(dir, "mirror"), LocalPaths: local, FetchLimit: time.Minute}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func resolve(t testing.TB, m *source.Mirror, dir, ref string) string {
	t.Helper()
	c, err := m.Resolve(t.Context(), dir, ref)
	if err != nil {
		t.Fatalf("Resolve(%q): %v", ref, err)
	}
	return c
}

func TestResolve(t *testing.T) {
	r := newRepo(t)
	first := r.commit(map[string]string{"a": "1"})
	r.git("tag", "-a", "-m", "x", "v1")
	r.git("branch", "feature/login")
	second := r.commit(map[string]string{"a": "2"})
	m := newMirror(t, r.dir)
	for ref, want := range map[string]string{
		"main": second, "HEAD": second, "v1": first, "feature/login": first, "refs/tags/v1": first, "refs/heads/main": second,
		first: first, second: second,
	} {
		if got := resolve(t, m, r.dir, ref); got != want {
			t.Errorf("Resolve(%s) = %s, want %s", ref, got, want)
		}
	}
	third := r.commit(map[string]string{"a": "3"})
	if got := resolve(t, m, r.dir, "main"); got != third {
		t.Errorf("after a push: %s, want %s", got, third)
	}
	r.git("reset", "-q", "--hard", first)
	forced := r.commit(map[string]string{"a": "forced"})
	if got := resolve(t, m, r.dir, "main"); got != forced {
		t.Errorf("after a forced push: %s, want %s", got, forced)
	}
	// An unadvertised commit, as `slipway run --dirty` makes it.
	tree := r.git("rev-parse", "HEAD^{tree}")
	dirty := r.git("commit-tree", "-p", "HEAD", "-m", "dirty", tree)
	r.git("update-ref", "refs/slipway/dirty/"+dirty, dirty)
	if got := resolve(t, newMirror(t, r.dir), r.dir, dirty); got != dirty {
		t.Errorf("dirty: %s, want %s", got, dirty)
	}
}

func TestResolveNeedsNoRemoteForKnownCommit(t *testing.T) {
	r := newRepo(t)
	c := r.commit(map[string]string{"a": "1"})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	if err := os.Rename(filepath.Join(r.dir, ".git"), filepath.Join(r.dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if got := resolve(t, m, r.dir, c); got != c {
		t.Errorf("got %s, want %s", got, c)
	}
	if _, err := m.Resolve(t.Context(), r.dir, "main"); !errors.Is(err, source.ErrUnreachable) {
		t.Errorf("branch of a vanished repository: %v", err)
	}
}

func TestResolveWrongRef(t *testing.T) {
	r := newRepo(t)
	r.commit(map[string]string{"a": "1"})
	r.git("branch", "feature/login")
	r.git("tag", "both")
	r.git("branch", "both")
	r.commit(map[string]string{"a": "2"})
	r.git("branch", "-f", "both")
	blob := r.git("rev-parse", "HEAD:a")
	r.git("update-ref", "refs/tags/blob", blob)
	m := newMirror(t, r.dir)
	for ref, want := range map[string]string{
		"mian":                     `has no branch, tag or commit "mian"; did you mean "main"?`,
		"feature/logni":            `did you mean "feature/login"?`,
		"abcdef1":                  "full id of 40 digits",
		strings.Repeat("0123", 10): "has no branch, tag or commit",
		"zzzzzzzzzzzz":             "its branches are both, feature/login, main",
		"both":                     "is a branch and a tag",
		"blob":                     "is not a commit",
	} {
		_, err := m.Resolve(t.Context(), r.dir, ref)
		if !errors.Is(err, source.ErrRefNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve(%s): %v; want ErrRefNotFound with %q", ref, err, want)
		}
	}
	empty := newRepo(t)
	_, err := newMirror(t, empty.dir).Resolve(t.Context(), empty.dir, "main")
	if !errors.Is(err, source.ErrRefNotFound) || !strings.Contains(err.Error(), "was anything pushed") {
		t.Errorf("empty repository: %v", err)
	}
}

func TestHostileRefs(t *testing.T) {
	r := newRepo(t)
	r.commit(map[string]string{"a": "1"})
	m := newMirror(t, r.dir)
	for _, ref := range []string{
		"", "-x", "--upload-pack=touch /tmp/x", "main..x", "main~1", "HEAD^", "main:a", ":/msg", "a b", "@{u}", "@", "main@{1}", "a\nb", "a\x00b",
		"/main", "main/", "a//b", "a/.b", "x.lock", "*", "[a]", `a\b`, "..", ".",
	} {
		if _, err := m.Resolve(t.Context(), r.dir, ref); !errors.Is(err, source.ErrNotAllowed) {
			t.Errorf("Resolve(%q): %v; want ErrNotAllowed", ref, err)
		}
	}
}

func TestHostileRepositories(t *testing.T) {
	r := newRepo(t)
	r.commit(map[string]string{"a": "1"})
	allowed := t.TempDir()
	link := filepath.Join(allowed, "link")
	if err := os.Symlink(r.dir, link); err != nil {
		t.Fatal(err)
	}
	m := newMirror(t, allowed)
	for _, repository := range []string{
		"", "-x", "--upload-pack=x", "ext::sh -c id", "fd::3", "file://" + r.dir, "http://example.com/x", "git://example.com/x", "ftp://example.com/x",
		"https://user:secret@example.com/x", "https://token@example.com/x", "https:///x", "https://-oProxyCommand=x/y", "ssh://-oProxyCommand=x/y",
		"ssh://-oProxyCommand=x@host/y", "ssh://host/-x", "-oProxyCommand=x:y", "host:-x", "relative/path", "./x", "https://example.com",
		"https://example.com/x?y", "https://example.com/x\ny", r.dir, link, allowed + "/../" + filepath.Base(r.dir), "a::b", "https::https://x/y",
	} {
		_, err := m.Resolve(t.Context(), repository, "main")
		if !errors.Is(err, source.ErrNotAllowed) && !errors.Is(err, source.ErrUnreachable) || errors.Is(err, source.ErrUnreachable) && !strings.Contains(repository, "..") {
			t.Errorf("Resolve(%q): %v; want ErrNotAllowed", repository, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
	if _, err := newMirror(t).Resolve(t.Context(), r.dir, "main"); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("local path without local paths: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "401 and 403", "connection refused", "certificate") // what git says in other cases
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := newMirror(t, "/").Resolve(t.Context(), dir, "main")
	if !errors.Is(err, source.ErrUnreachable) || !strings.Contains(err.Error(), "there is no git repository") {
		t.Errorf("folder without a repository: %v", err)
	}
	_, err = m.Resolve(t.Context(), "https://127.0.0.1:1/x.git", "main")
	if !errors.Is(err, source.ErrUnreachable) || !strings.Contains(err.Error(), "does not accept connections") {
		t.Errorf("closed port: %v", err)
	}
}

func TestNothingOfARepositoryIsExecuted(t *testing.T) {
	r := newRepo(t)
	c := r.commit(map[string]string{"a": "1"})
	marker := filepath.Join(t.TempDir(), "ran")
	r.git("config", "uploadpack.packObjectsHook", "touch "+marker+"; exec")
	r.git("config", "core.fsmonitor", "touch "+marker)
	r.git("config", "core.sshCommand", "touch "+marker)
	hook := "#!/bin/sh\ntouch " + marker + "\n"
	for _, name := range []string{"post-checkout", "reference-transaction", "post-upload-pack"} {
		if err := os.WriteFile(filepath.Join(r.dir, ".git", "hooks", name), []byte(hook), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	if err := m.Archive(t.Context(), r.dir, c, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("something of the repository was executed")
	}
}

func TestRead(t *testing.T) {
	r := newRepo(t)
	base := r.commit(map[string]string{
		"slipway.yaml": "version: 1\n", "services/api/service.yaml": "api\n", "services/api/main.go": "x\n", "services/web/service.yaml": "web\n",
		"libs/proto/a": "a\n", "sp ace/ü.txt": "ü\n", ":magic": "m\n", "big": strings.Repeat("x", 1<<20+1),
	})
	if err := os.Symlink("/etc/passwd", filepath.Join(r.dir, "services", "link")); err != nil {
		t.Fatal(err)
	}
	c := r.commit(map[string]string{"services/api/main.go": "y\n", "services/web/service.yaml": "", "new": "n\n"})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	ctx := t.Context()

	changed, err := m.Changed(ctx, r.dir, base, c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"new", "services/api/main.go", "services/link", "services/web/service.yaml"}, changed); diff != "" {
		t.Errorf("Changed (-want +got):\n%s", diff)
	}

	files, err := m.Files(ctx, r.dir, base, []string{"slipway.yaml", "services/*/service.yaml", "missing.yaml", "nowhere/*.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"slipway.yaml": []byte("version: 1\n"), "services/api/service.yaml": []byte("api\n"), "services/web/service.yaml": []byte("web\n")}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("Files (-want +got):\n%s", diff)
	}

	tree, err := m.Tree(ctx, r.dir, c, []string{".", "libs", "libs/proto", "services/api", ":magic", "sp ace/ü.txt", "missing", "services/link"})
	if err != nil {
		t.Fatal(err)
	}
	for p, spec := range map[string]string{".": "HEAD^{tree}", "libs": "HEAD:libs", "libs/proto": "HEAD:libs/proto", "services/api": "HEAD:services/api", "sp ace/ü.txt": "HEAD:sp ace/ü.txt", ":magic": "HEAD::magic"} {
		if got := tree[p].ID; got != r.git("rev-parse", spec) {
			t.Errorf("Tree[%s] = %q", p, got)
		}
	}
	if _, ok := tree["missing"]; ok || len(tree) != 7 {
		t.Errorf("Tree has %d entries: %v", len(tree), tree)
	}

	if got, err := m.File(ctx, r.dir, c, "sp ace/ü.txt"); err != nil || string(got) != "ü\n" {
		t.Errorf("File: %q, %v", got, err)
	}
	for name, kind := range map[string]error{"missing": source.ErrFileNotFound, "services/link": source.ErrFileNotFound, "services": source.ErrFileNotFound, "../x": source.ErrNotAllowed, "/etc/passwd": source.ErrNotAllowed, "a//b": source.ErrNotAllowed, "big": source.ErrTooLarge} {
		if _, err := m.File(ctx, r.dir, c, name); !errors.Is(err, kind) {
			t.Errorf("File(%s): %v; want %v", name, err, kind)
		}
	}

	list, err := m.List(ctx, r.dir, base, "services")
	if err != nil || len(list) != 2 || list[0].Path != "services/api" || !list[0].Dir() {
		t.Errorf("List: %v, %v", list, err)
	}
	if list, err := m.List(ctx, r.dir, c, "."); err != nil || len(list) != 7 {
		t.Errorf("List of the root: %v, %v", list, err)
	}
	if _, err := m.Tree(ctx, r.dir, strings.Repeat("0", 40), []string{"."}); !errors.Is(err, source.ErrRefNotFound) {
		t.Errorf("unknown commit: %v", err)
	}
	if _, err := m.Tree(ctx, r.dir, "main", []string{"."}); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("a branch instead of a commit: %v", err)
	}
}

func TestArchive(t *testing.T) {
	r := newRepo(t)
	r.commit(map[string]string{
		".gitattributes": "secret.txt export-ignore\nversion.txt export-subst\n*.bat text eol=crlf\n*.enc filter=x\n",
		"secret.txt":     "kept\n", "version.txt": "$Format:%H$\n", "run.bat": "a\nb\n", "x.enc": "enc\n", "lib/a": "a\n", "sp ace/b": "b\n",
	})
	if err := os.Chmod(filepath.Join(r.dir, "lib/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("update-index", "--chmod=+x", "lib/a")
	r.git("commit", "-q", "-m", "mode")
	m := newMirror(t, r.dir)
	c := resolve(t, m, r.dir, "main")

	read := func(paths ...string) map[string]string {
		t.Helper()
		var b bytes.Buffer
		if err := m.Archive(t.Context(), r.dir, c, paths, &b); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for tr := tar.NewReader(&b); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return got
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			got[h.Name] = string(data)
			if want := map[bool]int64{true: 0o755, false: 0o644}[h.Name == "lib/a"]; h.Mode != want {
				t.Errorf("%s has mode %o, want %o", h.Name, h.Mode, want)
			}
		}
	}
	all := read()
	want := map[string]string{
		".gitattributes": all[".gitattributes"], "secret.txt": "kept\n", "version.txt": "$Format:%H$\n", "run.bat": "a\nb\n", "x.enc": "enc\n", "lib/a": "a\n", "sp ace/b": "b\n",
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("whole archive (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"lib/a": "a\n", "sp ace/b": "b\n"}, read("lib", "sp ace")); diff != "" {
		t.Errorf("cut archive (-want +got):\n%s", diff)
	}
	err := m.Archive(t.Context(), r.dir, c, []string{"missing"}, io.Discard)
	if !errors.Is(err, source.ErrFileNotFound) {
		t.Errorf("missing path: %v", err)
	}
	if err := m.Archive(t.Context(), r.dir, c, []string{"../x"}, io.Discard); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("path that leaves: %v", err)
	}
}
