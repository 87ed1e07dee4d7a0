package testrun_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/testrun"
)

// A page over HTTP, by a program that stays in the foreground and knows neither the test's files nor /proc.
const box = buildkittest.Base + `RUN mkdir -p /www/cgi-bin && echo "hello from the box" >/www/hello && \
  printf '#!/bin/sh\necho; echo "$COLOR $TOKEN in $HOME_OF"\n' >/www/cgi-bin/env && chmod +x /www/cgi-bin/env
WORKDIR /www
ENV HOME_OF=box
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080"]
`

// built is the image of a Dockerfile, pushed to the farm's registry.
func built(t *testing.T, f *buildkittest.Farm, dockerfile string) string {
	t.Helper()
	o := buildkit.NewBuilder(f.Client).Run(t.Context(), runner.Task{
		ID: "build/box", Attempt: 1, Project: "shop", Service: "box", Commit: strings.Repeat("ab", 20),
		Work:      runner.Build{Paths: []string{"box"}, Dockerfile: "box/Dockerfile", Platform: "linux/amd64", Push: f.Registry + "/shop/box"},
		Workspace: buildkittest.Workspace(t, map[string]string{"box/Dockerfile": dockerfile}),
	}, &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	return o.Result.Image
}

func TestSidecars(t *testing.T) {
	f := buildkittest.Start(t)
	image := built(t, f, box)
	run := func(t *testing.T, command string, sidecars ...runner.Sidecar) (runner.Outcome, string) {
		t.Helper()
		rec := &runnertest.Recorder{}
		made := task(t, func(w *runner.Test) { w.Run, w.Sidecars = command, sidecars })
		made.Secrets = map[string][]byte{"token": []byte("not-to-be-seen")}
		o := runner.Decorate(testrun.New(f.Client), runner.Redact(nil)).Run(t.Context(), made, rec)
		return o, rec.Log()
	}
	contains := func(t *testing.T, text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in:\n%s", w, text)
			}
		}
	}
	page := runner.Sidecar{Name: "box", Image: image}
	t.Run("by name and at localhost", func(t *testing.T) {
		o, log := run(t, "wget -q -O- http://box:8080/hello && wget -q -O- http://localhost:8080/hello >/dev/null && pwd", page)
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		contains(t, log, "hello from the box", "/src", "[sidecar box] httpd -f -p 8080")
	})
	t.Run("environment and secrets are the sidecar's own", func(t *testing.T) {
		with := page
		with.Env, with.Secret = map[string]string{"COLOR": "blue"}, map[string]string{"TOKEN": "token"}
		o, log := run(t, `wget -q -O- http://box:8080/cgi-bin/env; test "$(wget -q -O- http://box:8080/cgi-bin/env | wc -c)" -gt 30; test -z "$COLOR$TOKEN"`, with)
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		contains(t, log, "blue ***** in box")
	})
	t.Run("two, one after the other", func(t *testing.T) {
		second := runner.Sidecar{Name: "second", Image: image, Run: "wget -q -O copy http://box:8080/hello && exec httpd -f -p 8081", Ready: "wget -q -O- http://127.0.0.1:8081/copy"}
		o, log := run(t, "wget -q -O- http://second:8081/copy", page, second)
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		contains(t, log, "hello from the box")
	})
	t.Run("names are there while others ask", func(t *testing.T) {
		busy := runner.Sidecar{Name: "busy", Image: image, Run: `i=0; while [ $i -lt 3000 ]; do grep -q busy /etc/hosts || { echo "no name at $i"; exit 9; }; i=$((i+1)); done; touch /tmp/read; exec httpd -f -p 8081`, Ready: "test -e /tmp/read"}
		o, _ := run(t, "true", busy)
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	})
	t.Run("nothing else is in the network", func(t *testing.T) {
		address := strings.Split(f.Registry, ":")
		o, _ := run(t, "nc -w 2 "+address[0]+" "+address[1]+" </dev/null && exit 1; exit 0", page)
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	})
	t.Run("a test that fails beside one", func(t *testing.T) {
		o, _ := run(t, "wget -q -O- http://box:8080/nothing", page)
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "404")
	})
	t.Run("one that ends before it can be used", func(t *testing.T) {
		broken := runner.Sidecar{Name: "db", Image: image, Run: "echo no space for the database; exit 3"}
		o, _ := run(t, "true", broken)
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, "test/api/unit: sidecar db ended with exit code 3 before it could be used", "no space for the database")
	})
	t.Run("an image that is not there", func(t *testing.T) {
		o, _ := run(t, "true", runner.Sidecar{Name: "db", Image: f.Registry + "/shop/none:1"})
		if o.Kind == runner.Succeeded {
			t.Error("it succeeded")
		}
		contains(t, o.Message, "sidecar db", "/shop/none:1")
	})
	t.Run("conformance", func(t *testing.T) {
		beside := func(command string) runner.Task {
			return task(t, func(w *runner.Test) { w.Run, w.Sidecars = command, []runner.Sidecar{page} })
		}
		runnertest.Conform(t, runnertest.Cases{
			Runner:   testrun.New(f.Client),
			Succeeds: func() runner.Task { return beside("echo fine") },
			Fails:    func() runner.Task { return beside("echo no; exit 4") },
			Endless:  func() runner.Task { return beside("echo going on; sleep 1000") },
			Sign:     " going on",
		})
	})
}
