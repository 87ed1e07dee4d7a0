package baseimages_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/enginetest"
	"github.com/slipway-build/slipway/internal/ociregistry"
)

// registry serves an empty registry and returns its address.
func registry(t *testing.T) string {
	t.Helper()
	server, err := ociregistry.New(ociregistry.Config{
		Dir: t.TempDir(), MirrorDir: t.TempDir(),
		Credentials: []ociregistry.Credential{{User: "u", Password: "p", Role: ociregistry.Mirror}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error { return server.Run(ctx, l) })
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func pull(t *testing.T, host, image string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(host + "/" + path.Join(ociregistry.MirrorPrefix, image))
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithAuth(&authn.Basic{Username: "u", Password: "p"}))
	if err != nil {
		t.Fatalf("pull %s: %v", image, err)
	}
	return img
}

// files lists the paths of an image with what a link points to.
func files(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	found := map[string]string{}
	archive := tar.NewReader(content)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = h.Linkname
	}
}

func TestBootstrap(t *testing.T) {
	host := registry(t)
	var events []baseimages.Event
	cfg := baseimages.Config{
		Registry: host, Prefix: ociregistry.MirrorPrefix, User: "u", Password: "p",
		Progress: func(e baseimages.Event) { events = append(events, e) },
	}
	first, err := baseimages.Bootstrap(t.Context(), cfg)
	if err != nil && strings.Contains(err.Error(), "busybox-static") {
		enginetest.Missing(t, "cannot make base images here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(first) < 3 {
		t.Fatalf("made %d images, want busybox, alpine and golang at least: %+v", len(first), first)
	}

	alpine := files(t, pull(t, host, "library/alpine:3.22"))
	for path, link := range map[string]string{"bin/sh": "/bin/busybox", "etc/passwd": "", "etc/ssl/certs/ca-certificates.crt": ""} {
		if got, ok := alpine[path]; !ok || got != link {
			t.Errorf("alpine: %s is %q (there: %v), want %q", path, got, ok, link)
		}
	}
	golang := pull(t, host, "library/golang:1.26")
	inGo := files(t, golang)
	for _, path := range []string{"usr/local/go/bin/go", "usr/local/go/src/fmt/print.go", "usr/local/go/go.env"} {
		if _, ok := inGo[path]; !ok {
			t.Errorf("golang lacks %s", path)
		}
	}
	config, err := golang.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	labels := config.Config.Labels
	if labels[baseimages.LabelHomemade] != "true" || !strings.Contains(labels[baseimages.LabelDescription], "not the official image") {
		t.Errorf("golang does not say that it is home-made: %v", labels)
	}

	events = nil
	second, err := baseimages.Bootstrap(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("a second bootstrap gave other images:\n%s", diff)
	}
	for _, e := range events {
		if e.Done && !e.Reused {
			t.Errorf("%s was made again from the same inputs", e.Image)
		}
	}

	cfg.Registry = registry(t)
	elsewhere, err := baseimages.Bootstrap(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, elsewhere); diff != "" {
		t.Errorf("another registry was given other images:\n%s", diff)
	}
}

// TestAs: a Dockerfile that asks for another version than this machine has gets the one that there is, under its own name.
func TestAs(t *testing.T) {
	host := registry(t)
	var said []baseimages.Event
	pinned := "alpine@sha256:" + strings.Repeat("0", 64)
	records, err := baseimages.Bootstrap(t.Context(), baseimages.Config{
		Registry: host, Prefix: ociregistry.MirrorPrefix, User: "u", Password: "p",
		As:       []string{"golang:1.24-alpine", "gcr.io/distroless/static:debug", "gcr.io/distroless/static-debian12:nonroot", "quay.io/a/b:1", pinned},
		Progress: func(e baseimages.Event) { said = append(said, e) },
	})
	if err != nil {
		enginetest.Missing(t, "cannot make base images here: %v", err)
	}
	means, missing := map[string]string{}, []string{}
	for _, e := range said {
		if e.Is != "" {
			means[e.Image] = e.Is
		}
		if e.Missing != "" && !strings.Contains(e.Missing, "was found") {
			missing = append(missing, e.Image)
		}
	}
	if means["docker.io/library/golang:1.24-alpine"] != "docker.io/library/golang:1.26" || means["gcr.io/distroless/static:debug"] == "" || len(means) != 2 {
		t.Errorf("said to mean others: %v", means)
	}
	if diff := cmp.Diff([]string{"quay.io/a/b:1", pinned}, missing); diff != "" {
		t.Errorf("said to be missing (-want +got):\n%s", diff)
	}
	i := slices.IndexFunc(records, func(r baseimages.Record) bool { return strings.HasPrefix(r.Name, "docker.io/library/golang:") })
	if i < 0 || !slices.Contains(records[i].Aliases, "docker.io/library/golang:1.24-alpine") {
		t.Errorf("the list does not say that golang has another name: %+v", records)
	}
	digest, err := pull(t, host, "library/golang:1.24-alpine").Digest()
	if err != nil || digest.String() != records[i].Digest {
		t.Errorf("golang:1.24-alpine is %s (%v), want %s", digest, err, records[i].Digest)
	}
	static := pull(t, host, "../gcr.io/distroless/static:nonroot")
	config, err := static.ConfigFile()
	if err != nil || config.Config.User != "65532" {
		t.Errorf("distroless/static:nonroot runs as %q (%v)", config.Config.User, err)
	}
	if found := files(t, static); found["bin/sh"] != "" || len(found) > 30 {
		t.Errorf("distroless/static has more than it should: %v", found)
	}
}

func TestProgramsBringTheirLibraries(t *testing.T) {
	host := registry(t)
	cfg := baseimages.Config{Registry: host, Prefix: ociregistry.MirrorPrefix, User: "u", Password: "p"}
	records, err := baseimages.Bootstrap(t.Context(), cfg)
	if err != nil {
		enginetest.Missing(t, "cannot make base images here: %v", err)
	}
	tests := []struct{ language, program, image, path string }{
		{"node", "node", "docker.io/library/node:", "usr/local/bin/node"},
		{"python", "python3", "docker.io/library/python:", "usr/local/bin/python3"},
		{"redis", "redis-check-rdb", "docker.io/library/redis:", "usr/local/bin/redis-server"},
		{"git", "git", "docker.io/alpine/git:", "usr/bin/git"},
	}
	for _, test := range tests {
		t.Run(test.language, func(t *testing.T) {
			if _, err := exec.LookPath(test.program); err != nil {
				enginetest.Missing(t, "no %s here: %v", test.program, err)
			}
			i := slices.IndexFunc(records, func(r baseimages.Record) bool { return strings.HasPrefix(r.Name, test.image) })
			if i < 0 {
				t.Fatalf("no image %s among %+v", test.image, records)
			}
			found := files(t, pull(t, host, strings.TrimPrefix(records[i].Name, "docker.io/")))
			loader := false
			for path := range found {
				loader = loader || strings.Contains(path, "ld-linux") || strings.Contains(path, "ld-musl")
			}
			if _, ok := found[test.path]; !ok || !loader {
				t.Errorf("%s there: %v, a loader there: %v; want both", test.path, ok, loader)
			}
		})
	}
}

func TestSaysWhenTheRegistryRefuses(t *testing.T) {
	_, err := baseimages.Bootstrap(t.Context(), baseimages.Config{
		Registry: registry(t), Prefix: ociregistry.MirrorPrefix, User: "u", Password: "wrong",
	})
	if err == nil || (!strings.Contains(err.Error(), "credential") && !strings.Contains(err.Error(), "busybox-static")) {
		t.Errorf("got %v, want the registry's reason", err)
	}
}

func TestRecords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bases.json")
	none, err := baseimages.ReadRecords(file)
	if err != nil || none != nil {
		t.Errorf("no file: %v, %v", none, err)
	}
	want := []baseimages.Record{{Name: "docker.io/library/alpine:3.22", Digest: "sha256:00", Homemade: true, Description: "d"}}
	if err := baseimages.WriteRecords(file, want); err != nil {
		t.Fatal(err)
	}
	got, err := baseimages.ReadRecords(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
