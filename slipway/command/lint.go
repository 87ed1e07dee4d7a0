package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// targetsFile is the name by which the platform team's file is known.
const targetsFile = "targets.yaml"

func (a *app) lint() *cobra.Command {
	c := &cobra.Command{
		Use:   "lint [FILE]",
		Short: "Check slipway.yaml without a farm",
		Long: `Lint reads slipway.yaml (FILE, or that of the current directory or a folder above it)
with the services/*/service.yaml files beside it, and prints every mistake as
path:line:column: message, with the line it stands on. A FILE named targets.yaml is
checked as the platform team's file. It needs no farm and no git repository.`,
		Example: "  slipway lint\n  slipway lint services.yaml -o json",
		Args:    between(0, "FILE"),
	}
	out := outputFlag(c, "text", "json", "yaml")
	c.RunE = func(_ *cobra.Command, args []string) error {
		name, err := a.lintFile(args)
		if err != nil {
			return err
		}
		problems, err := a.check(name)
		if err != nil {
			return err
		}
		if *out != "text" {
			if problems == nil {
				problems = pipeline.Problems{}
			}
			data, err := json.Marshal(problems)
			if err != nil {
				return fmt.Errorf("encode mistakes: %w", err)
			}
			if err := a.document(*out, data); err != nil {
				return err
			}
		} else if err := a.printf("%s", a.style().Problems(toProto(problems))); err != nil {
			return err
		}
		if len(problems) > 0 {
			return &exitError{ExitFailed, fmt.Errorf("%s", count(len(problems), "mistake"))}
		}
		if *out == "text" {
			a.note("%s: no mistakes", name)
		}
		return nil
	}
	return c
}

func toProto(list pipeline.Problems) []*pb.Problem {
	out := make([]*pb.Problem, len(list))
	for i, p := range list {
		out[i] = &pb.Problem{Path: p.Path, Line: int32(p.Line), Column: int32(p.Column), Message: p.Message, Suggestion: p.Suggestion, Excerpt: p.Excerpt}
	}
	return out
}

// lintFile is the file to check, as the user would write it.
func (a *app) lintFile(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	for dir, rel := a.env.Dir, ""; ; dir, rel = filepath.Dir(dir), filepath.Join(rel, "..") {
		if _, err := os.Stat(filepath.Join(dir, pipeline.File)); err == nil {
			return filepath.Join(rel, pipeline.File), nil
		}
		if filepath.Dir(dir) == dir {
			return "", usage("there is no %s here or in a folder above; name the file", pipeline.File)
		}
	}
}

// check reads a file and those beside it. Mistakes get the paths that the user sees.
func (a *app) check(name string) (pipeline.Problems, error) {
	full := name
	if !filepath.IsAbs(full) {
		full = filepath.Join(a.env.Dir, name)
	}
	data, err := readFile(full)
	if err != nil {
		return nil, usage("%s: %w", name, err)
	}
	if filepath.Base(name) == targetsFile {
		_, problems := pipeline.ParseTargets(name, data)
		return problems, nil
	}
	files := map[string][]byte{pipeline.File: data}
	shown := map[string]string{pipeline.File: name}
	beside, err := filepath.Glob(filepath.Join(globQuote(filepath.Dir(full)), pipeline.ServiceFileFolder, "*", pipeline.ServiceFileName))
	if err != nil {
		return nil, usage("%s: %w", name, err)
	}
	for _, f := range beside {
		data, err := readFile(f)
		if err != nil {
			return nil, usage("%w", err)
		}
		in := path.Join(pipeline.ServiceFileFolder, filepath.Base(filepath.Dir(f)), pipeline.ServiceFileName)
		files[in], shown[in] = data, filepath.Join(filepath.Dir(name), filepath.FromSlash(in))
	}
	problems := pipeline.Lint(files)
	for i := range problems {
		if s, ok := shown[problems[i].Path]; ok {
			problems[i].Path = s
		}
	}
	return problems, nil
}

// globQuote makes a folder's name mean itself in a pattern.
func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func readFile(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	var p *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("no such file")
	case errors.As(err, &p):
		return nil, p.Err
	}
	return data, err
}
