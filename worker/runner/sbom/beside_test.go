package sbom_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/sbom"
)

type store struct {
	data []byte
	err  error
}

func (s *store) PutBlob(_ context.Context, data []byte) (string, error) {
	s.data = data
	return "sha256:stored", s.err
}

// TestBeside: a build that wants a document has it once its image is there, and no other.
func TestBeside(t *testing.T) {
	built := runner.Outcome{Kind: runner.Succeeded, Result: runner.Result{Image: "r/api@sha256:1"}}
	for name, c := range map[string]struct {
		work  runner.Work
		inner runner.Outcome
		err   error
		kind  runner.OutcomeKind
		sbom  bool
		want  string
	}{
		"wanted":     {work: runner.Build{Paths: []string{"api"}, SBOM: true}, inner: built, kind: runner.Succeeded, sbom: true},
		"not wanted": {work: runner.Build{Paths: []string{"api"}}, inner: built, kind: runner.Succeeded},
		"failed":     {work: runner.Build{Paths: []string{"api"}, SBOM: true}, inner: runner.Fail("no"), kind: runner.Failed, want: "no"},
		"a test":     {work: runner.Test{Build: runner.Build{SBOM: true}}, inner: built, kind: runner.Succeeded},
		"not kept":   {work: runner.Build{Paths: []string{"api"}, SBOM: true}, inner: built, err: errors.New("the coordinator is away"), kind: runner.Errored, want: "the image was built, and its SBOM could not be kept: the coordinator is away"},
		"leads out":  {work: runner.Build{Paths: []string{"../x"}, SBOM: true}, inner: built, kind: runner.Failed, want: "the image was built, and its SBOM cannot be made: list packages of api: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := &store{err: c.err}
			r := sbom.Beside(s)(runner.Func(func(context.Context, runner.Task, runner.Report) runner.Outcome { return c.inner }))
			o := r.Run(t.Context(), runner.Task{Service: "api", Commit: "0123abc", Workspace: plant(t), Work: c.work}, &runnertest.Recorder{})
			if o.Kind != c.kind || !strings.Contains(o.Message, c.want) {
				t.Errorf("%s: %s", o.Kind, o.Message)
			}
			if c.sbom != (o.Result.SBOM != "" && o.Kind == runner.Succeeded) || c.sbom && (!strings.Contains(string(s.data), "pkg:npm/left-pad@1.3.0") || o.Result.Image != built.Result.Image) {
				t.Errorf("%+v\n%s", o.Result, s.data)
			}
		})
	}
}
