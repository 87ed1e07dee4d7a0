package examples_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/tonistiigi/fsutil"
	fsutiltypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/enginetest"
	"github.com/slipway-build/slipway/internal/ociregistry"
)

const shop = "shop"

func parseShop(t *testing.T) (*pipeline.Pipeline, *pipeline.Targets) {
	t.Helper()
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(shop, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	p, problems := pipeline.Parse(map[string][]byte{pipeline.File: read(pipeline.File)})
	targets, more := pipeline.ParseTargets("targets.yaml", read("targets.yaml"))
	for _, problem := range append(problems, more...) {
		t.Error(problem)
	}
	if t.Failed() {
		t.FailNow()
	}
	report := pipeline.NewReporter()
	pipeline.Match(p, targets, report)
	for _, problem := range report.Problems() {
		t.Error(problem)
	}
	return p, targets
}

func TestShopManifests(t *testing.T) {
	p, targets := parseShop(t)
	for _, s := range p.Services {
		if s.Deploy.Using == pipeline.UsingHelm {
			continue // its chart is rendered by make demo, with the values of each cluster
		}
		kind := "kind: Deployment"
		if s.Name == "store" {
			kind = "kind: StatefulSet"
		}
		for _, env := range targets.Environments {
			dir := filepath.Join(shop, s.Deploy.Path, "overlays", env.Name)
			rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
			if err != nil {
				t.Errorf("%s: %v", dir, err)
				continue
			}
			text, err := rendered.AsYaml()
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{kind, "kind: Service", "image: " + s.Name, "readinessProbe", "shop.example/environment: " + env.Name} {
				if !bytes.Contains(text, []byte(want)) {
					t.Errorf("%s lacks %q", dir, want)
				}
			}
		}
	}
}

// farm is what building needs: a daemon whose docker.io is the registry's mirror.
type farm struct {
	client   *client.Client
	registry string
}

func start(t *testing.T) farm {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	registry, err := ociregistry.New(ociregistry.Config{
		Dir: t.TempDir(), MirrorDir: t.TempDir(),
		Credentials: []ociregistry.Credential{{User: "all", Password: "secret", Role: ociregistry.Mirror}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := buildkitd.New(buildkitd.Config{
		ToolDir: filepath.Join(cache, "slipway", "bin"), Root: t.TempDir(), Parallelism: 2,
		Registries: []buildkitd.Registry{
			{Host: "docker.io", Mirrors: []string{host + "/" + ociregistry.MirrorPrefix}},
			{Host: host, PlainHTTP: true},
		},
	})
	if err != nil {
		enginetest.Missing(t, "cannot run BuildKit here: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var parts errgroup.Group
	parts.Go(func() error { return registry.Run(ctx, listener) })
	parts.Go(func() error { return daemon.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := parts.Wait(); err != nil {
			t.Error(err)
		}
	})
	_, err = baseimages.Bootstrap(t.Context(), baseimages.Config{
		Registry: host, Prefix: ociregistry.MirrorPrefix, User: "all", Password: "secret",
	})
	if err != nil {
		enginetest.Missing(t, "cannot make base images here: %v", err)
	}
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := daemon.Ready(wait); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(t.Context(), daemon.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return farm{client: c, registry: host}
}

// build builds one stage of a service as a worker does: the repository limited to the service's paths. tail is added to
// the Dockerfile. An image name pushes the result.
func (f farm) build(t *testing.T, s *pipeline.Service, stage, tail, image string) error {
	t.Helper()
	repository, err := fsutil.NewFS(shop)
	if err != nil {
		t.Fatal(err)
	}
	limited, err := fsutil.NewFilterFS(repository, &fsutil.FilterOpt{
		IncludePatterns: s.Paths(),
		Map: func(_ string, stat *fsutiltypes.Stat) fsutil.MapResult {
			stat.Uid, stat.Gid = 0, 0
			return fsutil.MapResultKeep
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile(filepath.Join(shop, s.Build.Dockerfile))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), append(dockerfile, tail...), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	opt := client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: map[string]string{"target": stage},
		LocalMounts:   map[string]fsutil.FS{"context": limited, "dockerfile": files},
		Session: []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
			AuthConfigProvider: func(_ context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
				if host != f.registry {
					return types.AuthConfig{}, nil
				}
				return types.AuthConfig{Username: "all", Password: "secret"}, nil
			},
		})},
	}
	if image != "" {
		opt.Exports = []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": image, "push": "true"}}}
	}
	var log bytes.Buffer
	display, err := progressui.NewDisplay(&log, progressui.PlainMode)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan *client.SolveStatus)
	var group errgroup.Group
	group.Go(func() error { _, err := display.UpdateFrom(context.WithoutCancel(t.Context()), status); return err })
	_, err = f.client.Solve(t.Context(), nil, opt, status)
	if end := group.Wait(); end != nil {
		t.Error(end)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, log.String())
	}
	return nil
}

func TestShopBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("builds images for a minute or two")
	}
	p, _ := parseShop(t)
	f := start(t)
	for _, s := range p.Services {
		t.Run(s.Name, func(t *testing.T) {
			if err := f.build(t, s, "", "", f.registry+"/shop/"+s.Name+":test"); err != nil {
				t.Fatal(err)
			}
			for _, test := range s.Tests {
				if test.At == pipeline.AtDeploy || len(test.Sidecars) > 0 { // it needs a cluster or a worker: internal/e2e/shop, make demo
					continue
				}
				// The command must leave the report that slipway.yaml promises.
				run := fmt.Sprintf("\nFROM %s AS slipway-test\nRUN (%s) && test -s %s\n", cmp.Or(test.In, "test"), test.Run, strings.TrimPrefix(test.Report, "**/"))
				if err := f.build(t, s, "slipway-test", run, ""); err != nil {
					t.Errorf("test %s: %v", test.Name, err)
				}
			}
		})
	}
}
