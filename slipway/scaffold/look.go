package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/slipway-build/slipway/slipway/scaffold/bake"
)

const (
	maxEntries = 200_000
	maxDepth   = 8
	maxFile    = 1 << 20
	maxItems   = 200 // services and manifests that are looked at
)

// Service is one that was found.
type Service struct {
	Name       string
	Path       string
	Dockerfile string // empty: Dockerfile in Path
	Context    string // empty: the root of the repository
	Target     string
	Args       map[string]string
	Contexts   map[string]string // name in its Dockerfile → service whose image it means
	Secrets    []Secret          // that its Dockerfile mounts
	Platform   string
	SBOM       bool
	Also       []string
	Needs      []string
	Tests      []Test
	Deploy     *Deploy  // nil: nothing was found
	By         string   // the service whose manifests roll it out, if it has none itself
	NoBuild    bool     // it has no image: its manifests roll out images of others
	Notes      []string // what was guessed, or has to be done by hand

	NoProvenance bool

	exact  bool     // its context was said, and is no guess
	base   bool     // others are built upon it, and that is all
	images []string // names that its image has
}

// Options of a Look.
type Options struct {
	Bake   []bake.File                      // to read in place of those at the root of the repository
	NoBake bool                             // read none
	Env    func(name string) (string, bool) // what a variable of a bake file may be set by; nil: nothing
}

// Secret is one that a build needs, and where it was taken from so far: a variable of the environment, or a file.
type Secret struct{ ID, Env, File string }

// name is what slipway.yaml and targets.yaml call it.
func (s Secret) name() string { return label(s.ID, "secret") }

// Test is a command that probably tests a service.
type Test struct{ Name, Run, In string }

// Deploy is where the manifests of a service are.
type Deploy struct {
	Path   string
	Using  string            // kustomize, manifests, helm
	Images map[string]string // image in the manifests → service whose image it means
	Health *Health
}

// Health is the HTTP request of a readiness probe.
type Health struct {
	Path string
	Port int
}

// Found is what a repository has.
type Found struct {
	Project      string
	Services     []*Service // by name
	Environments []string
	Namespaces   map[string]string // of environments whose manifests name one
	Notes        []string          // about the repository as a whole
}

// tree are the files that say something, by their folder.
type tree struct {
	fsys     fs.FS
	files    []string // every file, sorted
	dirs     map[string]bool
	images   []string // Dockerfiles
	compose  []string
	skaffold []string
	bake     []string
	custom   []string // kustomizations
	charts   []string
	unnamed  []string
}

// Look reads a repository. project is its name if the repository says none: that of its folder.
// Mistakes in a bake file are a strictyaml.Problems.
func Look(fsys fs.FS, project string, o Options) (*Found, error) {
	t := &tree{fsys: fsys, dirs: map[string]bool{}}
	if err := t.walk(); err != nil {
		return nil, err
	}
	f := &Found{Project: label(project, "project")}
	b := &builder{tree: t, found: f, byName: map[string]*Service{}, covered: map[string]bool{}, depends: map[string][]string{}}
	if err := b.fromBake(o); err != nil {
		return nil, err
	}
	b.fromCompose()
	b.fromSkaffold()
	b.fromDockerfiles()
	for _, s := range f.Services {
		b.complete(s)
	}
	b.shared()
	for _, s := range f.Services {
		if s.Deploy == nil && s.By == "" && !s.base {
			s.note("no manifests were found: put them into deploy/%s and remove deploy: false", s.Name)
		}
	}
	b.needs()
	b.environments()
	b.advise()
	slices.SortFunc(f.Services, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	return f, nil
}

var errTooMany = errors.New("too many files")

func (t *tree) walk() error {
	n := 0
	err := fs.WalkDir(t.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if d != nil && d.IsDir() && name != "." {
				return fs.SkipDir // one that may not be read
			}
			return err
		}
		if n++; n > maxEntries {
			return errTooMany
		}
		if strings.ContainsFunc(d.Name(), func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }) { // slipway.yaml cannot name it
			t.unnamed = append(t.unnamed, name)
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			if name != "." && (skipped(d.Name()) || strings.Count(name, "/") >= maxDepth) {
				return fs.SkipDir
			}
			t.dirs[name] = true
			return nil
		}
		if d.Type().IsRegular() {
			t.note(name)
		}
		return nil
	})
	if errors.Is(err, errTooMany) {
		return fmt.Errorf("more than %d files: write slipway.yaml by hand (docs/slipway-yaml.md)", maxEntries)
	}
	slices.Sort(t.files) // folders are walked in another order: a/x, then a-b
	return err
}

// skipped are folders with what others wrote.
func skipped(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{"node_modules", "vendor", "dist", "testdata", "__pycache__", "venv", "third_party"}, name)
}

func (t *tree) note(name string) {
	t.files = append(t.files, name)
	base := strings.ToLower(path.Base(name))
	yaml := strings.HasSuffix(base, ".yaml") || strings.HasSuffix(base, ".yml")
	stem := strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml")
	switch {
	case base == "dockerfile" || base == "containerfile" || strings.HasPrefix(base, "dockerfile.") && !strings.HasSuffix(base, ".dockerignore") || strings.HasSuffix(base, ".dockerfile"):
		t.images = append(t.images, name)
	case yaml && (stem == "compose" || stem == "docker-compose"):
		t.compose = append(t.compose, name)
	case yaml && stem == "skaffold":
		t.skaffold = append(t.skaffold, name)
	case slices.Contains(bake.Names(), base):
		t.bake = append(t.bake, name)
	case yaml && stem == "kustomization" || base == "kustomization":
		t.custom = append(t.custom, name)
	case base == "chart.yaml":
		t.charts = append(t.charts, name)
	}
}

// read answers a file; empty when it is not there or too large to be one of those that people write.
func (t *tree) read(name string) []byte {
	info, err := fs.Stat(t.fsys, name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil
	}
	data, err := fs.ReadFile(t.fsys, name)
	if err != nil {
		return nil
	}
	return data
}

func (t *tree) has(name string) bool {
	if t.dirs[name] {
		return true
	}
	_, ok := slices.BinarySearch(t.files, name)
	return ok
}

// exists knows also what is in folders that are not looked at, as vendor.
func (t *tree) exists(name string) bool {
	if t.has(name) {
		return true
	}
	_, err := fs.Stat(t.fsys, name)
	return err == nil
}

// in are the files directly in a folder.
func (t *tree) in(dir string) []string {
	var out []string
	for _, f := range t.files {
		if path.Dir(f) == dir {
			out = append(out, f)
		}
	}
	return out
}

// label makes a DNS label of a name.
func label(name, otherwise string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, name)
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	name = strings.Trim(name[:min(len(name), 63)], "-")
	if name == "" {
		return otherwise
	}
	return name
}
