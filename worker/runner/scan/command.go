package scan

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

// exitKilled is the exit code of a command that the system ended.
const exitKilled = 137

// command runs a tool of the user's and reads what it reports. Its exit code says nothing where
// there is a report: most tools end with 1 when they found something.
func (r *Runner) command(ctx context.Context, t runner.Task, work runner.Scan, s *sources.Files, report runner.Report) (got found, bad *runner.Outcome, err error) {
	t.Work = *work.Test
	ran, bad := r.commands.Command(ctx, t, report)
	if got.steps = ran.Steps; bad != nil {
		return got, bad, nil
	}
	if ctx.Err() != nil {
		return got, nil, context.Cause(ctx)
	}
	ended := fmt.Sprintf("`%s` ended with exit code %d", work.Test.Run, ran.Exit)
	if len(ran.Files) == 0 {
		o := runner.Fail("%s: %s, and no file matches report: %s (relative to the stage's working directory); expected SARIF%s", t.ID, ended, work.Test.Report, after(ran.Output))
		if ran.Exit == exitKilled {
			o.Class = runner.ClassOOM
		}
		o.Steps = ran.Steps
		return got, &o, nil
	}
	got.tool, err = merge(&got, ran, resolver{s, work})
	if err != nil {
		return got, nil, sources.Mistakef("%v\n%s%s", err, ended, after(ran.Output))
	}
	if ran.Exit != 0 {
		got.note("%s; what counts is its report", ended)
	}
	return got, nil, nil
}

func after(tail string) string {
	if tail == "" {
		return ""
	}
	return "\n" + tail
}

// merge reads the reports of one command as one. What several of them say is said once.
func merge(got *found, ran runner.Ran, in resolver) (tool string, err error) {
	type same struct {
		rule, path, message string
		line                int
	}
	seen := map[same]bool{}
	var tools, versions []string
	var problems []error
	for _, f := range ran.Files {
		r, err := sarif.Report{}, f.Err
		if err == nil {
			r, err = sarif.Read(f.Data, in.line, roots(ran.Dir)...)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("report %s: %w", f.Name, err))
			continue
		}
		tools, versions = append(tools, r.Tool), append(versions, r.Version)
		for _, x := range r.Findings {
			x.Path = in.path(x.Path)
			key := same{x.Rule, x.Path, x.Message, x.Line}
			if len(ran.Files) > 1 && seen[key] {
				continue
			}
			seen[key] = true
			got.findings = append(got.findings, x)
		}
	}
	slices.Sort(tools)
	slices.Sort(versions)
	if versions = slices.Compact(versions); len(versions) == 1 {
		got.version = versions[0]
	}
	return sarif.OneLine(strings.Join(slices.Compact(tools), ", ")), errors.Join(problems...)
}

// roots are the folders that a command may have called the repository: where it ran, and those above,
// as it may have run in a part of it.
func roots(dir string) (out []string) {
	if dir == "/" {
		return []string{dir}
	}
	for d := path.Clean("/" + dir); d != "/"; d = path.Dir(d) {
		out = append(out, d)
	}
	return out
}

// resolver finds the files that a tool in a container means: it may have been given only a part of the
// repository, so that its paths begin there.
type resolver struct {
	files *sources.Files
	work  runner.Scan
}

func (r resolver) path(p string) string {
	if p == "" {
		return p
	}
	starts := append([]string{".", r.work.Test.Build.Context, path.Dir(r.work.Test.Build.Dockerfile)}, r.work.Paths...)
	for _, dir := range append(starts, r.work.Test.Build.Paths...) {
		full := path.Join(dir, p)
		if r.files.Has(full) {
			return full
		}
	}
	return p
}

func (r resolver) line(p string, n int) string { return r.files.Line(r.path(p), n) }
