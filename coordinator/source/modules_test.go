package source_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/source"
)

// TestSubmodules: files of a named submodule are below its path, at the commit that the tree
// names, with what Git LFS has of them.
func TestSubmodules(t *testing.T) {
	lib, other := newRepo(t), newRepo(t)
	lib.commit(map[string]string{"x.c": "old", "include/x.h": "h"})
	pinned := lib.commit(map[string]string{"x.c": "pinned", ".gitattributes": "*.bin filter=lfs\n", "data.bin": pointerTo("data")})
	lib.commit(map[string]string{"x.c": "newer"})
	objects := filepath.Join(lib.dir, ".git/lfs/objects", oid("data")[:2], oid("data")[2:4])
	if err := errors.Join(os.MkdirAll(objects, 0o755), os.WriteFile(filepath.Join(objects, oid("data")), []byte("data"), 0o644)); err != nil {
		t.Fatal(err)
	}
	other.commit(map[string]string{"y": "y"})
	r := newRepo(t)
	module := func(into *repo, path, address, commit string) string {
		into.git("update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
		return "[submodule \"" + path + " x\"]\n\tpath = " + path + "\n\turl = " + address + "\n"
	}
	beside, err := filepath.Rel(r.dir, lib.dir)
	if err != nil {
		t.Fatal(err)
	}
	modules := module(r, "third/lib", beside, pinned)
	modules += module(r, "third/other", other.dir, other.git("rev-parse", "HEAD"))
	modules += module(r, "third/plain", "http://127.0.0.1/x.git", pinned)
	modules += module(r, "third/gone", lib.dir, strings.Repeat("12", 20))
	module(r, "third/unsaid", lib.dir, pinned)
	nested := newRepo(t)
	said := module(nested, "in", lib.dir, pinned)
	file := func(into *repo, name, content string) {
		t.Helper()
		path := filepath.Join(into.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
		into.git("add", name)
	}
	file(nested, ".gitmodules", said)
	nested.git("commit", "-q", "-m", "nested")
	modules += module(r, "third/nested", nested.dir, nested.git("rev-parse", "HEAD"))
	file(r, ".gitmodules", modules)
	file(r, "third/a", "a")
	r.git("commit", "-q", "-m", "modules")
	m := newMirror(t, "/")
	c := resolve(t, m, r.dir, "main")

	with := source.Options{LFS: true, Submodules: []string{"third/lib"}}
	got, err := contents(t, m, r.dir, c, []string{"third/a", "third/lib"}, with)
	want := map[string]string{"third/a": "a", "third/lib/x.c": "pinned", "third/lib/include/x.h": "h", "third/lib/.gitattributes": "*.bin filter=lfs\n", "third/lib/data.bin": "data"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	list, err := m.Contents(t.Context(), r.dir, c, []string{"third"}, with)
	if err != nil {
		t.Fatal(err)
	}
	folders := 0
	for i, e := range list {
		if e.Submodule() {
			folders++
		}
		if i > 0 && list[i-1].Path >= e.Path {
			t.Errorf("%s is behind %s", e.Path, list[i-1].Path)
		}
	}
	if folders != 5 {
		t.Errorf("%d submodules that are not named, want 5", folders)
	}
	for path, want := range map[string]struct {
		kind error
		text string
	}{
		"third/lib": {}, "third/other": {},
		"third/plain":  {source.ErrNotAllowed, `uses "http", which is refused`},
		"third/gone":   {source.ErrRefNotFound, "has no branch, tag or commit"},
		"third/unsaid": {source.ErrFileNotFound, "does not say where submodule"},
		"third/nested": {source.ErrNotAllowed, "submodules of submodules are not fetched"},
		"third/a":      {source.ErrFileNotFound, "has no submodule"},
		"../x":         {source.ErrNotAllowed, "within the repository"},
	} {
		err := m.Submodule(t.Context(), r.dir, c, path)
		if !errors.Is(err, want.kind) || want.kind != nil && !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, want %q", path, err, want.text)
		}
	}
	if err := newMirror(t, r.dir).Submodule(t.Context(), r.dir, c, "third/lib"); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("a folder that is not allowed: %v", err)
	}
}
