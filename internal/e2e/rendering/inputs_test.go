//go:build e2e

package rendering_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// input is one chart or kustomization.
type input struct {
	name    string   // "helm.sh/helm/v4/pkg/cmd/testdata/testcharts/alpine"
	dir     string   // where it is on this machine: a folder, or an archive of one
	from    string   // folder with all that it may refer to; dir or a parent
	archive bool     // dir is one
	values  []string // names of files beside it
}

// module is the folder of a module in Go's module cache.
func module(t *testing.T, name string) string {
	t.Helper()
	return goList(t, name, "{{.Dir}}")
}

func goList(t *testing.T, module, format string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", format, module)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	text := strings.TrimSpace(string(out))
	if err != nil || text == "" {
		t.Fatalf("go list -m %s: %v: run go mod download", module, err)
	}
	return text
}

// charts are all folders with a Chart.yaml, and all archives, below root; those with further files of values count once more
// for each of these.
func charts(t *testing.T, root, name string) []input {
	t.Helper()
	var found []input
	walk(t, root, func(file string) {
		at := path.Join(name, filepath.ToSlash(strings.TrimPrefix(file, root)))
		switch {
		case filepath.Base(file) == "Chart.yaml":
			one := input{name: path.Dir(at), dir: filepath.Dir(file), from: filepath.Dir(file)}
			found = append(found, one)
			beside, err := filepath.Glob(filepath.Join(one.dir, "*values*.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range beside {
				if base := filepath.Base(v); base != "values.yaml" {
					with := one
					with.name, with.values = one.name+" -f "+base, []string{base}
					found = append(found, with)
				}
			}
		case strings.HasSuffix(file, ".tgz"):
			found = append(found, input{name: at, dir: file, from: file, archive: true})
		}
	})
	return found
}

// kustomizations are all folders with a kustomization below root. within says how far up from one its references may lead.
func kustomizations(t *testing.T, root, name string, within func(dir string) string) []input {
	t.Helper()
	var found []input
	walk(t, root, func(file string) {
		if !slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, filepath.Base(file)) {
			return
		}
		dir := filepath.Dir(file)
		found = append(found, input{name: path.Join(name, filepath.ToSlash(strings.TrimPrefix(dir, root))), dir: dir, from: within(dir)})
	})
	return found
}

func walk(t *testing.T, root string, see func(file string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			see(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
