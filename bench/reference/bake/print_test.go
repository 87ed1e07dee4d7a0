package bake

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipway-build/slipway/internal/strictyaml"
	"github.com/slipway-build/slipway/slipway/scaffold/bake"
)

// resolved is what matters of a target that bake prints.
type resolved struct {
	Context    string             `json:"context"`
	Dockerfile string             `json:"dockerfile"`
	Target     string             `json:"target"`
	Args       map[string]*string `json:"args"`
	Contexts   map[string]string  `json:"contexts"`
	Platforms  []string           `json:"platforms"`
	Secret     []struct {
		ID  string `json:"id"`
		Src string `json:"src"`
		Env string `json:"env"`
	} `json:"secret"`
}

// TestSlipwayReadsWhatBakePrints: of the same files, slipway init has the same targets as bake. It builds
// buildx first, which takes minutes once.
func TestSlipwayReadsWhatBakePrints(t *testing.T) {
	buildx, err := filepath.Abs("../../../.slipway/programs/buildx")
	if err != nil {
		t.Fatal(err)
	}
	if err := install(t.Context(), buildx); err != nil {
		t.Fatal(err)
	}
	anywhere := cmp.Comparer(func(_, _ strictyaml.Pos) bool { return true })
	archives, err := filepath.Glob("../../../slipway/scaffold/testdata/bake*.txtar")
	if err != nil || len(archives) < 2 {
		t.Fatal(archives, err)
	}
	for _, name := range append(archives, "testdata/more.txtar") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			files := map[string][]byte{".npmrc": nil} // of secrets bake asks whether they are there
			for _, f := range a.Files {
				if f.Name == "compose.yaml" { // which is not read here
					continue
				}
				files[f.Name] = f.Data
			}
			for name, data := range files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var read []bake.File
			for _, name := range bake.Names() {
				if data, ok := files[name]; ok {
					read = append(read, bake.File{Name: name, Data: data})
				}
			}
			if diff := cmp.Diff(prints(t, buildx, dir), reads(t, read), anywhere); diff != "" {
				t.Errorf("-bake +slipway:\n%s", diff)
			}
		})
	}
}

func environment() map[string]string {
	return map[string]string{"FROM_ENV": "there", "NUMBER": "7", "SWITCH": "true"}
}

// prints asks bake.
func prints(t *testing.T, buildx, dir string) map[string]bake.Target {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "agent") // bake asks whether there is one
	listener, err := net.Listen("unix", agent)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cmd := exec.CommandContext(t.Context(), buildx, "bake", "--print")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir(), "BUILDX_CONFIG="+t.TempDir(), "SSH_AUTH_SOCK="+agent)
	for k, v := range environment() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bake: %v\n%s", err, &errs)
	}
	var printed struct {
		Target map[string]resolved `json:"target"`
	}
	if err := json.Unmarshal(out, &printed); err != nil {
		t.Fatal(err)
	}
	all := map[string]bake.Target{}
	for name, r := range printed.Target {
		p := bake.Target{Name: name, Context: r.Context, Dockerfile: r.Dockerfile, Stage: r.Target, Args: map[string]string{}, Contexts: map[string]bake.Value{}}
		for k, v := range r.Args {
			p.Args[k] = strings.NewReplacer("$${", "${", "%%{", "%{").Replace(*v)
		}
		for k, v := range r.Contexts {
			p.Contexts[k] = bake.Value{Text: v}
		}
		for _, v := range r.Platforms {
			p.Platforms = append(p.Platforms, bake.Value{Text: v})
		}
		for _, s := range r.Secret {
			p.Secrets = append(p.Secrets, bake.Secret{ID: s.ID, File: s.Src, Env: s.Env})
		}
		all[name] = p
	}
	return all
}

// reads is what Slipway makes of the same, without positions.
func reads(t *testing.T, files []bake.File) map[string]bake.Target {
	t.Helper()
	env := environment()
	def, err := bake.Read(bake.Config{Files: files, Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bake.Target{}
	for _, d := range def.Targets {
		p := bake.Target{Name: d.Name, Context: d.Context, Dockerfile: d.Dockerfile, Stage: d.Stage, Args: d.Args, Contexts: map[string]bake.Value{}}
		for k, v := range d.Contexts {
			p.Contexts[k] = bake.Value{Text: v.Text}
		}
		for _, v := range slices.Compact(slices.Clone(d.Platforms)) {
			p.Platforms = append(p.Platforms, bake.Value{Text: v.Text})
		}
		for _, s := range d.Secrets {
			p.Secrets = append(p.Secrets, bake.Secret{ID: s.ID, File: s.File, Env: s.Env})
		}
		all[d.Name] = p
	}
	return all
}
