package buildkit_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// goService is a program in Go: its toolchain, a step that compiles what it depends on, and one for itself.
const goService = buildkittest.Base + `COPY go /usr/local/go
ENV PATH=/usr/local/go/bin:/bin GOCACHE=/cache GOTOOLCHAIN=local CGO_ENABLED=0
WORKDIR /tmp
WORKDIR /src
COPY services/api/go.mod ./
RUN go build net/http encoding/json go/types database/sql html/template
COPY services/api/main.go ./
RUN go build -o /api .
FROM scratch
COPY --from=base /api /api
`

// BenchmarkCache: what a build of a service takes where it was built before, and where it was not, without a cache and with.
func BenchmarkCache(b *testing.B) {
	dir := buildkittest.Workspace(b, map[string]string{dockerfile: goService, "services/api/go.mod": "module api\n\ngo 1.25\n"})
	if err := os.CopyFS(filepath.Join(dir, "go"), os.DirFS(runtime.GOROOT())); err != nil { //nolint:staticcheck // the test runs where it was built
		b.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "go", "test")); err != nil {
		b.Fatal(err)
	}
	f := buildkittest.Start(b)
	for b.Loop() {
		one, two, none := newBenched(b, f.Registry), newBenched(b, f.Registry), newBenched(b, "")
		edit := func(c *benched, text string) time.Duration { return c.build(b, dir, f.Registry, text) }
		took := map[string]time.Duration{}
		took["1 cold, no cache"] = edit(none, "one")
		took["2 cold, empty cache"] = edit(one, "one")
		begin := time.Now()
		if err := one.later(b.Context()); err != nil {
			b.Fatal(err)
		}
		took["3 its export, later"] = time.Since(begin)
		took["4 edit where it was built, no cache"] = edit(none, "two")
		took["5 edit where it was built"] = edit(one, "two")
		begin = time.Now()
		if err := one.later(b.Context()); err != nil {
			b.Fatal(err)
		}
		took["6 its export, later"] = time.Since(begin)
		took["7 another edit on another worker"] = edit(two, "three")
		took["8 the next one there"] = edit(two, "four")
		none.later = func(context.Context) error { return nil }
		took["9 the next one, no cache"] = edit(none, "four")
		for name, d := range took {
			b.ReportMetric(d.Seconds(), strings.ReplaceAll(name, " ", "_")+"_s")
		}
	}
}

type benched struct {
	builder *buildkit.Builder
	later   func(context.Context) error
}

func newBenched(b *testing.B, registry string) *benched {
	b.Helper()
	f := buildkittest.Start(b)
	c := &benched{builder: buildkit.NewBuilder(f.Client)}
	if registry == "" {
		return c
	}
	cache := buildkit.NewCache(f.Client, buildkit.CacheConfig{
		Registry: registry + "/cache", Log: slog.New(slog.DiscardHandler), Count: func(string) {},
		Later: func(_ string, run func(context.Context) error, _ func()) { c.later = run },
	})
	b.Cleanup(cache.Close)
	c.builder = c.builder.With(cache)
	return c
}

func (c *benched) build(b *testing.B, dir, registry, text string) time.Duration {
	b.Helper()
	source := filepath.Join(dir, "services/api/main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"net/http\"\n\nfunc main() { println(\""+text+"\", http.ListenAndServe(\":80\", nil)) }\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	if at := time.Unix(buildkit.Epoch, 0); os.Chtimes(source, at, at) != nil {
		b.Fatal("set the time of a file")
	}
	work := runner.Task{
		ID: "build/api", Attempt: 1, Project: "shop", Service: "api", Commit: text, Workspace: dir, Keep: func() func() { return func() {} },
		Work: runner.Build{Paths: []string{"."}, Dockerfile: dockerfile, Platform: "linux/amd64", Push: registry + "/shop/api", Provenance: true, Cacheable: true},
	}
	begin := time.Now()
	o := c.builder.Run(b.Context(), work, &runnertest.Recorder{})
	if o.Kind != runner.Succeeded {
		b.Fatal(o.Message)
	}
	return time.Since(begin)
}
