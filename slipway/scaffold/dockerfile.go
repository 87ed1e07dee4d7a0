package scaffold

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// stages parses a Dockerfile; none when it cannot be read.
func (b *builder) stages(name string) []instructions.Stage {
	tree, err := parser.Parse(bytes.NewReader(b.tree.read(name)))
	if err != nil {
		return nil
	}
	stages, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil
	}
	return stages
}

// sources are the paths that COPY and ADD take from the build context.
func sources(stages []instructions.Stage) []string {
	var out []string
	add := func(list []string) {
		for _, s := range list {
			if !strings.Contains(s, "://") && !strings.Contains(s, "$") {
				out = append(out, strings.TrimPrefix(path.Clean("/"+s), "/"))
			}
		}
	}
	for _, stage := range stages {
		for _, c := range stage.Commands {
			switch c := c.(type) {
			case *instructions.CopyCommand:
				if c.From == "" {
					add(c.SourcePaths)
				}
			case *instructions.AddCommand:
				add(c.SourcePaths)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// complete finds context, tests and manifests of a service.
func (b *builder) complete(s *Service) {
	stages := b.stages(s.dockerfile())
	if len(stages) == 0 {
		s.note("%s could not be parsed", s.dockerfile())
	}
	b.context(s, sources(stages))
	b.tests(s, stages)
	b.deploy(s)
}

// context decides from which folder COPY is written, unless a file said so.
func (b *builder) context(s *Service, from []string) {
	if s.Path != "." && s.Context == "" && !b.covers(".", from) || s.Path != "." && s.Context == "" && len(s.Notes) == 0 && b.covers(s.Path, from) {
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
		case p != "." && b.tree.has(p):
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
		if fixed(src) != src && b.tree.dirs[p] || b.tree.has(p) {
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
