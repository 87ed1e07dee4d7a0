package scaffold

import (
	"bytes"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Bases are the images that the Dockerfiles of a repository build upon, as they write
// them, with the defaults of build arguments; sorted.
func Bases(fsys fs.FS) ([]string, error) {
	t := &tree{fsys: fsys, dirs: map[string]bool{}}
	if err := t.walk(); err != nil {
		return nil, err
	}
	var out []string
	for _, file := range t.images {
		out = append(out, bases(t.read(file))...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// bases of a Dockerfile; none of one that cannot be parsed.
func bases(dockerfile []byte) []string {
	tree, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil
	}
	stages, meta, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil
	}
	defaults := map[string]string{}
	for _, arg := range meta {
		for _, kv := range arg.Args {
			if kv.Value != nil {
				defaults[kv.Key] = *kv.Value
			}
		}
	}
	known := map[string]bool{"scratch": true}
	var out []string
	for _, stage := range stages {
		image := os.Expand(stage.BaseName, func(name string) string { // ${NAME:-default} is a name here, too
			name, otherwise, _ := strings.Cut(name, ":-")
			return orElse(defaults[name], otherwise)
		})
		if image != "" && !known[strings.ToLower(image)] {
			out = append(out, image)
		}
		if stage.Name != "" {
			known[strings.ToLower(stage.Name)] = true
		}
	}
	return out
}
