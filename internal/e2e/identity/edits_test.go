//go:build e2e

package identity_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/examples/many"
)

// service is what an edit may change of the definition of one.
type service struct {
	many.Service
	arg    string // of its build
	label  string // in its Dockerfile
	own    bool   // its Dockerfile is written from its own folder
	staged bool   // what is built is not the last stage
}

// services are read from the generator, and defined by this test from here on.
func (w *world) services(t *testing.T) {
	t.Helper()
	list, err := many.Options{Services: services, Seed: *flags.seed}.List()
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range list {
		w.model = append(w.model, &service{Service: s, own: i == len(list)-1, staged: i == len(list)-2})
	}
	w.define(t)
}

// define writes slipway.yaml and the Dockerfiles.
func (w *world) define(t *testing.T) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nproject: %s\nservices:\n", many.Project)
	for _, s := range w.model {
		fmt.Fprintf(&b, "  %s:\n    path: %s\n    deploy: false\n", s.Name, s.Path)
		if s.Base == "" {
			b.WriteString("    build: { provenance: false }\n")
			continue
		}
		if len(s.Also) > 0 && !s.own {
			fmt.Fprintf(&b, "    also: [%s]\n", strings.Join(s.Also, ", "))
		}
		fmt.Fprintf(&b, "    build: { provenance: false, contexts: { base: \"service:%s\" }, args: { A: %q }", s.Base, s.arg)
		if s.own {
			fmt.Fprintf(&b, ", context: %s", s.Path)
		}
		if s.staged {
			b.WriteString(", target: app")
		}
		b.WriteString(" }\n")
		w.write(t, s.Path+"/Dockerfile", s.dockerfile())
	}
	w.write(t, pipeline.File, b.String())
}

func (s *service) dockerfile() string {
	from, also := s.Path, s.Also
	if s.own {
		from, also = ".", nil
	}
	lines := []string{"FROM base AS app", "ARG A", fmt.Sprintf("LABEL edited=%q", s.label), "COPY " + from + " /app"}
	for _, l := range also {
		lines = append(lines, "COPY "+l+" /"+l)
	}
	lines = append(lines, `RUN cat /app/*.sh > /app/all; echo "$A" > /app/arg`)
	if s.staged {
		lines = append(lines, "FROM app AS other", "RUN false")
	}
	return strings.Join(lines, "\n") + "\n"
}

func (w *world) write(t *testing.T, name, content string) {
	t.Helper()
	full := filepath.Join(w.repo.Dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil { //nolint:gosec // as in a checkout
		t.Fatal(err)
	}
}

// parts are the files of a service that may be missing.
func (w *world) parts(t *testing.T, s *service) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(w.repo.Dir, s.Path, "part*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// edit changes something, commits it, and says what it was: one word, and what for.
func (w *world) edit(t *testing.T, i int) string {
	t.Helper()
	what := "first"
	if i > 0 {
		kinds := []func(*testing.T, int) string{
			w.changes, w.changes, w.adds, w.adds, w.removes, w.renames, w.mode, w.link, w.library, w.base, w.dockerfile, w.arg, w.also, w.ignore, w.elsewhere, w.back, w.back, w.nothing,
		}
		what = kinds[w.random.IntN(len(kinds))](t, i)
	}
	w.repo.Git(t, "add", "-A")
	w.repo.Git(t, "commit", "-q", "--allow-empty", "-m", what)
	w.commits = append(w.commits, w.repo.Git(t, "rev-parse", "HEAD"))
	return what
}

func pick[T any](w *world, from []T) T { return from[w.random.IntN(len(from))] }

// leaf is a service that is no base image.
func (w *world) leaf() *service {
	return pick(w, slices.DeleteFunc(slices.Clone(w.model), func(s *service) bool { return s.Base == "" }))
}

func (w *world) changes(t *testing.T, i int) string {
	t.Helper()
	s := w.leaf()
	name := s.Path + "/main.sh"
	w.write(t, name, fmt.Sprintf("#!/bin/sh\necho %d\n", i))
	return "changes " + name
}

func (w *world) adds(t *testing.T, i int) string {
	t.Helper()
	names := []string{"part-%d.sh", "deeper/part-%d", "part %d ü.sh", "part-%d.sh.bak"}
	name := w.leaf().Path + "/" + fmt.Sprintf(pick(w, names), i)
	w.write(t, name, pick(w, []string{"", "echo new\n", "echo other\n"}))
	return "adds " + name
}

func (w *world) removes(t *testing.T, i int) string {
	t.Helper()
	found := w.parts(t, w.leaf())
	if len(found) == 0 {
		return w.adds(t, i)
	}
	name := pick(w, found)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	return "removes " + name
}

func (w *world) renames(t *testing.T, i int) string {
	t.Helper()
	s := w.leaf()
	found := w.parts(t, s)
	if len(found) == 0 {
		return w.adds(t, i)
	}
	name, to := pick(w, found), filepath.Join(w.repo.Dir, s.Path, fmt.Sprintf("part-%d-moved.sh", i))
	if err := os.Rename(name, to); err != nil {
		t.Fatal(err)
	}
	return "renames " + name
}

func (w *world) mode(t *testing.T, _ int) string {
	t.Helper()
	name := filepath.Join(w.repo.Dir, w.leaf().Path, "main.sh")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, info.Mode()^0o111); err != nil {
		t.Fatal(err)
	}
	return "mode of " + name
}

func (w *world) link(t *testing.T, i int) string {
	t.Helper()
	name := filepath.Join(w.repo.Dir, w.leaf().Path, fmt.Sprintf("link-%d", i))
	if err := os.Symlink("main.sh", name); err != nil {
		t.Fatal(err)
	}
	return "link " + name
}

func (w *world) library(t *testing.T, i int) string {
	t.Helper()
	name := pick(w, []string{"libs/lib-0/lib.sh", "libs/lib-0/more.sh"})
	w.write(t, name, fmt.Sprintln("echo", i))
	return "library " + name
}

func (w *world) base(t *testing.T, i int) string {
	t.Helper()
	name := "images/base-0/files/name"
	w.write(t, name, fmt.Sprintln("edit", i/2)) // sometimes what it was
	return "base " + name
}

func (w *world) dockerfile(t *testing.T, i int) string {
	t.Helper()
	s := w.leaf()
	s.label = fmt.Sprint(i)
	w.define(t)
	return "dockerfile of " + s.Name
}

func (w *world) arg(t *testing.T, _ int) string {
	t.Helper()
	s := w.leaf()
	s.arg = pick(w, []string{"", "one", "two"})
	w.define(t)
	return "arg of " + s.Name + ": " + s.arg
}

func (w *world) also(t *testing.T, _ int) string {
	t.Helper()
	s := w.leaf()
	if len(s.Also) > 0 {
		s.Also = nil
	} else {
		s.Also = []string{"libs/lib-0"}
	}
	w.define(t)
	return "also of " + s.Name
}

// ignore: what it names is in no image any more, or is again.
func (w *world) ignore(t *testing.T, _ int) string {
	t.Helper()
	name := pick(w, []string{".dockerignore", w.leaf().Path + "/Dockerfile.dockerignore", w.leaf().Path + "/.dockerignore"})
	full := filepath.Join(w.repo.Dir, name)
	if _, err := os.Stat(full); err == nil {
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
		return "ignore no more: " + name
	}
	w.write(t, name, pick(w, []string{"**/*.bak\n", "**/part*\n", "services/*/part1.sh\n!services/*/part1.sh\n**/link-*\n"}))
	return "ignore " + name
}

func (w *world) elsewhere(t *testing.T, i int) string {
	t.Helper()
	w.write(t, "README.md", fmt.Sprintln("edit", i))
	return "elsewhere README.md"
}

// back makes the files of an earlier commit, but for how services are defined.
func (w *world) back(t *testing.T, _ int) string {
	t.Helper()
	to := pick(w, w.commits)
	w.repo.Git(t, "rm", "-q", "-r", "--cached", "services", "libs", "images")
	for _, dir := range []string{"services", "libs", "images"} {
		if err := os.RemoveAll(filepath.Join(w.repo.Dir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	w.repo.Git(t, "checkout", "-q", to, "--", "services", "libs", "images")
	w.define(t)
	return "back to " + to
}

func (w *world) nothing(t *testing.T, _ int) string {
	t.Helper()
	w.write(t, pipeline.File, string(w.read(t, pipeline.File))+"# a comment\n")
	return "nothing but a comment"
}
