package source_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/source"
)

// TestContents: what is served is what was committed, whatever the attributes say, and its
// identity changes with it alone.
func TestContents(t *testing.T) {
	r := newRepo(t)
	large := strings.Repeat("0123456789", 300_000)
	r.commit(map[string]string{
		".gitattributes": "secret.txt export-ignore\nversion.txt export-subst\n*.bat text eol=crlf\n*.enc filter=x\n",
		"secret.txt":     "kept\n", "version.txt": "$Format:%H$\n", "run.bat": "a\nb\n", "x.enc": "enc\n", "lib/a": "a\n", "lib/b/c": large, "sp ace/b": "b\n", "other/x": "x\n",
	})
	if err := errors.Join(os.Symlink("a", filepath.Join(r.dir, "lib/link")), os.Chmod(filepath.Join(r.dir, "lib/a"), 0o755)); err != nil {
		t.Fatal(err)
	}
	r.git("add", "-A")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+r.git("rev-parse", "HEAD")+",lib/module")
	r.git("commit", "-q", "-m", "mode")
	m := newMirror(t, r.dir)
	c := resolve(t, m, r.dir, "main")

	read := func(paths ...string) map[string]string {
		t.Helper()
		list, err := m.Contents(t.Context(), r.dir, c, paths, source.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		var files []source.Entry
		for _, e := range list {
			if e.Submodule() {
				got[e.Path] = "submodule"
				continue
			}
			files = append(files, e)
		}
		err = m.Read(t.Context(), r.dir, c, files, func(i int, size int64, content io.Reader) error {
			var b bytes.Buffer
			n, err := b.ReadFrom(content)
			if n != size {
				t.Errorf("%s: %d bytes of %d", files[i].Path, n, size)
			}
			got[files[i].Path] = files[i].Mode + " " + b.String()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	all := read(".")
	for name, want := range map[string]string{"secret.txt": "kept\n", "version.txt": "$Format:%H$\n", "run.bat": "a\nb\n", "x.enc": "enc\n"} {
		if all[name] != "100644 "+want {
			t.Errorf("%s is %q", name, all[name])
		}
	}
	want := map[string]string{"lib/a": "100755 a\n", "lib/b/c": "100644 " + large, "lib/link": "120000 a", "lib/module": "submodule", "sp ace/b": "100644 b\n"}
	if diff := cmp.Diff(want, read("lib", "sp ace", "lib/b")); diff != "" {
		t.Errorf("cut (-want +got):\n%s", diff)
	}
	stopped := errors.New("stopped")
	list, err := m.Contents(t.Context(), r.dir, c, []string{"lib/b"}, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Read(t.Context(), r.dir, c, list, func(int, int64, io.Reader) error { return stopped }); !errors.Is(err, stopped) {
		t.Errorf("stopped: %v", err)
	}
	read("lib")

	identity := func(commit string, paths ...string) string {
		t.Helper()
		id, err := m.Identity(t.Context(), r.dir, commit, paths, source.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	r.git("rm", "-q", "--cached", "lib/module")
	other := r.commit(map[string]string{"other/x": "y\n"})
	if err := os.Chmod(filepath.Join(r.dir, "lib/a"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.git("commit", "-q", "-a", "-m", "mode")
	mode := resolve(t, m, r.dir, "main")
	for _, same := range [][2]string{{identity(c, "sp ace", "lib/b"), identity(mode, "lib/b", "sp ace")}, {identity(c, "secret.txt"), identity(other, "secret.txt")}} {
		if same[0] != same[1] {
			t.Error("equal content has two identities")
		}
	}
	for _, differ := range [][2]string{{identity(c, "other"), identity(other, "other")}, {identity(other, "lib/a"), identity(mode, "lib/a")}, {identity(c, "lib"), identity(c, "lib", "other")}, {identity(c, "."), identity(c, "lib")}} {
		if differ[0] == differ[1] {
			t.Error("different content has one identity")
		}
	}
	for _, paths := range [][]string{{"missing"}, {"lib", "missing/x"}, {"lib/a/x"}} {
		if _, err := m.Identity(t.Context(), r.dir, c, paths, source.Options{}); !errors.Is(err, source.ErrFileNotFound) {
			t.Errorf("%q: %v", paths, err)
		}
		if _, err := m.Contents(t.Context(), r.dir, c, paths, source.Options{}); !errors.Is(err, source.ErrFileNotFound) {
			t.Errorf("%q: %v", paths, err)
		}
	}
	if _, err := m.Contents(t.Context(), r.dir, c, []string{"../x"}, source.Options{}); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("path that leaves: %v", err)
	}
}
