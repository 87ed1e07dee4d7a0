package many_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/examples/many"
)

func write(t *testing.T, o many.Options) (files map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	if err := many.Write(dir, o); err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, p))
		files[p] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPipelinesAreRight(t *testing.T) {
	for _, n := range []int{2, 40, 200, many.MaxServices} {
		files := write(t, many.Options{Services: n, Seed: 1, Deployed: true, Tested: true, Busybox: "/bin/true"})
		p, problems := pipeline.Parse(map[string][]byte{pipeline.File: files[pipeline.File]})
		if err := problems.Err(); err != nil {
			t.Fatalf("%d services: %v", n, err)
		}
		if len(p.Services) != n {
			t.Errorf("%d services, want %d", len(p.Services), n)
		}
		folders := map[string]bool{}
		for name := range files {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				folders[dir] = true
			}
		}
		for _, s := range p.Services {
			for _, dir := range s.Paths() {
				if !folders[dir] {
					t.Fatalf("%s of %s is not there", dir, s.Name)
				}
			}
			if files[s.Path+"/Dockerfile"] == nil {
				t.Errorf("%s has no Dockerfile", s.Name)
			}
		}
	}
	if err := many.Write(t.TempDir(), many.Options{Services: many.MaxServices + 1}); err == nil || !strings.Contains(err.Error(), "there can be 2 to 1000") {
		t.Errorf("too many services: %v", err)
	}
}

// TestEqualOptionsMakeEqualFiles, of about the size that was asked for.
func TestEqualOptionsMakeEqualFiles(t *testing.T) {
	o := many.Options{Services: 30, Bytes: 1 << 20, Seed: 7}
	a, b := write(t, o), write(t, o)
	size := 0
	for name, data := range a {
		if string(b[name]) != string(data) {
			t.Errorf("%s differs", name)
		}
		size += len(data)
	}
	if len(a) != len(b) || size < 1<<20 || size > 1<<20+1<<16 {
		t.Errorf("%d and %d files, %d bytes", len(a), len(b), size)
	}
	o.Seed++
	if c := write(t, o); string(c["services/svc-010/files/ballast"]) == string(a["services/svc-010/files/ballast"]) {
		t.Error("another seed makes the same ballast")
	}
}
