package testrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/coverage"
)

// coverageName is the artifact with what a test covers of each file, as JSON.
const coverageName = "coverage"

// cover reads what the test covered, and keeps that of each file. What is wrong with it is part of the message, and
// fails no test.
func (a *attempt) cover(ctx context.Context, f files, workdir string) {
	if a.work.Coverage == "" {
		return
	}
	step := a.watch.Begin(fmt.Sprintf("[test %s] coverage: %s", a.work.Name, a.work.Coverage), "artifact")
	s, err := covers(ctx, f, within(workdir, a.work.Coverage), workdir)
	if err != nil {
		a.uncovered = err.Error()
		step.End(a.uncovered)
		return
	}
	a.covered = &s
	fmt.Fprintf(step, "%d of %d lines in %d files\n", s.Covered, s.Total, len(s.Files))
	kept, err := a.keepCoverage(ctx, s)
	if err != nil {
		a.lost = append(a.lost, lost{runner.Pattern{Name: coverageName, Pattern: a.work.Coverage}, &unstored{err}})
		step.End(err.Error())
		return
	}
	a.kept = append(a.kept, kept)
	step.End("")
}

func covers(ctx context.Context, f files, pattern, workdir string) (coverage.Summary, error) {
	s := search{files: f, whole: true, most: maxReports}
	if err := s.walk(ctx, "/", strings.Split(strings.Trim(pattern, "/"), "/")); err != nil {
		return coverage.Summary{}, err
	}
	lines, n := coverage.Lines{}, 0
	seen := map[string]bool{}
	for _, e := range s.entries {
		if !fs.FileMode(e.stat.Mode).IsRegular() || seen[e.full] {
			continue
		}
		seen[e.full], n = true, n+1
		data, err := io.ReadAll(io.LimitReader(&contentReader{ctx: ctx, files: f, name: e.full}, coverage.MaxSize+1))
		if err == nil {
			err = lines.Read(data)
		}
		if err != nil {
			return coverage.Summary{}, fmt.Errorf("%s: %w", e.full, err)
		}
	}
	if n == 0 {
		return coverage.Summary{}, errors.New("no file matches " + pattern)
	}
	return lines.Summary(workdir), nil
}

func (a *attempt) keepCoverage(ctx context.Context, s coverage.Summary) (runner.Artifact, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return runner.Artifact{}, fmt.Errorf("encode coverage: %w", err)
	}
	data = []byte(a.task.Mask.Text(string(data)))
	digest := sumOf(data)
	if a.keeps.store == nil {
		return runner.Artifact{}, errors.New("this worker has nowhere to store it")
	}
	if err := a.keeps.store.Put(ctx, digest, int64(len(data)), bytes.NewReader(data)); err != nil {
		return runner.Artifact{}, err //nolint:wrapcheck // judged says what of
	}
	return runner.Artifact{Name: coverageName, Digest: digest, Size: int64(len(data)), Files: 1, File: coverageName + ".json"}, nil
}
