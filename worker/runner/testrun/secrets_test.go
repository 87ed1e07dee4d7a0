package testrun_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/testrun"
)

const secretStages = buildkittest.Base + `FROM base AS built
RUN --mount=type=secret,id=npm,required=true test "$(cat /run/secrets/npm)" = 'tok/en+with "quotes" & 1' && cat /run/secrets/npm && base64 /run/secrets/npm
FROM base AS broken
RUN --mount=type=secret,id=npm,required=true cat /run/secrets/npm; base64 /run/secrets/npm; exit 3
`

// Values reach a mount and the environment, and nothing of what a worker says.
func TestSecrets(t *testing.T) {
	f := buildkittest.Start(t)
	values := map[string]string{"npm": `tok/en+with "quotes" & 1`, "db": "pass-word-of-the-database\nsecond line of it"}
	long := strings.Repeat("x", 380) // a message cuts lines at 400, in the midst of the value
	for _, c := range []struct {
		name   string
		runner runner.Runner
		work   runner.Work
		kind   runner.OutcomeKind
		shows  string
	}{
		{"a test", testrun.New(f.Client), runner.Test{
			Name: "unit", Run: `test "$DB" = "$(printf 'pass-word-of-the-database\nsecond line of it')" && printf '%s\n' "$DB" && printf '%s' "$DB" | base64 && echo fine; env`,
			Secret: map[string]string{"DB": "db"},
		}, runner.Succeeded, "fine"},
		{"a test that fails", testrun.New(f.Client), runner.Test{
			Name: "unit", Run: `echo "$DB"; echo ` + long + `"$DB"; printf '<testsuite><testcase name="%s"><failure>%s</failure></testcase></testsuite>' "$DB" "$DB" >/r.xml; exit 4`,
			Secret: map[string]string{"DB": "db"}, Report: "r.xml",
		}, runner.Failed, "1 of 1 tests failed"},
		{"a test that fails without a report", testrun.New(f.Client), runner.Test{
			Name: "unit", Run: `echo ` + long + `"$DB"; exit 4`, Secret: map[string]string{"DB": "db"},
		}, runner.Failed, "*****"},
		{"a build", buildkit.NewBuilder(f.Client), runner.Build{Target: "built"}, runner.Succeeded, "*****"},
		{"a build that fails", buildkit.NewBuilder(f.Client), runner.Build{Target: "broken"}, runner.Failed, "exit code: 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := runner.Build{
				Paths: []string{"services/api"}, Dockerfile: "services/api/Dockerfile", Target: "base", Platform: "linux/amd64", Secrets: map[string]string{"npm": "npm"},
			}
			if test, ok := c.work.(runner.Test); ok {
				test.Build = b
				c.work = test
			} else {
				b.Target = c.work.(runner.Build).Target //nolint:forcetypeassert // one of two
				c.work = b
			}
			task := runner.Task{
				ID: "test/api/unit", Project: "shop", Service: "api", Commit: strings.Repeat("ab", 20), Work: c.work, Secrets: map[string][]byte{},
				Workspace: buildkittest.Workspace(t, map[string]string{"services/api/Dockerfile": secretStages}),
			}
			for name, v := range values {
				task.Secrets[name] = []byte(v)
			}
			rec := &runnertest.Recorder{}
			o := runner.Decorate(c.runner, runner.Redact(nil)).Run(t.Context(), task, rec)
			if o.Kind != c.kind {
				t.Fatalf("%s: %s\n%s", o.Kind, o.Message, rec.Log())
			}
			said := fmt.Sprintf("%s\n%+v\n%+v", rec.Log(), o, rec.Steps())
			if o.Result.Tests != nil {
				said += fmt.Sprintf("%+v", *o.Result.Tests)
			}
			if !strings.Contains(said, c.shows) {
				t.Errorf("no %q in %s", c.shows, said)
			}
			for _, v := range values {
				for _, line := range strings.Split(v, "\n") {
					for _, form := range []string{line, line[:12], hex.EncodeToString([]byte(line)), base64.StdEncoding.EncodeToString([]byte(line))[:len(line)*8/6]} {
						if strings.Contains(said, form) {
							t.Errorf("%q is in what the worker says:\n%s", form, said)
						}
					}
				}
			}
		})
	}
	t.Run("a value that did not come", func(t *testing.T) {
		task := runner.Task{ID: "test/api/unit", Work: runner.Test{Run: "true", Secret: map[string]string{"DB": "db"}, Build: runner.Build{Dockerfile: "Dockerfile"}},
			Workspace: buildkittest.Workspace(t, map[string]string{"Dockerfile": secretStages})}
		o := testrun.New(f.Client).Run(context.Background(), task, &runnertest.Recorder{})
		if o.Kind != runner.Errored || !strings.Contains(o.Message, `without the secret "db"`) {
			t.Errorf("%s: %s", o.Kind, o.Message)
		}
	})
}
