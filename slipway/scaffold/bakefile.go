package scaffold

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
	"github.com/slipway-build/slipway/slipway/scaffold/bake"
)

// fromBake makes services of the targets that bake builds; which those are is then decided. Mistakes in its files are an error.
func (b *builder) fromBake(o Options) error {
	c := bake.Config{Files: o.Bake, Env: o.Env}
	if len(c.Files) == 0 && !o.NoBake {
		for _, name := range bake.Names() {
			if b.tree.has(name) {
				c.Files = append(c.Files, bake.File{Name: name, Data: b.tree.read(name)})
			}
		}
		if len(c.Files) > 0 {
			c.Base = b.composeTargets()
		}
	}
	var names []string
	for _, f := range c.Files {
		names = append(names, f.Name)
	}
	b.unread(o, names)
	if len(c.Files) == 0 {
		return nil
	}
	def, err := bake.Read(c)
	if err != nil {
		return err
	}
	b.bake = strings.Join(names, " and ")
	services := map[string]*Service{}
	for i := range def.Targets {
		if s := b.baked(&def.Targets[i]); s != nil {
			services[def.Targets[i].Name] = s
		}
	}
	for i := range def.Targets {
		if s := services[def.Targets[i].Name]; s != nil {
			b.contexts(s, &def.Targets[i], services)
		}
	}
	b.leftOut(def)
	if len(services) == 0 { // then nothing is decided
		b.bake = ""
	}
	return nil
}

// unread notes bake files that were not read.
func (b *builder) unread(o Options, read []string) {
	for _, f := range b.tree.bake {
		switch {
		case slices.Contains(read, f):
		case o.NoBake || len(o.Bake) > 0:
			b.note("%s was not read", f)
		default:
			b.note("%s is not read, since it is not at the root of the repository: slipway init --bake %s reads it, with paths from the root", f, f)
		}
	}
}

// composeTargets are those of a Compose file at the root, which bake puts its own on top of.
func (b *builder) composeTargets() []bake.Target {
	var out []bake.Target
	for _, file := range b.tree.compose {
		if path.Dir(file) != "." {
			continue
		}
		services, err := b.composed(file)
		if err != nil {
			continue // which fromCompose says
		}
		for _, name := range slices.Sorted(maps.Keys(services)) {
			if c := services[name].Build; c != nil {
				out = append(out, bake.Target{Name: name, At: strictyaml.At(file, nil, 0, 0), Context: c.Context, Dockerfile: c.Dockerfile, Stage: c.Target, Args: c.Args})
			}
		}
	}
	return out
}

// baked makes a service of a target; nil, and a note, where it cannot be one.
func (b *builder) baked(t *bake.Target) *Service {
	dir, ok := local(t.Context)
	if !ok {
		b.note("%s: the target %s is left out: its context is %s, and a service is built from the repository", place(t.At), t.Name, strictyaml.Quote(t.Context))
		return nil
	}
	dockerfile, rooted := strings.CutPrefix(t.Dockerfile, "cwd://")
	if !rooted {
		dockerfile = path.Join(dir, dockerfile)
	}
	if info, err := fs.Stat(b.tree.fsys, dockerfile); err != nil || !info.Mode().IsRegular() {
		b.note("%s: the target %s is left out: its Dockerfile would be %s, which is not in the repository", place(t.At), t.Name, strictyaml.Quote(dockerfile))
		return nil
	}
	at := dir
	if inside(dockerfile, dir) {
		at = path.Dir(dockerfile)
	}
	name := t.Name
	if name == "default" {
		name = b.found.Project
	}
	s := b.service(name, dockerfile, at)
	if s == nil {
		return nil
	}
	s.exact, s.base = true, t.Linked
	if dir != "." {
		s.Context = dir
	}
	if s.Args = t.Args; t.Stage != "" && !regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]{0,127}$`).MatchString(t.Stage) {
		b.note("%s: the target %s builds the stage %s: give it a name in the Dockerfile, and here target", place(t.At), t.Name, strictyaml.Quote(t.Stage))
	} else {
		s.Target = t.Stage
	}
	for _, tag := range t.Tags {
		s.images = append(s.images, repository(tag))
	}
	s.note("it is the target %s of %s", t.Name, b.bake)
	if s.base {
		s.note("it is in no group: others are built upon it")
	}
	s.SBOM, s.NoProvenance = t.SBOM, !t.Provenance
	b.secrets(s, t)
	s.Platform = platform(t)
	for k := range s.Args {
		if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`).MatchString(k) {
			b.note("%s: the build argument %s of %s is left out: slipway.yaml has letters, digits and _ in such names", place(t.At), strictyaml.Quote(k), s.Name)
			delete(s.Args, k)
		}
	}
	s.dropSecrets()
	return s
}

// local is a context as a folder of the repository.
func local(context string) (string, bool) {
	context = strings.TrimPrefix(context, "cwd://")
	if strings.Contains(context, "://") || strings.HasPrefix(context, "target:") || strings.HasPrefix(context, "git@") || context == "-" {
		return "", false
	}
	dir := path.Clean(orElse(context, "."))
	return dir, fs.ValidPath(dir)
}

func place(at strictyaml.Pos) string {
	if at.Line == 0 {
		return at.Path()
	}
	return at.String()
}

func (b *builder) secrets(s *Service, t *bake.Target) {
	for _, v := range t.Secrets {
		if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$`).MatchString(v.ID) || len(s.Secrets) >= 32 {
			b.note("%s: the secret %s of %s is left out: slipway.yaml has at most 32, with letters, digits and . _ - in their ids", v.At, strictyaml.Quote(v.ID), s.Name)
			continue
		}
		s.Secrets = append(s.Secrets, Secret{v.ID, v.Env, v.File})
	}
	if len(s.Secrets) > 0 {
		s.note("where its secrets are kept is said in targets.yaml, below secrets")
	}
}

// platform is the only one that a target names; several are left out.
func platform(t *bake.Target) string {
	valid := regexp.MustCompile(`^linux/(amd64|arm64|arm|386|ppc64le|riscv64|s390x|loong64)(/v[0-9]{1,2})?$`)
	if len(t.Platforms) == 1 && valid.MatchString(t.Platforms[0].Text) {
		return t.Platforms[0].Text
	}
	if len(t.Platforms) > 0 {
		t.Left = append(t.Left, bake.Value{Text: "platforms", At: t.Platforms[0].At})
	}
	return ""
}

// contexts are the images that a service is built upon.
func (b *builder) contexts(s *Service, t *bake.Target, services map[string]*Service) {
	for _, name := range slices.Sorted(maps.Keys(t.Contexts)) {
		v := t.Contexts[name]
		to, isTarget := strings.CutPrefix(v.Text, "target:")
		why := ""
		switch {
		case !isTarget:
			why = "only images of other targets can be named so: without it the Dockerfile must say FROM or COPY by itself"
		case services[to] == nil:
			why = "the target " + to + " is no service"
		case !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,127}$`).MatchString(name):
			why = "slipway.yaml has letters, digits and . _ / : - in such names"
		}
		if why != "" {
			b.note("%s: the context %s = %s of %s is left out: %s", v.At, name, v.Text, s.Name, why)
			s.note("it will not be built as bake does: the context %s = %s is missing", name, v.Text)
			continue
		}
		if s.Contexts == nil {
			s.Contexts = map[string]string{}
		}
		s.Contexts[name] = services[to].Name
	}
}

// leftOut says what of the targets has no counterpart, each key once.
func (b *builder) leftOut(def *bake.Definition) {
	first, of := map[string]strictyaml.Pos{}, map[string][]string{}
	for _, t := range def.Targets {
		for _, v := range t.Left {
			if _, ok := first[v.Text]; !ok {
				first[v.Text] = v.At
			}
			of[v.Text] = append(of[v.Text], t.Name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(of)) {
		b.note("%s: %s is left out (%s): %s", first[key], key, some(of[key]), instead(key))
	}
	for _, name := range def.Env {
		b.note("the variable %s has the value of the environment, as with bake: what is written here stays as it is", name)
	}
	for _, name := range def.Kept {
		b.note("the variable %s was not taken from the environment, since it looks like a secret", name)
	}
	var others []string
	for _, t := range def.Others {
		others = append(others, t.Name)
		if dir, ok := local(t.Context); ok {
			b.covered[path.Join(dir, t.Dockerfile)] = true
		}
	}
	if len(others) > 0 {
		b.note("%s: left out are the targets that it does not build by itself: %s", b.bake, some(others))
	}
}

// some are the first of many names.
func some(names []string) string {
	if len(names) > 8 {
		return strings.Join(names[:8], ", ") + fmt.Sprintf(" and %d more", len(names)-8)
	}
	return strings.Join(names, ", ")
}

// instead is what takes the place of a key that bake has.
func instead(key string) string {
	switch key {
	case "cache-from", "cache-to", "no-cache", "no-cache-filter", "pull":
		return "a digest of all inputs decides what is built again; see \"The cache in a registry\" in docs/builds.md"
	case "output", "tags":
		return "images are known by digest and go to the farm's registry, or where build.push says"
	case "labels", "annotations":
		return "write LABEL in the Dockerfile"
	case "platforms":
		return "an image is for one, that of the farm or the one of build.platform"
	case "ssh":
		return "use a secret, with RUN --mount=type=secret"
	case "network", "extra-hosts", "entitlements", "resources", "shm-size", "ulimits":
		return "what a build may use is the farm's to say"
	default:
		return "it has no counterpart"
	}
}
