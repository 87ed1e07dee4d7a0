package scaffold

import (
	"bytes"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// stages parses a Dockerfile, up to the stage that is built; none when it cannot be read. Its global arguments
// with a default are answered too.
func (b *builder) stages(s *Service) ([]instructions.Stage, map[string]string) {
	tree, err := parser.Parse(bytes.NewReader(b.tree.read(s.dockerfile())))
	if err != nil {
		return nil, nil
	}
	stages, meta, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil, nil
	}
	args := map[string]string{}
	for _, m := range meta {
		defaults(args, m.Args)
	}
	for i, st := range stages {
		if s.Target != "" && strings.EqualFold(st.Name, s.Target) {
			return stages[:i+1], args
		}
	}
	return stages, args
}

func defaults(into map[string]string, args []instructions.KeyValuePairOptional) {
	for _, a := range args {
		if a.Value != nil {
			into[a.Key] = *a.Value
		}
	}
}

// sources are the paths that COPY, ADD and bind mounts take from the build context. The value of an argument
// that is not known may be anything.
func sources(stages []instructions.Stage, args ...map[string]string) []string {
	var out []string
	for _, stage := range stages {
		known := map[string]string{}
		expand := func(text string) (string, error) {
			return os.Expand(text, func(name string) string {
				name, otherwise, _ := strings.Cut(name, ":-")
				for _, set := range slices.Backward(append([]map[string]string{known}, args...)) {
					if v := set[name]; v != "" {
						return v
					}
				}
				return orElse(otherwise, "*")
			}), nil
		}
		for _, c := range stage.Commands {
			switch c := c.(type) {
			case *instructions.ArgCommand:
				defaults(known, c.Args)
			case *instructions.CopyCommand:
				if c.From == "" {
					out = append(out, c.SourcePaths...)
				}
			case *instructions.AddCommand:
				out = append(out, c.SourcePaths...)
			case *instructions.RunCommand:
				out = append(out, mounted(c, expand)...)
			}
		}
		for i, s := range out {
			out[i], _ = expand(s) // which has no errors
		}
	}
	out = slices.DeleteFunc(out, func(s string) bool { return strings.Contains(s, "://") || strings.HasPrefix(s, "git@") })
	for i, s := range out {
		out[i] = strings.TrimPrefix(path.Clean("/"+s), "/")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// mounted are the folders of the build context that a command sees.
func mounted(c *instructions.RunCommand, expand instructions.SingleWordExpander) []string {
	var out []string
	if c.Expand(expand) != nil {
		return nil
	}
	for _, m := range instructions.GetMounts(c) {
		if m.Type == instructions.MountTypeBind && m.From == "" {
			out = append(out, m.Source)
		}
	}
	return out
}

// complete finds context, tests and manifests of a service.
func (b *builder) complete(s *Service) {
	stages, args := b.stages(s)
	if len(stages) == 0 {
		s.note("%s could not be parsed", s.dockerfile())
	}
	from := sources(stages, args, s.Args)
	if s.exact {
		b.home(s, from)
	}
	b.context(s, from)
	b.tests(s, stages)
	b.deploy(s)
}

// home finds the folder of a service whose Dockerfile lies among those of others: the only one that it copies, or the one
// with its name or that of an argument.
func (b *builder) home(s *Service, from []string) {
	context := orElse(s.Context, ".")
	if s.Path == context || slices.ContainsFunc(b.tree.in(s.Path), func(f string) bool {
		return !slices.Contains(b.tree.images, f) && !strings.HasSuffix(f, ".dockerignore")
	}) {
		return
	}
	var folders, named []string
	for _, src := range from {
		p := path.Join(context, fixed(src))
		if inside(p, s.Path) || inside(s.Path, p) { // it has something of its own there
			return
		}
		if !b.tree.dirs[p] {
			continue
		}
		folders = append(folders, p)
		if name := label(path.Base(p), ""); name == s.Name || slices.Contains(slices.Collect(maps.Values(s.Args)), path.Base(p)) {
			named = append(named, p)
		}
	}
	if len(named) == 0 {
		named = folders
	}
	if len(named) == 1 {
		s.Dockerfile, s.Path = s.dockerfile(), named[0]
	}
}

// context decides from which folder COPY is written, unless a file said so.
func (b *builder) context(s *Service, from []string) {
	if !s.exact && s.Path != "." && s.Context == "" && (!b.covers(".", from) || len(s.Notes) == 0 && b.covers(s.Path, from)) {
		s.Context = s.Path
		if len(from) > 0 {
			s.note("COPY in its Dockerfile is written from %s", s.Path)
		}
	}
	context := orElse(s.Context, ".")
	for _, src := range from {
		p := path.Join(context, fixed(src))
		switch {
		case inside(p, s.Path):
		case p == "." && s.Path != ".":
			s.note("its Dockerfile copies the whole repository, so every change affects it; narrower COPY lines, and `also` for what they name, make it faster")
			s.Also = append(s.Also, ".")
		case inside(s.Path, p) && p != s.Path: // a folder around it
			s.Also = append(s.Also, p)
		case p != "." && b.tree.exists(p):
			s.Also = append(s.Also, p)
		}
	}
	slices.Sort(s.Also)
	s.Also = slices.Compact(s.Also)
	if slices.Contains(s.Also, ".") {
		s.Also = []string{"."}
	}
}

// covers says that everything that is copied is in a folder.
func (b *builder) covers(dir string, from []string) bool {
	for _, src := range from {
		p := path.Join(dir, fixed(src))
		if fixed(src) != src && b.tree.dirs[p] || b.tree.exists(p) {
			continue
		}
		return false
	}
	return true
}

// fixed is the part of a pattern before its first wildcard, a folder.
func fixed(pattern string) string {
	if i := strings.IndexAny(pattern, "*?["); i >= 0 {
		return path.Dir(pattern[:i] + "x")
	}
	return pattern
}

func inside(p, folder string) bool {
	return folder == "." || p == folder || strings.HasPrefix(p, folder+"/")
}
