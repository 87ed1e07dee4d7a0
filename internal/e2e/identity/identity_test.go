//go:build e2e

package identity_test

import (
	"flag"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bk "github.com/moby/buildkit/client"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/examples/many"
	"github.com/slipway-build/slipway/internal/devfarm/devfarmtest"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
)

var flags = struct {
	edits *int
	seed  *uint64
}{
	flag.Int("edits", 12, "how many random edits; 500 is the full form"),
	flag.Uint64("seed", 1, "of the edits"),
}

const services = 8

// TestWhatIsReusedIsWhatACleanBuildMakes: after each edit every service that the farm does not build
// is built cleanly, and the images must be the same to the last bit.
func TestWhatIsReusedIsWhatACleanBuildMakes(t *testing.T) {
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Fatalf("needs the package busybox-static: %v", err)
	}
	w := begin(t)
	reused, built, counts := 0, 0, map[string]int{}
	for i := range *flags.edits {
		what := w.edit(t, i)
		counts[strings.Fields(what)[0]]++
		images, fresh := w.run(t, what)
		t.Logf("edit %d: %s", i, what)
		for _, now := range fresh {
			if now {
				built++
			}
		}
		clean := w.clean(t, images, fresh)
		for _, name := range slices.Sorted(maps.Keys(clean)) {
			if !fresh[name] {
				reused++
			}
			if got := digest(images[name]); got != clean[name] {
				t.Fatalf("edit %d (seed %d): %s\nthe image of %s is %s (built now: %t); a clean build makes %s", i, *flags.seed, what, name, got, fresh[name], clean[name])
			}
		}
	}
	t.Logf("%d edits (%v): %d images were built and %d reused, each of which a clean build makes too", *flags.edits, counts, built, reused)
	if reused == 0 || built < services {
		t.Error("too little was compared")
	}
}

// world is a farm, a repository, and a daemon that builds cleanly.
type world struct {
	random  *rand.Rand
	repo    *devfarmtest.Repository
	farm    *devfarmtest.Farm
	pure    *buildkittest.Farm
	builder *buildkit.Builder
	daemon  *bk.Client
	commits []string
	model   []*service
}

func begin(t *testing.T) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "many")
	if err := many.Write(dir, many.Options{Services: services, Seed: *flags.seed, Busybox: "/bin/busybox"}); err != nil {
		t.Fatal(err)
	}
	w := &world{random: rand.New(rand.NewPCG(*flags.seed, 0)), repo: devfarmtest.NewRepository(t, dir)}
	w.services(t)
	w.farm = devfarmtest.Start(t, filepath.Dir(dir))
	w.pure = buildkittest.Start(t)
	w.builder = buildkit.NewBuilder(w.pure.Client)
	var err error
	if w.daemon, err = bk.New(t.Context(), w.pure.Daemon.Address()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.daemon.Close() })
	return w
}

// run is the image of each service after a run of the newest commit, and which were built in it.
func (w *world) run(t *testing.T, what string) (images map[string]string, fresh map[string]bool) {
	t.Helper()
	got := w.farm.Run(t, w.repo)
	images, fresh = map[string]string{}, map[string]bool{}
	for _, task := range got.GetTasks() {
		if task.GetKind() != "build" {
			continue
		}
		if task.GetResult().GetImage() == "" {
			t.Fatalf("%s: %s is %s: %s", what, task.GetId(), task.GetState(), task.GetMessage())
		}
		images[task.GetService()] = task.GetResult().GetImage()
		fresh[task.GetService()] = len(task.GetAttempts()) > 0
	}
	return images, fresh
}

// clean builds cleanly what was reused, and what that stands on.
func (w *world) clean(t *testing.T, images map[string]string, fresh map[string]bool) map[string]string {
	t.Helper()
	if err := w.daemon.Prune(t.Context(), nil, bk.PruneAll); err != nil {
		t.Fatal(err)
	}
	p, problems := pipeline.Parse(map[string][]byte{pipeline.File: w.read(t, pipeline.File)})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	var build func(name string)
	build = func(name string) {
		if out[name] != "" {
			return
		}
		s, _ := p.Service(name)
		contexts := map[string]string{}
		for _, c := range s.Build.Contexts {
			build(c.Service)
			contexts[c.Name] = w.pure.Registry + "/" + c.Service + "@" + out[c.Service]
		}
		o := w.builder.Run(t.Context(), runner.Task{ID: "clean/" + name, Commit: w.commits[len(w.commits)-1], Workspace: w.repo.Dir, Work: runner.Build{
			Paths: []string{"."}, Dockerfile: s.Build.Dockerfile, Context: s.Build.Context, Target: s.Build.Target, Args: s.Build.Args, Contexts: contexts,
			Push: w.pure.Registry + "/" + name,
		}}, quiet{io.Discard})
		if o.Kind != runner.Succeeded {
			t.Fatalf("clean build of %s: %s", name, o.Message)
		}
		out[name] = digest(o.Result.Image)
	}
	for name := range images {
		if !fresh[name] {
			build(name)
		}
	}
	return out
}

func (w *world) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.repo.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func digest(image string) string {
	_, d, _ := strings.Cut(image, "@")
	return d
}

// quiet is a runner's report that nobody reads.
type quiet struct{ io.Writer }

func (quiet) Started()                    {}
func (quiet) Progress(...runner.Progress) {}
