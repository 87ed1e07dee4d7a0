package buildkit_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// cached is a worker with a daemon of its own and the cache of others.
type cached struct {
	*buildkittest.Farm
	builder *buildkit.Builder
	cache   *buildkit.Cache

	counts map[string]int
	jobs   []func(context.Context) error
	kept   int // workspaces
}

func newCached(t *testing.T, registry string) *cached {
	t.Helper()
	c := &cached{Farm: buildkittest.Start(t), counts: map[string]int{}}
	c.cache = buildkit.NewCache(c.Client, buildkit.CacheConfig{
		Registry: registry + "/cache", Log: slog.New(slog.DiscardHandler), Answer: time.Second, Stall: time.Second,
		Count: func(result string) { c.counts[result]++ },
		Later: func(_ string, run func(context.Context) error, done func()) {
			c.jobs = append(c.jobs, func(ctx context.Context) error {
				defer done()
				return run(ctx)
			})
		},
	})
	t.Cleanup(c.cache.Close)
	c.builder = buildkit.NewBuilder(c.Client).With(c.cache)
	return c
}

// exports answers how many exports were wanted, and carries them out.
func (c *cached) exports(t *testing.T) int {
	t.Helper()
	jobs := c.jobs
	c.jobs = nil
	for _, run := range jobs {
		if err := run(t.Context()); err != nil {
			t.Errorf("export: %v", err)
		}
	}
	if c.kept != 0 {
		t.Errorf("%d workspaces are still kept", c.kept)
	}
	return len(jobs)
}

// multi has a stage that the image does not hold, and a step that makes something else each time.
const multi = buildkittest.Base + `
FROM base AS deps
RUN cat /proc/sys/kernel/random/uuid >/deps
FROM deps AS built
COPY services/api/main.txt /main.txt
RUN cat /deps /main.txt >/made
FROM base
RUN echo of the image >/own
COPY --from=built /made /made
`

// build builds main.txt with some content.
func (c *cached) build(t *testing.T, content string, edit func(*runner.Build)) (runner.Outcome, *runnertest.Recorder) {
	t.Helper()
	work := task(t, multi, func(b *runner.Build) {
		b.Cacheable = true
		if edit != nil {
			edit(b)
		}
	})
	if err := os.WriteFile(filepath.Join(work.Workspace, "services/api/main.txt"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(buildkit.Epoch, 0)
	if err := os.Chtimes(filepath.Join(work.Workspace, "services/api/main.txt"), at, at); err != nil {
		t.Fatal(err)
	}
	work.Timeout = time.Minute
	work.Keep = func() func() {
		c.kept++
		return func() { c.kept-- }
	}
	rec := &runnertest.Recorder{}
	o := runner.Decorate(c.builder, runner.Timeout()).Run(t.Context(), work, rec)
	runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	return o, rec
}

// ran are the commands that were carried out.
func ran(o runner.Outcome) string {
	var out []string
	for _, s := range o.Steps {
		if _, command, ok := strings.Cut(s.Name, "] RUN "); ok && !s.Cached {
			out = append(out, strings.Fields(command)[0])
		}
		if s.Error != "" {
			out = append(out, "error in "+s.Name+": "+s.Error)
		}
	}
	return strings.Join(out, " ")
}

const everything = `["/bin/busybox","--install","-s","/bin"] cat cat echo`

func wantRan(t *testing.T, what string, o runner.Outcome, want string) {
	t.Helper()
	got := strings.Fields(ran(o))
	left := strings.Fields(want)
	same := len(got) == len(left)
	for _, g := range got {
		same = same && strings.Contains(want, g)
	}
	if !same {
		t.Errorf("%s: carried out %q, want %q", what, got, left)
	}
}

func TestCache(t *testing.T) {
	f := newFront(t)
	push := func(b *runner.Build) { b.Push = f.host + "/shop/api" }
	one := newCached(t, f.host)
	first, _ := one.build(t, "one", push)
	wantRan(t, "a first build", first, everything)
	if n := one.exports(t); n != 1 || one.counts[buildkit.CacheMissing] != 1 {
		t.Errorf("%d exports, %v", n, one.counts)
	}
	again, rec := one.build(t, "one", push)
	wantRan(t, "the same again", again, "")
	if n := one.exports(t); n != 0 || one.counts[buildkit.CacheMissing] != 1 || strings.Contains(rec.Log(), "importing") {
		t.Errorf("what this daemon has: %d exports, %v\n%s", n, one.counts, rec.Log())
	}

	t.Run("the same on another worker", func(t *testing.T) {
		other := newCached(t, f.host)
		o, rec := other.build(t, "one", func(b *runner.Build) { push(b); b.Provenance = true })
		wantRan(t, "on another worker", o, "")
		ref, err := name.NewDigest(o.Result.Image, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if p := provenance(t, ref); strings.Contains(p, "cache-imports") || strings.Contains(p, f.host+"/cache") {
			t.Errorf("the provenance names the cache: %s", p)
		}
		if o.Result.Image != first.Result.Image {
			t.Errorf("another image: %s, not %s", o.Result.Image, first.Result.Image)
		}
		if !strings.Contains(rec.Log(), "importing cache manifest from "+f.host+"/cache/shop/api:linux-amd64\n") {
			t.Errorf("the log does not say where steps are from:\n%s", rec.Log())
		}
		if n := other.exports(t); n != 0 || other.counts[buildkit.CacheFound] != 1 {
			t.Errorf("%d exports, %v", n, other.counts)
		}
	})

	other := newCached(t, f.host)
	t.Run("edits on another worker", func(t *testing.T) {
		for _, content := range []string{"one", "two", "three"} {
			o, _ := other.build(t, content, push)
			want := "cat" // of main.txt, and not what makes /deps
			if content == "one" {
				want = ""
			}
			wantRan(t, content, o, want)
		}
		if n := other.exports(t); n != 2 || other.counts[buildkit.CacheFound] != 1 {
			t.Errorf("%d exports, %v", n, other.counts)
		}
	})
	t.Run("what the other left", func(t *testing.T) {
		third := newCached(t, f.host)
		o, _ := third.build(t, "three", push)
		wantRan(t, "three", o, "")
	})
	t.Run("a daemon that was emptied", func(t *testing.T) {
		if err := other.Client.Room(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		o, _ := other.build(t, "four", nil)
		wantRan(t, "after it was forgotten", o, "cat")
		if other.counts[buildkit.CacheFound] != 2 {
			t.Errorf("not asked again: %v", other.counts)
		}
	})
}

// TestCacheTrust: a stranger's build takes from the cache and leaves nothing there.
func TestCacheTrust(t *testing.T) {
	f := newFront(t)
	stranger := func(b *runner.Build) { b.Cacheable = false }
	one := newCached(t, f.host)
	one.build(t, "one", stranger)
	if n := one.exports(t); n != 0 {
		t.Errorf("%d exports of a stranger's build", n)
	}
	if repositories, err := remote.Catalog(t.Context(), registryOf(t, f.host)); err != nil || len(repositories) > 0 {
		t.Errorf("in the registry: %v, %v", repositories, err)
	}
	one.build(t, "one", nil) // all of it is the daemon's by now, and the cache still lacks it
	if n := one.exports(t); n != 1 {
		t.Errorf("%d exports", n)
	}
	two := newCached(t, f.host)
	o, _ := two.build(t, "two", stranger)
	wantRan(t, "a stranger's edit", o, "cat")
	if n := two.exports(t); n != 0 {
		t.Errorf("%d exports of a stranger's build", n)
	}
	two.build(t, "two", nil)
	if two.counts[buildkit.CacheFound] != 2 {
		t.Errorf("what a stranger built is taken for what the daemon has: %v", two.counts)
	}
}

func registryOf(t *testing.T, host string) name.Registry {
	t.Helper()
	r, err := name.NewRegistry(host, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCacheFresh: a build that must take nothing takes nothing, and what it made is in the cache instead.
func TestCacheFresh(t *testing.T) {
	f := newFront(t)
	push := func(b *runner.Build) { b.Push = f.host + "/shop/api" }
	one := newCached(t, f.host)
	bad, _ := one.build(t, "one", push)
	one.exports(t)
	fresh, _ := one.build(t, "one", func(b *runner.Build) { push(b); b.Fresh = true })
	wantRan(t, "afresh", fresh, everything)
	if fresh.Result.Image == bad.Result.Image {
		t.Fatal("the same image")
	}
	if n := one.exports(t); n != 1 {
		t.Errorf("%d exports", n)
	}
	two := newCached(t, f.host)
	again, _ := two.build(t, "one", push)
	if again.Result.Image != fresh.Result.Image {
		t.Errorf("elsewhere it is %s, want %s, and not %s", again.Result.Image, fresh.Result.Image, bad.Result.Image)
	}
	three := newCached(t, f.host)
	o, _ := three.build(t, "one", func(b *runner.Build) { b.Fresh = true })
	wantRan(t, "afresh elsewhere", o, everything)
}

// TestCacheSecrets: a step with a secret is in the cache, the secret is not; and no export carries it out without.
func TestCacheSecrets(t *testing.T) {
	f := newFront(t)
	one := newCached(t, f.host)
	content := buildkittest.Base + "RUN --mount=type=secret,id=npm if [ -f /run/secrets/npm ]; then echo with >/made; else echo without >/made; fi\n"
	build := func(c *cached, content string) (runner.Outcome, string) {
		work := task(t, content, func(b *runner.Build) { b.Cacheable, b.Secrets = true, map[string]string{"npm": "npm-token"} })
		work.Secrets = map[string][]byte{"npm-token": []byte("s3cret-value")}
		work.Keep = func() func() { return func() {} }
		o := c.builder.Run(t.Context(), work, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		return o, work.Workspace
	}
	build(one, content)
	if err := one.Client.Room(t.Context(), 1<<60); err != nil { // the daemon loses everything
		t.Fatal(err)
	}
	if err := one.jobs[0](t.Context()); err == nil || !strings.Contains(err.Error(), "lost steps of the build") {
		t.Errorf("an export of what the daemon has lost: %v", err)
	}
	one.jobs, one.cache = nil, nil
	two := newCached(t, f.host)
	build(two, content)
	two.exports(t)
	three := newCached(t, f.host)
	o, _ := build(three, content+"RUN grep -qx with /made\n")
	wantRan(t, "what was made with a secret", o, "grep")
}

// TestCacheExportOfWhatIsLost: an export ends where a step begins, also one that copies; what ADD fetched is none of them.
func TestCacheExportOfWhatIsLost(t *testing.T) {
	f := newFront(t)
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("fetched")) }))
	t.Cleanup(files.Close)
	const copies = buildkittest.Base + "FROM scratch\nCOPY services/api/main.txt /main.txt\nCOPY --from=base /bin /bin\n"
	for _, c := range []struct {
		content string
		lost    bool
	}{{copies, true}, {copies + "ADD " + files.URL + "/file /file\n", false}} {
		one := newCached(t, f.host)
		work := task(t, c.content, func(b *runner.Build) { b.Cacheable = true })
		work.Keep = func() func() { return func() {} }
		runnertest.Want(t, one.builder.Run(t.Context(), work, &runnertest.Recorder{}), runner.Succeeded, runner.ClassNone)
		if c.lost {
			if err := one.Client.Room(t.Context(), 1<<60); err != nil {
				t.Fatal(err)
			}
		}
		if err := one.jobs[0](t.Context()); (err != nil) != c.lost || err != nil && !strings.Contains(err.Error(), "lost steps of the build") {
			t.Errorf("an export of %q: %v", c.content, err)
		}
	}
}

func TestCacheRef(t *testing.T) {
	seen := map[string]string{}
	for _, c := range [][3]string{
		{"shop", "api", "linux/amd64"}, {"shop", "api", ""}, {"shop", "API", "linux/amd64"}, {"Shop", "api", "linux/amd64"}, {"shop", "api_", "linux/amd64"},
		{"shop", "a--b", "linux/arm/v7"}, {"shop", "ä", "linux/amd64"}, {"shop", "ö", "linux/amd64"}, {"shop", "..", "x"}, {"", "", ""}, {"shop", "api/v2", "linux/amd64,linux/arm64"},
		{"shop", strings.Repeat("long", 100), strings.Repeat("x", 300)}, {"shop", strings.Repeat("long", 101), "windows(10.0.17763)/amd64"},
	} {
		ref := buildkit.CacheRef("registry.example:5000/cache", c[0], c[1], c[2])
		if _, err := reference.ParseNormalizedNamed(ref); err != nil {
			t.Errorf("%q: %s: %v", c, ref, err)
		}
		if other, ok := seen[ref]; ok {
			t.Errorf("%q and %s have the same cache %s", c, other, ref)
		}
		seen[ref] = fmt.Sprintf("%q", c)
	}
	if ref := buildkit.CacheRef("r.example/cache", "shop", "api", "linux/amd64"); ref != "r.example/cache/shop/api:linux-amd64" {
		t.Error(ref)
	}
}

// TestCacheIdentity: layers that were in a cache, and so are compressed in another way, make the image that a clean build makes.
func TestCacheIdentity(t *testing.T) {
	f := newFront(t)
	const inner = buildkittest.Base + "FROM base AS deps\nRUN echo deps >/deps && chmod 700 /deps\n"
	const outer = inner + "FROM base\nCOPY --from=deps /deps /copied\n"
	image := func(r runner.Runner, content, push string) string {
		work := task(t, content, func(b *runner.Build) { b.Cacheable, b.Push = true, push })
		work.Keep = func() func() { return func() {} }
		o := r.Run(t.Context(), work, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		return o.Result.Image
	}
	clean := image(buildkit.NewBuilder(buildkittest.Start(t).Client), inner, f.host+"/shop/api")
	one := newCached(t, f.host)
	image(one.builder, outer, "")
	one.exports(t)
	if got := image(one.builder, inner, f.host+"/shop/api"); got != clean {
		t.Errorf("after an export: %s, a clean build makes %s", got, clean)
	}
	two := newCached(t, f.host)
	if got := image(two.builder, inner, f.host+"/shop/api"); got != clean {
		t.Errorf("from the cache: %s, a clean build makes %s", got, clean)
	}
	if two.counts[buildkit.CacheFound] != 1 {
		t.Error(two.counts)
	}
}
