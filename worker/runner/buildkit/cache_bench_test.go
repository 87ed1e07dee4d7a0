package buildkit_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

const (
	// golang is the image that goService stands on.
	golang = buildkittest.Base + `COPY go /usr/local/go
ENV PATH=/usr/local/go/bin:/bin GOCACHE=/cache GOTOOLCHAIN=local CGO_ENABLED=0
WORKDIR /tmp
`
	// goService compiles what it depends on in one step, and itself in another.
	goService = `FROM golang AS build
WORKDIR /src
COPY services/api/go.mod ./
RUN go build std
COPY services/api/main.go ./
RUN go build -o /api .
FROM scratch
COPY --from=build /api /api
`
	small = buildkittest.Base + "COPY services/api/main.go /\nRUN cat /main.go >/made\n"
)

// BenchmarkCache: what a build of a service takes where it was built before, and where it was not, without a cache and with.
func BenchmarkCache(b *testing.B) {
	f := buildkittest.Start(b)
	dir := buildkittest.Workspace(b, map[string]string{dockerfile: golang})
	if err := os.CopyFS(filepath.Join(dir, "go"), os.DirFS(runtime.GOROOT())); err != nil { //nolint:staticcheck // the test runs where it was built
		b.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "go", "test")); err != nil {
		b.Fatal(err)
	}
	base := benched{builder: buildkit.NewBuilder(f.Client), dir: dir, push: f.Registry + "/golang"}
	image, _ := base.build(b, "base")
	for b.Loop() {
		service := func(cache string) *benched {
			c := newBenched(b, goService, f.Registry, cache)
			c.contexts = map[string]string{"golang": image}
			return c
		}
		one, two, none, other := service(f.Registry), service(f.Registry), service(""), service("")
		for _, step := range []struct {
			what string
			c    *benched
			text string
		}{
			{"cold-without", none, "1"}, {"cold", one, "1"}, {"edit-without", none, "2"}, {"edit", one, "2"},
			{"edit-elsewhere-without", other, "3"}, {"edit-elsewhere", two, "3"}, {"next-elsewhere-without", other, "4"}, {"next-elsewhere", two, "4"},
		} {
			_, took := step.c.build(b, step.text)
			b.ReportMetric(took.Seconds(), step.what+"-s")
			if step.c.later != nil {
				begin := time.Now()
				if err := step.c.later(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(begin).Seconds(), step.what+"-export-s")
				step.c.later = nil
			}
		}
	}
}

// BenchmarkKnown: what an edit of a small service takes that this worker has built before.
func BenchmarkKnown(b *testing.B) {
	for _, how := range []string{"without", "with", "beside exports"} {
		b.Run(how, func(b *testing.B) {
			f := buildkittest.Start(b)
			registry := f.Registry
			if how == "without" {
				registry = ""
			}
			c := newBenched(b, small, f.Registry, registry)
			exports := make(chan func(context.Context) error, 100_000)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for run := range exports {
					_ = run(b.Context()) // of a source that has changed since: what it costs is the same
				}
			}()
			n := 0
			for b.Loop() {
				n++
				c.build(b, fmt.Sprint(n))
				if how == "beside exports" && len(exports) == 0 {
					exports <- c.later
				}
			}
			close(exports)
			<-done
		})
	}
}

// benched is a worker with a daemon of its own, and a workspace.
type benched struct {
	builder   *buildkit.Builder
	dir, push string
	contexts  map[string]string
	later     func(context.Context) error
}

func newBenched(b *testing.B, content, registry, cache string) *benched {
	b.Helper()
	f := buildkittest.Start(b)
	c := &benched{
		builder: buildkit.NewBuilder(f.Client), push: registry + "/shop/api",
		dir: buildkittest.Workspace(b, map[string]string{dockerfile: content, "services/api/go.mod": "module api\n\ngo 1.25\n"}),
	}
	if cache == "" {
		return c
	}
	shared := buildkit.NewCache(f.Client, buildkit.CacheConfig{
		Registry: cache + "/cache", Log: slog.New(slog.DiscardHandler), Count: func(string) {},
		Later: func(_ string, run func(context.Context) error, _ func()) { c.later = run },
	})
	b.Cleanup(shared.Close)
	c.builder = c.builder.With(shared)
	return c
}

func (c *benched) build(b *testing.B, text string) (image string, took time.Duration) {
	b.Helper()
	source := filepath.Join(c.dir, "services/api/main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"net/http\"\n\nfunc main() { println(\""+text+"\", http.ListenAndServe(\":80\", nil)) }\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	if at := time.Unix(buildkit.Epoch, 0); os.Chtimes(source, at, at) != nil {
		b.Fatal("set the time of a file")
	}
	work := runner.Task{
		ID: "build/api", Attempt: 1, Project: "shop", Service: "api", Commit: text, Workspace: c.dir, Keep: func() func() { return func() {} },
		Work: runner.Build{Paths: []string{"."}, Dockerfile: dockerfile, Contexts: c.contexts, Platform: "linux/amd64", Push: c.push, Provenance: true, Cacheable: true},
	}
	begin := time.Now()
	o := c.builder.Run(b.Context(), work, &runnertest.Recorder{})
	if o.Kind != runner.Succeeded {
		b.Fatal(o.Message)
	}
	return o.Result.Image, time.Since(begin)
}
