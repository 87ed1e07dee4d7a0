package buildkit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/cosign"
	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

const dockerfile = "services/api/Dockerfile"

func task(t *testing.T, content string, edit func(*runner.Build)) runner.Task {
	t.Helper()
	b := runner.Build{Paths: []string{"services/api", "libs/money"}, Dockerfile: dockerfile, Platform: "linux/amd64"}
	if edit != nil {
		edit(&b)
	}
	return runner.Task{
		ID: "build/api", Attempt: 1, Project: "shop", Service: "api", Commit: strings.Repeat("ab", 20), Work: b,
		Workspace: buildkittest.Workspace(t, map[string]string{dockerfile: content, "services/api/main.txt": "hello\n"}),
	}
}

func TestConformance(t *testing.T) {
	f := buildkittest.Start(t)
	runnertest.Conform(t, runnertest.Cases{
		Runner:   buildkit.NewBuilder(f.Client),
		Succeeds: func() runner.Task { return task(t, buildkittest.Base, nil) },
		Fails: func() runner.Task {
			return task(t, buildkittest.Base+"RUN echo no >&2; exit 3\n", nil)
		},
		Endless: func() runner.Task {
			return task(t, buildkittest.Base+"RUN echo going on; sleep 1000\n", nil)
		},
		Sign: " going on",
	})
}

func TestPush(t *testing.T) {
	f := buildkittest.Start(t)
	b := buildkit.NewBuilder(f.Client)
	content := buildkittest.Base + "COPY services/api/main.txt /main.txt\nRUN echo made > /made\n"
	push := func(b *runner.Build) { b.Push, b.Provenance = f.Registry+"/shop/api", true }

	rec := &runnertest.Recorder{}
	first := b.Run(t.Context(), task(t, content, push), rec)
	runnertest.Want(t, first, runner.Succeeded, runner.ClassNone)
	if !strings.Contains(rec.Log(), "COPY services/api/main.txt /main.txt\n") || !strings.Contains(rec.Log(), " DONE ") {
		t.Errorf("the log is not what people know:\n%s", rec.Log())
	}
	if len(rec.Steps()) < 4 || len(first.Steps) < 4 {
		t.Errorf("%d steps in progress, %d in the outcome, want all vertices", len(rec.Steps()), len(first.Steps))
	}

	ref, err := name.NewDigest(first.Result.Image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	if !desc.MediaType.IsImage() {
		t.Errorf("the result names a %s, want an image", desc.MediaType)
	}
	if p := provenance(t, ref); !strings.Contains(p, "https://slsa.dev/provenance/v1") || !strings.Contains(p, "slipway-build/slipway/worker") {
		t.Errorf("provenance: %.500s", p)
	}
	for _, ref := range []string{first.Result.Image, first.Steps[len(first.Steps)-1].Attributes["index"]} { // what is signed
		a, ok, err := cosign.Provenance(t.Context(), ref, cosign.Options{})
		if err != nil || !ok || a.PredicateType != cosign.ProvenanceV1 || !strings.Contains(string(a.Predicate), "slipway-build/slipway/worker") {
			t.Errorf("provenance of %s: %.500v, %t: %v", ref, a, ok, err)
		}
	}

	t.Run("digest that the daemon has forgotten", func(t *testing.T) {
		_, index, _ := strings.Cut(first.Steps[len(first.Steps)-1].Attributes["index"], "@")
		other := buildkittest.Start(t) // which never had it
		image, err := other.Client.DigestOf(t.Context(), f.Registry+"/shop/api", index)
		if err != nil || !strings.HasSuffix(first.Result.Image, "@"+image) {
			t.Errorf("the image of %s is %q, want %s: %v", index, image, first.Result.Image, err)
		}
		if _, err := other.Client.DigestOf(t.Context(), f.Registry+"/shop/none", index); err == nil || !strings.Contains(err.Error(), "does not have it any more") {
			t.Errorf("nobody has it: %v", err)
		}
	})
	t.Run("digest of a rebuild", func(t *testing.T) {
		other := buildkittest.Start(t) // an empty cache
		again := buildkit.NewBuilder(other.Client).Run(t.Context(), task(t, content, push), &runnertest.Recorder{})
		runnertest.Want(t, again, runner.Succeeded, runner.ClassNone)
		if again.Result.Image != first.Result.Image {
			t.Errorf("%s was rebuilt as %s", first.Result.Image, again.Result.Image)
		}
	})
	t.Run("named context", func(t *testing.T) {
		o := b.Run(t.Context(), task(t, "FROM parent\nRUN test -f /made\nRUN echo second > /second\n", func(b *runner.Build) {
			push(b)
			b.Push = f.Registry + "/shop/web"
			b.Contexts = map[string]string{"parent": first.Result.Image}
		}), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
	})
	t.Run("without provenance", func(t *testing.T) {
		o := b.Run(t.Context(), task(t, content, func(b *runner.Build) { b.Push = f.Registry + "/shop/api" }), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		if o.Result.Image != first.Result.Image {
			t.Errorf("without provenance the image is %s, with it %s", o.Result.Image, first.Result.Image)
		}
	})
}

// TestFresh: a step that makes something else each time is carried out again, of all stages, and not taken from the cache.
func TestFresh(t *testing.T) {
	f := buildkittest.Start(t)
	b := buildkit.NewBuilder(f.Client)
	const content = buildkittest.Base + "RUN cat /proc/sys/kernel/random/uuid > /once\nFROM base\nCOPY services/api/main.txt /main.txt\n"
	build := func(fresh bool) string {
		t.Helper()
		o := b.Run(t.Context(), task(t, content, func(b *runner.Build) { b.Push, b.Fresh = f.Registry+"/shop/api", fresh }), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		return o.Result.Image
	}
	first, cached, fresh := build(false), build(false), build(true)
	if first != cached {
		t.Errorf("the cache makes another image of the same: %s and %s", first, cached)
	}
	if fresh == first {
		t.Errorf("nothing was carried out again: %s", fresh)
	}
	if after := build(false); after != fresh {
		t.Errorf("the next build has what was there before: %s, want %s", after, fresh)
	}
}

// provenance reads the attestation as a verifier does: what refers to the image.
func provenance(t *testing.T, ref name.Digest) string {
	t.Helper()
	index, err := remote.Referrers(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 {
		t.Fatalf("%d manifests refer to %s, want the attestation", len(m.Manifests), ref)
	}
	raw, err := remote.Get(ref.Digest(m.Manifests[0].Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	var attestation v1.Manifest
	if err := json.Unmarshal(raw.Manifest, &attestation); err != nil {
		t.Fatal(err)
	}
	layer, err := remote.Layer(ref.Digest(attestation.Layers[0].Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMistakes(t *testing.T) {
	f := buildkittest.Start(t)
	base := buildkittest.Base
	for name, c := range map[string]struct {
		content string
		edit    func(*runner.Build)
		want    []string
	}{
		"failing RUN": {base + "\nRUN echo compiling; echo main.go:7: undefined: x >&2; exit 2\n", nil,
			[]string{dockerfile + ":5: ", "exit code 2", "main.go:7: undefined: x"}},
		"missing file": {base + "COPY services/api/nothing /\n", nil,
			[]string{dockerfile + ":4: /services/api/nothing does not exist in the build context", "services/api, libs/money"}},
		"unknown instruction": {base + "RUNN true\n", nil, []string{dockerfile + ":4: ", "RUNN"}},
		"unknown stage":       {base, func(b *runner.Build) { b.Target = "tests" }, []string{"target stage \"tests\" could not be found"}},
		"cut off":             {base + "RUN [\"true\"\nCOPY <<EOF /x\n", nil, []string{dockerfile + ":5"}},
		"missing Dockerfile": {base, func(b *runner.Build) { b.Dockerfile = "services/web/Dockerfile" },
			[]string{"services/web/Dockerfile does not exist at commit abababababab", "build.dockerfile"}},
		"Dockerfile outside": {base, func(b *runner.Build) { b.Dockerfile = "../Dockerfile" }, []string{"no path within the repository"}},
		"empty Dockerfile":   {"", nil, []string{"is empty"}},
		"missing base image": {"FROM " + f.Registry + "/nothing:1\n", nil, []string{dockerfile + ":1: base image " + f.Registry + "/nothing:1 does not exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := buildkit.NewBuilder(f.Client).Run(t.Context(), task(t, c.content, c.edit), &runnertest.Recorder{})
			runnertest.Want(t, o, runner.Failed, runner.ClassUser)
			for _, want := range c.want {
				if !strings.Contains(o.Message, want) {
					t.Errorf("no %q in the message:\n%s", want, o.Message)
				}
			}
		})
	}
	t.Run("out of memory", func(t *testing.T) {
		o := buildkit.NewBuilder(f.Client).Run(t.Context(), task(t, base+"RUN sh -c 'kill -9 $$'; exit $?\n", nil), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Failed, runner.ClassOOM)
	})
}

func TestBrokenFarm(t *testing.T) {
	f := buildkittest.Start(t)
	errored := func(t *testing.T, c *buildkit.Client, content string, edit func(*runner.Build), want ...string) {
		t.Helper()
		o := buildkit.NewBuilder(c).Run(t.Context(), task(t, content, edit), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
		for _, w := range want {
			if !strings.Contains(o.Message, w) {
				t.Errorf("no %q in the message:\n%s", w, o.Message)
			}
		}
	}
	answering := func(t *testing.T, code int) string {
		t.Helper()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"no"}]}`, code)
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	t.Run("push to a registry that is away", func(t *testing.T) {
		errored(t, f.Client, buildkittest.Base, func(b *runner.Build) { b.Push = "127.0.0.1:1/shop/api" },
			"registry 127.0.0.1:1 could not be reached", "connection refused", "pushing to 127.0.0.1:1/shop/api")
	})
	t.Run("base image of a registry that is away", func(t *testing.T) {
		errored(t, f.Client, "FROM 127.0.0.1:1/base:1\n", nil, "registry 127.0.0.1:1 could not be reached", "connection refused", "slipway images bootstrap --for FOLDER")
	})
	t.Run("added file of a server that is away", func(t *testing.T) {
		errored(t, f.Client, "FROM scratch\nADD http://127.0.0.1:1/tool /\n", nil, "server 127.0.0.1:1 could not be reached", "connection refused")
	})
	t.Run("registry refuses the push", func(t *testing.T) {
		host := answering(t, http.StatusForbidden)
		errored(t, f.Client, buildkittest.Base, func(b *runner.Build) { b.Push = host + "/shop/api" },
			"registry "+host+" refused the push", "worker.yaml")
	})
	t.Run("no daemon", func(t *testing.T) {
		c, err := buildkit.Dial(t.Context(), buildkit.Config{Address: "unix://" + t.TempDir() + "/none.sock"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		errored(t, c, buildkittest.Base, nil, "BuildKit at unix://")
	})
	t.Run("snapshots left half made by a killed daemon", func(t *testing.T) { halfMadeSnapshots(t, f) })
	t.Run("daemon killed in mid-solve", func(t *testing.T) {
		rec := &runnertest.Recorder{}
		running := rec.Logged(" going on")
		end := make(chan runner.Outcome, 1)
		work := task(t, buildkittest.Base+"RUN echo going on; sleep 1000\n", nil)
		go func() { end <- buildkit.NewBuilder(f.Client).Run(t.Context(), work, rec) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		select {
		case <-running:
		case <-ctx.Done():
			t.Fatalf("the build did not get going:\n%s", rec.Log())
		}
		if err := syscall.Kill(f.Daemon.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {
		case o := <-end:
			runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
			if !strings.Contains(o.Message, "connection to BuildKit") {
				t.Errorf("message: %s", o.Message)
			}
		case <-ctx.Done():
			t.Fatal("the runner did not notice")
		}
	})
}

// halfMadeSnapshots: a daemon that is killed between making a snapshot's folder and
// recording it meets that folder again when it next gives out the number.
func halfMadeSnapshots(t *testing.T, f *buildkittest.Farm) {
	t.Helper()
	first := buildkit.NewBuilder(f.Client).Run(t.Context(), task(t, buildkittest.Base+"RUN echo one\n", nil), &runnertest.Recorder{})
	runnertest.Want(t, first, runner.Succeeded, runner.ClassNone)
	found, err := filepath.Glob(filepath.Join(f.Root, "runc-overlayfs", "snapshots", "snapshots", "[0-9]*"))
	if err != nil || len(found) == 0 {
		t.Skipf("no overlay snapshots in %s: %v", f.Root, err)
	}
	last := 0
	for _, dir := range found {
		n, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, n)
	}
	for n := last + 1; n <= last+2; n++ {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(found[0]), strconv.Itoa(n), "fs"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	failures := 0
	for range 5 {
		o := buildkit.NewBuilder(f.Client).Run(t.Context(), task(t, buildkittest.Base+"RUN echo another\n", nil), &runnertest.Recorder{})
		if o.Kind == runner.Succeeded {
			break
		}
		failures++
		runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
	}
	if failures == 0 || failures == 5 {
		t.Errorf("%d of 5 builds failed, want some at first and then none", failures)
	}
}

// TestOwnRegistry pushes to the registry that a farm on one machine has, which wants
// credentials and has storage of another make than the one of the other tests.
func TestOwnRegistry(t *testing.T) {
	f := buildkittest.Start(t)
	reg, err := ociregistry.New(ociregistry.Config{
		Dir: t.TempDir(), Credentials: []ociregistry.Credential{{User: "worker", Password: "s3cret", Role: ociregistry.Push}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	s := httptest.NewServer(reg.Handler())
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	push := func(b *runner.Build) { b.Push, b.Provenance = host+"/shop/api", true }
	build := func(t *testing.T, secret string) runner.Outcome {
		t.Helper()
		auths, err := buildkit.ParseAuth(fmt.Appendf(nil, `{"auths":{%q:{"username":"worker","password":%q}}}`, host, secret))
		if err != nil {
			t.Fatal(err)
		}
		c := f.Dial(t, buildkit.Config{Auth: auths})
		return buildkit.NewBuilder(c).Run(t.Context(), task(t, buildkittest.Base, push), &runnertest.Recorder{})
	}
	t.Run("wrong credentials", func(t *testing.T) {
		o := build(t, "wrong")
		runnertest.Want(t, o, runner.Errored, runner.ClassInfra)
		if !strings.Contains(o.Message, "registry "+host+" refused the push") {
			t.Errorf("message: %s", o.Message)
		}
	})
	t.Run("right credentials", func(t *testing.T) {
		o := build(t, "s3cret")
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		ref, err := name.NewDigest(o.Result.Image, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		login := remote.WithAuth(&authn.Basic{Username: "worker", Password: "s3cret"})
		if _, err := remote.Image(ref, login); err != nil {
			t.Errorf("the image cannot be pulled: %v", err)
		}
		// The step names the index, which leads to the attestation in any registry.
		index, err := name.NewDigest(o.Steps[len(o.Steps)-1].Attributes["index"], name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Index(index, login)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := got.IndexManifest(); err != nil || len(m.Manifests) != 2 {
			t.Errorf("index %+v, error %v, want the image and its attestation", m, err)
		}
	})
}
