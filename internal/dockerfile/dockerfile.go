// Package dockerfile reads of a Dockerfile what must be known before it is built: the images that
// it stands on.
package dockerfile

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Build is how it is built, as far as the names of images depend on it.
type Build struct {
	Args     map[string]string   // build arguments
	Contexts map[string]struct{} // build contexts: what they are named is no image
	Platform string              // e.g. linux/amd64
}

// Bases are the full names of the images that a Dockerfile names: in FROM, COPY --from and RUN
// --mount=from, sorted; of stages that the target does not need too. A name with an argument that
// nobody gives is none.
func Bases(src []byte, b Build) ([]string, error) {
	tree, err := parser.Parse(bytes.NewReader(src))
	if err != nil {
		return nil, fmt.Errorf("parse Dockerfile: %w", err)
	}
	stages, meta, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil, fmt.Errorf("parse Dockerfile: %w", err)
	}
	lex, args := shell.NewLex(tree.EscapeToken), given(b)
	for _, m := range meta {
		for _, a := range m.Args {
			if _, ok := b.Args[a.Key]; ok || a.Value == nil {
				continue
			}
			if value, _, err := lex.ProcessWord(*a.Value, shell.EnvsFromSlice(args)); err == nil {
				args = append(args, a.Key+"="+value)
			}
		}
	}
	var stagesBefore, refs []string
	add := func(name string) {
		if _, context := b.Contexts[name]; context || name == "" || name == "scratch" || slices.Contains(stagesBefore, strings.ToLower(name)) {
			return
		}
		if full, ok := FullName(name); ok {
			refs = append(refs, full)
		}
	}
	for i, s := range stages {
		if ref, _, err := lex.ProcessWord(s.BaseName, shell.EnvsFromSlice(args)); err == nil {
			add(ref)
		}
		for _, from := range froms(s) {
			if n, err := strconv.Atoi(from); err != nil || n >= i { // a stage may be named by its number
				add(from)
			}
		}
		stagesBefore = append(stagesBefore, strings.ToLower(s.Name))
	}
	slices.Sort(refs)
	return slices.Compact(refs), nil
}

// FullName of an image, with registry and tag or digest.
func FullName(image string) (string, bool) {
	full, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", false
	}
	return reference.TagNameOnly(full).String(), true
}

// froms are what the instructions of a stage copy or mount from. BuildKit takes no arguments there.
func froms(s instructions.Stage) []string {
	var out []string
	for _, c := range s.Commands {
		switch c := c.(type) {
		case *instructions.CopyCommand:
			out = append(out, c.From)
		case *instructions.RunCommand:
			for _, m := range instructions.GetMounts(c) {
				out = append(out, m.From)
			}
		}
	}
	return out
}

// given are the arguments that FROM may use without an ARG of its own, and those of
// the build.
func given(b Build) []string {
	var args []string
	if p, err := platforms.Parse(b.Platform); err == nil {
		for _, of := range []string{"TARGET", "BUILD"} {
			args = append(args, of+"PLATFORM="+platforms.Format(p), of+"OS="+p.OS, of+"ARCH="+p.Architecture, of+"VARIANT="+p.Variant)
		}
	}
	for k, v := range b.Args {
		args = append(args, k+"="+v)
	}
	return args
}
