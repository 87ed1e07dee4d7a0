package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/internal/strictyaml"
	"github.com/slipway-build/slipway/slipway/render"
	"github.com/slipway-build/slipway/slipway/scaffold"
	"github.com/slipway-build/slipway/slipway/scaffold/bake"
)

func (a *app) initialize() *cobra.Command {
	var force, dry bool
	var files []string
	c := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Propose slipway.yaml and targets.yaml for a repository",
		Long: `Init looks at a repository (FOLDER, or the current directory): Dockerfiles, bake, Compose
and skaffold files, go.mod, package.json, Python projects, kustomizations, manifests and
charts. It writes a slipway.yaml and a targets.yaml with what it found, and says in
comments what it guessed and what is left to do. It runs nothing, and overwrites nothing
unless --force is given.

Where docker-bake.hcl or docker-bake.json is at the root, its default group, or all of its
targets, decide which services there are. What a bake file computes with functions of its
own, bake can print: docker buildx bake --print | slipway init --bake -`,
		Example: "  slipway init\n  slipway init --dry-run ../shop",
		Args:    between(0, "FOLDER"),
	}
	c.Flags().BoolVar(&force, "force", false, "overwrite files that are there")
	c.Flags().BoolVar(&dry, "dry-run", false, "print the files and write none")
	c.Flags().StringArrayVar(&files, "bake", nil, "a `FILE` of bake in place of those at the root, in HCL or JSON; - is standard input, none reads none")
	c.RunE = func(c *cobra.Command, args []string) error {
		dir := a.env.Dir
		if len(args) > 0 {
			if dir = args[0]; !filepath.IsAbs(dir) {
				dir = filepath.Join(a.env.Dir, dir)
			}
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return usage("%w", err)
		}
		defer root.Close()
		options, err := a.bakeFiles(files)
		if err != nil {
			return err
		}
		found, err := scaffold.Look(root.FS(), filepath.Base(dir), options)
		var mistakes strictyaml.Problems
		if errors.As(err, &mistakes) {
			_, _ = io.WriteString(a.env.Stderr, a.style().Problems(toProto(mistakes))) // an error of stderr cannot be told to anybody
			return &exitError{ExitFailed, fmt.Errorf("%s; nothing was written (--bake none leaves bake files out)", count(len(mistakes), "mistake"))}
		}
		if err != nil {
			return usage("%s: %w", dir, err)
		}
		contexts := a.contexts(c.Context())
		files := []proposal{{pipeline.File, found.Pipeline()}, {targetsFile, found.Targets(contexts)}}
		if dry {
			for _, f := range files {
				if err := a.printf("# %s\n%s\n", f.name, f.text); err != nil {
					return err
				}
			}
			return nil
		}
		if err := write(root, files, force); err != nil {
			return err
		}
		return a.proposed(found, files, contexts)
	}
	return c
}

// bakeFiles reads those that were named.
func (a *app) bakeFiles(names []string) (scaffold.Options, error) {
	o := scaffold.Options{Env: a.variable, NoBake: slices.Contains(names, "none")}
	if o.NoBake {
		return o, nil
	}
	for _, name := range names {
		var data []byte
		var err error
		if name == "-" {
			name = "stdin"
			data, err = io.ReadAll(a.env.Stdin)
		} else if file := name; !filepath.IsAbs(file) {
			data, err = os.ReadFile(filepath.Join(a.env.Dir, file))
		} else {
			data, err = os.ReadFile(file)
		}
		if err != nil {
			return o, usage("read what bake builds: %w", err)
		}
		o.Bake = append(o.Bake, bake.File{Name: filepath.ToSlash(name), Data: data})
	}
	return o, nil
}

// variable is one of the environment.
func (a *app) variable(name string) (string, bool) {
	for _, e := range slices.Backward(a.env.Environ) {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// proposal is a file that init writes.
type proposal struct {
	name string
	text []byte
}

// write writes all files or, if one of them is there, none.
func write(root *os.Root, files []proposal, force bool) error {
	for _, f := range files {
		if _, err := root.Lstat(f.name); err == nil && !force {
			return usage("%s is there already: --force overwrites it, --dry-run shows what would be written", f.name)
		}
	}
	for _, f := range files {
		if err := root.WriteFile(f.name, f.text, 0o644); err != nil {
			return usage("%w", err)
		}
	}
	return nil
}

func (a *app) proposed(found *scaffold.Found, files []proposal, contexts []string) error {
	var rows [][]render.Cell
	notes := len(found.Notes)
	for _, s := range found.Services {
		context, manifests := s.Context, "none"
		if context == "" {
			context = "."
		}
		if s.NoBuild {
			context = "builds nothing"
		}
		if s.By != "" {
			manifests = "by " + s.By
		}
		if s.Deploy != nil {
			manifests = s.Deploy.Path + " (" + s.Deploy.Using + ")"
		}
		tests := "none"
		if len(s.Tests) > 0 {
			tests = s.Tests[0].Run
		}
		rows = append(rows, []render.Cell{{Text: s.Name}, {Text: s.Path}, {Text: context}, {Text: tests}, {Text: manifests}})
		notes += len(s.Notes)
	}
	if len(found.Services) > 0 {
		if err := a.printf("%s\n", a.style().Table([]string{"SERVICE", "PATH", "CONTEXT", "TESTS", "MANIFESTS"}, rows)); err != nil {
			return err
		}
	}
	for _, n := range found.Notes {
		a.note("%s", n)
	}
	for _, f := range files {
		a.note("wrote %s", f.name)
	}
	a.note("%s in the comments: read them, then", count(notes, "remark"))
	a.note("  slipway lint\n  slipway up --targets %s %s\n  slipway run --dirty", targetsFile, clusterFlags(found.Environments, contexts))
	return nil
}

// clusterFlags say how slipway up finds the clusters, which are called as the environments.
func clusterFlags(clusters, contexts []string) string {
	if len(contexts) == 0 {
		return "--dev-clusters   # in another terminal; your kubeconfig names no cluster, so it starts some on this machine"
	}
	var flags []string
	for _, c := range clusters {
		flags = append(flags, "--context "+c+"=CONTEXT")
	}
	return strings.Join(flags, " ") + "   # in another terminal; CONTEXT is of your kubeconfig (" + strings.Join(contexts, ", ") + ")"
}

// contexts are the names of those of the user's kubeconfig.
func (a *app) contexts(ctx context.Context) []string {
	list, err := a.env.Contexts(ctx, "", false)
	if err != nil {
		a.note("%v", err)
	}
	names := make([]string, 0, len(list))
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names
}
