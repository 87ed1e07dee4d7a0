package agent

import (
	"archive/tar"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/worker/workspace"
)

// TestKeep: a source stays while what outlives the attempt reads it, and goes afterwards.
func TestKeep(t *testing.T) {
	sources, err := workspace.Open(workspace.Config{Dir: t.TempDir(), Keep: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Workspaces: sources})
	src := workspace.Source{Project: "shop", Commit: "abc", Paths: []string{"api"}}
	ctx, cancel := context.WithCancel(t.Context())
	dir, _, release, err := sources.Acquire(ctx, src, func(_ context.Context, _ workspace.Source, w io.Writer) error {
		tw := tar.NewWriter(w)
		if err := tw.WriteHeader(&tar.Header{Name: "api", Mode: 0o644, Size: 5, Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := tw.Write([]byte("hello")); err != nil {
			return err
		}
		return tw.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	keep := a.keeper(ctx, src)
	kept := keep()
	if kept == nil {
		t.Fatal("it cannot be kept")
	}
	release()
	cancel()
	if _, err := os.Stat(filepath.Join(dir, "api")); err != nil {
		t.Errorf("it is gone while it is kept: %v", err)
	}
	kept()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it stays: %v", err)
	}
	if keep() != nil {
		t.Error("what is gone is kept")
	}
	if err := sources.Close(); err != nil {
		t.Error(err)
	}
}
