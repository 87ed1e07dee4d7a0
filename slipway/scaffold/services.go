package scaffold

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// builder gathers services from everything that names one.
type builder struct {
	tree    *tree
	found   *Found
	byName  map[string]*Service
	covered map[string]bool     // Dockerfiles that belong to a service
	depends map[string][]string // as Compose says
	bake    string              // files of bake that decide which services there are
}

func (b *builder) note(format string, args ...any) {
	b.found.Notes = append(b.found.Notes, fmt.Sprintf(format, args...))
}

// add makes a service of a Dockerfile, unless there is one.
func (b *builder) add(name, dockerfile, dir string) *Service {
	if b.covered[dockerfile] {
		return nil
	}
	if b.bake != "" {
		b.covered[dockerfile] = true
		b.note("%s is in no target of %s, and is left out", dockerfile, b.bake)
		return nil
	}
	return b.service(name, dockerfile, dir)
}

// service makes one, also of a Dockerfile that another is made of.
func (b *builder) service(name, dockerfile, dir string) *Service {
	if len(b.found.Services) >= maxItems {
		return nil
	}
	b.covered[dockerfile] = true
	unique := label(name, "service")
	for n := 2; b.byName[unique] != nil; n++ {
		unique = fmt.Sprintf("%s-%d", label(name, "service"), n)
	}
	s := &Service{Name: unique, Path: dir}
	if dockerfile != path.Join(dir, "Dockerfile") {
		s.Dockerfile = dockerfile
	}
	b.byName[unique] = s
	b.found.Services = append(b.found.Services, s)
	return s
}

func (s *Service) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// dropSecrets leaves build arguments out that slipway.yaml must not hold.
func (s *Service) dropSecrets() {
	for k := range s.Args {
		if regexp.MustCompile(`(?i)passw|token|secret|key|credential`).MatchString(k) {
			delete(s.Args, k)
			s.note("the build argument %s looks like a secret and was left out", k)
		}
	}
}

func (s *Service) dockerfile() string {
	if s.Dockerfile != "" {
		return s.Dockerfile
	}
	return path.Join(s.Path, "Dockerfile")
}

// composeBuild is the build of a Compose service: a folder, or a mapping.
type composeBuild struct {
	Context    string
	Dockerfile string
	Target     string
	Args       map[string]string
}

func (c *composeBuild) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &c.Context) == nil {
		return nil
	}
	var m struct {
		Context, Dockerfile, Target string
		Args                        any
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	c.Context, c.Dockerfile, c.Target = m.Context, m.Dockerfile, m.Target
	args, _ := m.Args.(map[string]any)
	for k, v := range args {
		if text := fmt.Sprint(v); v != nil && !strings.Contains(text, "$") {
			if c.Args == nil {
				c.Args = map[string]string{}
			}
			c.Args[k] = text
		}
	}
	return nil
}

// composeService is what matters of a service of Compose.
type composeService struct {
	Build   *composeBuild
	Image   string
	Depends any `json:"depends_on"`
}

func (b *builder) composed(file string) (map[string]composeService, error) {
	var doc struct{ Services map[string]composeService }
	err := yaml.Unmarshal(b.tree.read(file), &doc)
	return doc.Services, err
}

func (b *builder) fromCompose() {
	b.depends = map[string][]string{}
	for _, file := range b.tree.compose {
		services, err := b.composed(file)
		if err != nil {
			b.note("%s could not be read: %v", file, err)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(services)) {
			c := services[name]
			if c.Build == nil {
				continue
			}
			if known := b.byName[label(name, "service")]; known != nil && b.bake != "" {
				b.depends[known.Name] = dependencies(c.Depends)
				continue
			}
			dir := path.Join(path.Dir(file), c.Build.Context)
			dockerfile := path.Join(dir, orElse(c.Build.Dockerfile, "Dockerfile"))
			if !b.tree.has(dockerfile) {
				b.note("%s builds %s from %s, which is not there", file, name, dockerfile)
				continue
			}
			s := b.add(name, dockerfile, path.Dir(dockerfile))
			if s == nil {
				continue
			}
			s.Target, s.Args, s.exact = c.Build.Target, c.Build.Args, true
			if dir != "." {
				s.Context = dir
			}
			s.note("name and build context are those of %s", file)
			s.dropSecrets()
			b.depends[s.Name] = dependencies(c.Depends)
		}
	}
}

// dependencies are those of depends_on, a list or a mapping.
func dependencies(v any) []string {
	var out []string
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
	case map[string]any:
		out = slices.Collect(maps.Keys(v))
	}
	slices.Sort(out)
	return out
}

func (b *builder) fromSkaffold() {
	for _, file := range b.tree.skaffold {
		var doc struct {
			Build struct {
				Artifacts []struct {
					Image, Context string
					Docker         struct {
						Dockerfile, Target string
						BuildArgs          map[string]string `json:"buildArgs"`
					}
				}
			}
		}
		first, _, _ := strings.Cut(string(b.tree.read(file)), "\n---")
		if err := yaml.Unmarshal([]byte(first), &doc); err != nil {
			b.note("%s could not be read: %v", file, err)
			continue
		}
		for _, a := range doc.Build.Artifacts {
			dir := path.Join(path.Dir(file), a.Context)
			dockerfile := path.Join(dir, orElse(a.Docker.Dockerfile, "Dockerfile"))
			if !b.tree.has(dockerfile) {
				continue
			}
			if s := b.add(path.Base(a.Image), dockerfile, path.Dir(dockerfile)); s != nil {
				s.Target, s.Args, s.exact = a.Docker.Target, a.Docker.BuildArgs, true
				if dir != "." {
					s.Context = dir
				}
				s.note("name and build context are those of %s", file)
				s.dropSecrets()
			}
		}
	}
}

func (b *builder) fromDockerfiles() {
	for _, file := range b.tree.images {
		dir, base := path.Dir(file), strings.ToLower(path.Base(file))
		name := path.Base(dir)
		if dir == "." {
			name = b.found.Project
		}
		if base != "dockerfile" && base != "containerfile" {
			if b.tree.has(path.Join(dir, "Dockerfile")) {
				b.note("%s stands beside a Dockerfile and is left out: if it makes a service of its own, add one with build: { dockerfile: %s }", file, file)
				continue
			}
			name = strings.TrimSuffix(strings.TrimPrefix(base, "dockerfile."), ".dockerfile")
		} else if path.Base(file) != "Dockerfile" && b.tree.has(path.Join(dir, "Dockerfile")) {
			continue
		}
		// src/Dockerfile says less than the folder above it.
		if up := path.Dir(dir); slices.Contains([]string{"src", "app", "docker", "build"}, name) && up != "." {
			name = path.Base(up)
		}
		b.add(name, file, dir)
	}
}

// needs are the dependencies that are rolled out too, but for those that would close a
// circle.
func (b *builder) needs() {
	for _, name := range slices.Sorted(maps.Keys(b.depends)) {
		s := b.byName[name]
		for _, on := range b.depends[name] {
			n := label(on, "")
			if to := b.byName[n]; s.Deploy != nil && to != nil && to.Deploy != nil && !b.reaches(n, name) && !slices.Contains(s.Needs, n) {
				s.Needs = append(s.Needs, n)
			}
		}
	}
}

// reaches says that one service needs another, directly or not.
func (b *builder) reaches(from, to string) bool {
	return from == to || slices.ContainsFunc(b.byName[from].Needs, func(n string) bool { return b.reaches(n, to) })
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
