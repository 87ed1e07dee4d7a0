package source_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/source"
)

const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

func TestUnusable(t *testing.T) {
	r := newRepo(t)
	first := r.commit(map[string]string{"services/api/main.go": "x\n", "services/api/pointer.txt": pointer, "docs/a": "a\n"})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	unusable := func(commit string, paths ...string) []source.Unusable {
		t.Helper()
		found, err := m.Unusable(t.Context(), r.dir, commit, paths)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := unusable(first, "."); len(found) > 0 {
		t.Errorf("without attributes of LFS a text is a text: %v", found)
	}

	for name, target := range map[string]string{
		"services/api/passwd": "/etc/passwd", "services/api/up": "../../../x", "services/api/docs": "../../docs", "services/api/nothing": "gone", "link": "..",
	} {
		if err := os.Symlink(target, filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.git("update-index", "--add", "--cacheinfo", "160000,"+first+",services/api/vendor/zlib ü", "--cacheinfo", "160000,"+first+",sub")
	// Staged as they are: the files of a submodule that was not fetched are an empty folder.
	for _, dir := range []string{"services/api/vendor/zlib ü", "sub"} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := r.commit(map[string]string{
		".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "services/api/model.bin": pointer, "services/api/small.bin": "no pointer\n",
		"services/api/large.bin": strings.Repeat("version https://git-lfs.github.com/spec/v1\noid ", 50), "docs/picture.bin": pointer,
	})
	resolve(t, m, r.dir, "main")

	inAPI := []source.Unusable{
		{Path: "services/api/model.bin", Why: source.LFS},
		{Path: "services/api/passwd", Why: source.LeavesRepository, Target: "/etc/passwd"},
		{Path: "services/api/pointer.txt", Why: source.LFS},
		{Path: "services/api/up", Why: source.LeavesRepository, Target: "../../../x"},
		{Path: "services/api/vendor/zlib ü", Why: source.Submodule},
	}
	if diff := cmp.Diff(inAPI, unusable(c, "services/api")); diff != "" {
		t.Errorf("below a folder (-want +got):\n%s", diff)
	}
	all := append([]source.Unusable{{Path: "docs/picture.bin", Why: source.LFS}, {Path: "link", Why: source.LeavesRepository, Target: ".."}}, inAPI...)
	all = append(all, source.Unusable{Path: "sub", Why: source.Submodule})
	if diff := cmp.Diff(all, unusable(c, ".")); diff != "" {
		t.Errorf("everywhere (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]source.Unusable{{Path: "sub", Why: source.Submodule}}, unusable(c, "sub/folder/x", "missing")); diff != "" {
		t.Errorf("below a submodule (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]source.Unusable{{Path: "docs/picture.bin", Why: source.LFS}}, unusable(c, "docs/picture.bin")); diff != "" {
		t.Errorf("a file (-want +got):\n%s", diff)
	}
	if _, err := m.Unusable(t.Context(), r.dir, c, []string{"../x"}); !errors.Is(err, source.ErrNotAllowed) {
		t.Errorf("a path that leaves: %v", err)
	}
}

// TestStrangeNames: what people call their files arrives as it is.
func TestStrangeNames(t *testing.T) {
	r := newRepo(t)
	files := map[string]string{
		"sp ace/ü/日本語.txt": "1\n", "new\nline/a\tb": "2\n", `back\slash "quoted"`: "3\n", "-rf": "4\n", "*": "5\n", "a/[x]": "6\n", "\xff\xfe": "7\n", "#1/$HOME": "8\n",
		"e\u0301": "9\n", "\u00e9": "10\n", strings.Repeat("x", 200) + "/" + strings.Repeat("ü", 100): "11\n",
	}
	base := r.commit(map[string]string{"a/x": "x\n"})
	c := r.commit(files)
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")

	changed, err := m.Changed(t.Context(), r.dir, base, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range changed {
		if _, ok := files[name]; !ok {
			t.Errorf("Changed invents %q", name)
		}
	}
	if len(changed) != len(files) {
		t.Errorf("Changed has %d of %d paths", len(changed), len(files))
	}

	var b bytes.Buffer
	if err := m.Archive(t.Context(), r.dir, c, nil, &b); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for tr := tar.NewReader(&b); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			got[h.Name] = string(data)
		}
	}
	files["a/x"] = "x\n"
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

// TestEmptyCommits: a commit that changes nothing, and one that has nothing.
func TestEmptyCommits(t *testing.T) {
	r := newRepo(t)
	base := r.commit(map[string]string{"a": "1"})
	r.git("commit", "-q", "--allow-empty", "-m", "nothing")
	c := r.git("rev-parse", "HEAD")
	m := newMirror(t, r.dir)
	if got := resolve(t, m, r.dir, "main"); got != c {
		t.Fatalf("got %s, want %s", got, c)
	}
	if changed, err := m.Changed(t.Context(), r.dir, base, c); err != nil || len(changed) > 0 {
		t.Errorf("Changed: %q, %v", changed, err)
	}
	bare := r.git("commit-tree", "-m", "bare", r.git("hash-object", "-t", "tree", "-w", "/dev/null"))
	r.git("update-ref", "refs/heads/bare", bare)
	resolve(t, m, r.dir, "bare")
	if files, err := m.Files(t.Context(), r.dir, bare, []string{"slipway.yaml"}); err != nil || len(files) > 0 {
		t.Errorf("Files of an empty tree: %v, %v", files, err)
	}
	if found, err := m.Unusable(t.Context(), r.dir, bare, []string{"."}); err != nil || len(found) > 0 {
		t.Errorf("Unusable of an empty tree: %v, %v", found, err)
	}
	if err := m.Archive(t.Context(), r.dir, bare, nil, io.Discard); err != nil {
		t.Errorf("Archive of an empty tree: %v", err)
	}
}

// TestManyFiles: nothing gives up on a large repository.
func TestManyFiles(t *testing.T) {
	const n = 100_000
	r := newRepo(t)
	pipe, in := io.Pipe()
	cmd := exec.CommandContext(t.Context(), "git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stdin = r.dir, pipe
	wrote := make(chan error, 1)
	go func() {
		var b bytes.Buffer
		b.WriteString("blob\nmark :1\ndata 6\nsmall\n\n")
		b.WriteString("commit refs/heads/main\ncommitter a <a@example.com> 1700000000 +0000\ndata 1\nx\n")
		attributes := "*.bin filter=lfs\n"
		fmt.Fprintf(&b, "M 100644 inline .gitattributes\ndata %d\n%s\n", len(attributes), attributes)
		for i := range n {
			fmt.Fprintf(&b, "M 100644 :1 services/s%d/d%d/f%d.txt\n", i/1000, i/100, i)
		}
		fmt.Fprintf(&b, "M 100644 inline services/s7/last.bin\ndata %d\n%s\n", len(pointer), pointer)
		_, err := in.Write(b.Bytes())
		_ = in.CloseWithError(err)
		wrote <- err
	}()
	out, err := cmd.CombinedOutput()
	_ = pipe.CloseWithError(err)
	if werr := <-wrote; err != nil || werr != nil {
		t.Fatalf("%v, %v\n%s", err, werr, out)
	}
	m := newMirror(t, r.dir)
	c := resolve(t, m, r.dir, "main")
	found, err := m.Unusable(t.Context(), r.dir, c, []string{"."})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]source.Unusable{{Path: "services/s7/last.bin", Why: source.LFS}}, found); diff != "" {
		t.Errorf("Unusable (-want +got):\n%s", diff)
	}
	files, err := m.Files(t.Context(), r.dir, c, []string{"services/*/service.yaml"})
	if err != nil || len(files) > 0 {
		t.Errorf("Files: %d, %v", len(files), err)
	}
	empty := r.git("commit-tree", "-m", "empty", r.git("hash-object", "-t", "tree", "-w", "/dev/null"))
	r.git("update-ref", "refs/heads/empty", empty)
	resolve(t, m, r.dir, "empty")
	if changed, err := m.Changed(t.Context(), r.dir, empty, c); err != nil || len(changed) != n+2 {
		t.Errorf("Changed: %d paths, %v", len(changed), err)
	}
	read, regular := 0, 0
	pr, pw := io.Pipe()
	archived := make(chan error, 1)
	go func() {
		err := m.Archive(t.Context(), r.dir, c, nil, pw)
		_ = pw.CloseWithError(err)
		archived <- err
	}()
	for tr := tar.NewReader(pr); ; read++ {
		h, err := tr.Next()
		if err != nil {
			break
		}
		if h.Typeflag == tar.TypeReg {
			regular++
		}
	}
	_ = pr.Close()
	if err := <-archived; regular != n+2 || err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Archive: %d files of %d entries, %v", regular, read, err)
	}
}
