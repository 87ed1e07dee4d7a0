// Package buildkittest gives tests a BuildKit daemon and a registry of their own, and
// workspaces whose Dockerfiles need no base image.
package buildkittest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/enginetest"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
)

// Base begins a Dockerfile whose first stage has a shell.
const Base = `FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox","--install","-s","/bin"]
`

// Farm is a daemon, a registry and a client.
type Farm struct {
	Daemon   *buildkitd.Daemon
	Client   *buildkit.Client
	Registry string // host:port
	Root     string // of the daemon
}

// Start starts them for one test.
func Start(t testing.TB) *Farm {
	t.Helper()
	return StartIn(t, t.TempDir())
}

// StartIn starts them with a root of the caller's.
func StartIn(t testing.TB, root string) *Farm {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	d, err := buildkitd.New(buildkitd.Config{
		ToolDir: filepath.Join(cache, "slipway", "bin"), Root: root, GC: buildkitd.GC{ReservedSpace: "1GB"},
	})
	if err != nil {
		enginetest.Missing(t, "cannot run BuildKit here: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop buildkitd: %v", err)
		}
	})
	reg := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug))))
	t.Cleanup(reg.Close)
	ready, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := d.Ready(ready); err != nil {
		t.Fatal(err)
	}
	f := &Farm{Daemon: d, Registry: strings.TrimPrefix(reg.URL, "http://"), Root: root}
	f.Client = f.Dial(t, buildkit.Config{})
	return f
}

// Dial makes another client of the daemon.
func (f *Farm) Dial(t testing.TB, cfg buildkit.Config) *buildkit.Client {
	t.Helper()
	cfg.Address = f.Daemon.Address()
	c, err := buildkit.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Workspace makes a folder with files, and the machine's static busybox for Base.
func Workspace(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		enginetest.Missing(t, "needs the package busybox-static: %v", err)
	}
	write(t, filepath.Join(dir, "busybox"), busybox, 0o755)
	for name, content := range files {
		write(t, filepath.Join(dir, name), []byte(content), 0o644)
	}
	return dir
}

func write(t testing.TB, name string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, mode); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(buildkit.Epoch, 0)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}
