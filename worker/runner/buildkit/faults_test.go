package buildkit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// R10, the short form: BuildKit and the registry are broken at every stage of a solve. Whatever comes of it is never the
// user's fault, and what can be reached in the registry is whole.

// front is a registry that can be broken at a request.
type front struct {
	host string
	real http.Handler

	mu    sync.Mutex
	stage string                                            // the method and the kind of what is asked for
	fault func(w http.ResponseWriter, r *http.Request) bool // answers that it has answered
	made  []string                                          // "repository@digest" of manifests that were taken
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{real: registry.New(registry.WithReferrersSupport(true), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.host = strings.TrimPrefix(s.URL, "http://")
	return f
}

// breaks has a fault at each request of a stage; an empty one ends that.
func (f *front) breaks(stage string, fault func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage, f.fault = stage, fault
}

func stageOf(r *http.Request) string {
	switch {
	case strings.Contains(r.URL.Path, "/manifests/"):
		return r.Method + " manifest"
	case strings.Contains(r.URL.Path, "/blobs/"):
		return r.Method + " blob"
	default:
		return r.Method
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	stage, fault := f.stage, f.fault
	f.mu.Unlock()
	if stage != "" && stage == stageOf(r) && fault(w, r) {
		return
	}
	if r.Method == http.MethodPut { // what breaks off is not taken for the end
		data, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(data))
	}
	rec := &recorded{ResponseWriter: w}
	f.real.ServeHTTP(rec, r)
	if repository, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/"); ok && r.Method == http.MethodPut && rec.code == http.StatusCreated {
		f.mu.Lock()
		f.made = append(f.made, repository+"@"+w.Header().Get("Docker-Content-Digest"))
		f.mu.Unlock()
	}
}

type recorded struct {
	http.ResponseWriter
	code int
}

func (r *recorded) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// whole fails the test unless everything that can be reached is.
func (f *front) whole(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	made := slices.Clone(f.made)
	f.mu.Unlock()
	for _, m := range made {
		ref, err := name.NewDigest(f.host+"/"+m, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := reachable(ref); err != nil {
			t.Errorf("%s can be reached, and is not whole: %v", m, err)
		}
		tags, err := remote.List(ref.Context())
		if err != nil || len(tags) > 0 {
			t.Errorf("tags of %s: %v, %v", ref.Context(), tags, err)
		}
	}
}

// reachable reads every blob of an index, an image or an attestation.
func reachable(ref name.Digest) error {
	desc, err := remote.Get(ref)
	if err != nil {
		return err
	}
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err != nil {
			return err
		}
		m, err := index.IndexManifest()
		if err != nil {
			return err
		}
		for _, child := range m.Manifests {
			err = errors.Join(err, reachable(ref.Context().Digest(child.Digest.String())))
		}
		return err
	}
	image, err := desc.Image()
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	for _, l := range layers {
		blob, err := l.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, blob) // which checks its digest
		if err = errors.Join(err, blob.Close()); err != nil {
			return err
		}
	}
	return nil
}

// trigger is a report that does something when a step with a name begins.
type trigger struct {
	*runnertest.Recorder
	step string
	do   func()
}

func (g trigger) Progress(steps ...runner.Progress) {
	for _, s := range steps {
		if g.step != "" && strings.Contains(s.Name, g.step) {
			g.do()
		}
	}
	g.Recorder.Progress(steps...)
}

// broken is a farm on a small disk, with what can be done to it.
type broken struct {
	*buildkittest.Farm
	front   *front
	builder runner.Runner
	copies  bool // builds have no command of the user's
}

func (b *broken) signal(s syscall.Signal) {
	if pid := b.Daemon.PID(); pid != 0 {
		_ = syscall.Kill(pid, s) // it may have ended
	}
}

// fill leaves no room on the daemon's disk.
func (b *broken) fill() {
	f, err := os.Create(filepath.Join(b.Root, "filler"))
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	zeros := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(zeros)
	}
}

// mend undoes what was done, and waits until the daemon serves.
func (b *broken) mend(t *testing.T) {
	t.Helper()
	b.front.breaks("", nil)
	b.signal(syscall.SIGCONT)
	if err := os.Remove(filepath.Join(b.Root, "filler")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err := b.Client.Check(ctx); err != nil; err = b.Client.Check(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("the daemon does not come back: %v", err)
		}
	}
}

func (b *broken) build(t *testing.T, name string, r runner.Report) runner.Outcome {
	t.Helper()
	steps := "ENV CASE=" + name + "\nCOPY services/api/main.txt /main.txt\nCOPY busybox /" + name + "\n"
	if !b.copies {
		steps += "RUN echo " + name + " >/made && head -c 3000000 /dev/urandom >/large\n"
	}
	work := task(t, buildkittest.Base+steps, func(w *runner.Build) {
		w.Push, w.Provenance = b.front.host+"/shop/api", true
	})
	work.Timeout = 2 * time.Minute // which no case may need
	return b.builder.Run(t.Context(), work, r)
}

func TestR10Short(t *testing.T) {
	answers := func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"errors":[{"code":"UNKNOWN","message":"broken"}]}`, http.StatusBadGateway)
		return true
	}
	cuts := func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.CopyN(io.Discard, r.Body, 1000)
		panic(http.ErrAbortHandler)
	}
	signal := func(s syscall.Signal) func(*broken) { return func(b *broken) { b.signal(s) } }
	for _, c := range []struct {
		fault  string
		daemon func(*broken)
		front  func(http.ResponseWriter, *http.Request) bool // nil: it passes on
		stages []string                                      // those with two words in small letters are steps
	}{
		{"killed", signal(syscall.SIGKILL), nil, []string{"load build definition", "load build context", "COPY services", "RUN echo", "exporting to image", "HEAD blob", "POST blob", "PUT blob", "PUT manifest"}},
		{"hung", signal(syscall.SIGSTOP), nil, []string{"load build context", "RUN echo", "exporting to image", "POST blob", "PUT manifest"}},
		// A command that finds no room says so itself, and is believed: here are none.
		{"full", (*broken).fill, nil, []string{"the beginning", "load build context", "exporting to image", "POST blob", "PUT manifest"}},
		{"registry answers 502", nil, answers, []string{"HEAD blob", "POST blob", "PUT blob", "PUT manifest"}},
		{"registry cuts the connection", nil, cuts, []string{"HEAD blob", "POST blob", "PUT blob", "PUT manifest"}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			b := &broken{Farm: buildkittest.StartIn(t, runnertest.SmallDisk(t, 512<<20)), front: newFront(t), copies: c.fault == "full"}
			b.builder = runner.Decorate(buildkit.NewBuilder(b.Dial(t, buildkit.Config{Patience: 3 * time.Second})), runner.Timeout())
			if warm := b.build(t, "warm", &runnertest.Recorder{}); warm.Kind != runner.Succeeded {
				t.Fatalf("before anything breaks: %s", warm.Message)
			}
			errored := false
			for i, stage := range c.stages {
				rec := &runnertest.Recorder{}
				var report runner.Report = rec
				once := sync.OnceFunc(func() {
					if c.daemon != nil {
						c.daemon(b)
					}
				})
				if stage == "the beginning" {
					once()
				}
				if slices.Contains([]string{http.MethodHead, http.MethodPost, http.MethodPut}, strings.Fields(stage)[0]) {
					b.front.breaks(stage, func(w http.ResponseWriter, r *http.Request) bool {
						once()
						return c.front != nil && c.front(w, r)
					})
				} else {
					report = trigger{rec, stage, once}
				}
				broke := b.judge(t, fmt.Sprintf("%s at %q", c.fault, stage), fmt.Sprint("case", i), report, c.fault == "hung")
				errored = errored || broke
			}
			if !errored {
				t.Error("nothing broke")
			}
			if len(b.front.made) < len(c.stages) {
				t.Errorf("%d manifests of %d builds were taken", len(b.front.made), len(c.stages))
			}
		})
	}
	// What says that images are whole sees one that is not.
	if err := halfAnImage(newFront(t)); err == nil {
		t.Error("an image without a layer is taken for whole")
	}
}

// judge says what must come of a build while something breaks, and of the same one afterwards. It answers whether
// the first was errored.
func (b *broken) judge(t *testing.T, what, id string, report runner.Report, hung bool) bool {
	t.Helper()
	o := b.build(t, id, report)
	b.mend(t)
	if o.Kind != runner.Succeeded && (o.Kind != runner.Errored || o.Class != runner.ClassInfra) {
		t.Errorf("%s: %s, class %s: %s", what, o.Kind, o.Class, o.Message)
	}
	if hung && !strings.Contains(o.Message, "has left a question unanswered for 3s") {
		t.Errorf("%s: %s: %s", what, o.Kind, o.Message)
	}
	b.front.whole(t)
	// A killed daemon may leave a snapshot's folder, which takes a try of the next one; so often a farm tries again, too.
	again := b.build(t, id, &runnertest.Recorder{})
	for range 4 {
		if again.Kind == runner.Errored {
			b.mend(t) // one that found no room for its own books may end a moment later
			again = b.build(t, id, &runnertest.Recorder{})
		}
	}
	if again.Kind != runner.Succeeded {
		t.Errorf("%s: the next build: %s: %s", what, again.Kind, again.Message)
	}
	b.front.whole(t)
	t.Logf("%s: %s: %.150s", what, o.Kind, strings.ReplaceAll(o.Message, "\n", " "))
	return o.Kind == runner.Errored
}

// halfAnImage is what is said of an image whose layer was never pushed.
func halfAnImage(f *front) error {
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": "sha256:" + strings.Repeat("a", 64)},
		"layers": []any{},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPut, "http://"+f.host+"/v2/half/manifests/x", strings.NewReader(string(manifest))) //nolint:noctx // of a test
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	res, err := new(http.Client).Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	ref, err := name.NewDigest(f.host+"/half@"+res.Header.Get("Docker-Content-Digest"), name.Insecure)
	if err != nil {
		return err
	}
	return reachable(ref)
}
