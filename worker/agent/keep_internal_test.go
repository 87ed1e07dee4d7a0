package agent

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/workspace"
)

// hello has one file.
type hello struct{}

func (hello) List(context.Context, workspace.Source, []string) (string, []workspace.Entry, error) {
	sum := sha256.Sum256([]byte("hello"))
	return "1", []workspace.Entry{{Path: "api", Kind: workspace.File, ID: workspace.Content{SHA256: string(sum[:])}}}, nil
}

func (hello) Read(_ context.Context, _ workspace.Source, _ string, _ []int, take func(int64, io.Reader) error) error {
	return take(5, strings.NewReader("hello"))
}

// TestKeep: a source stays while what outlives the attempt reads it, and goes afterwards.
func TestKeep(t *testing.T) {
	sources, err := workspace.Open(workspace.Config{Dir: t.TempDir(), Keep: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Workspaces: sources})
	src := workspace.Source{Project: "shop", Commit: "abc", Paths: []string{"api"}}
	ctx, cancel := context.WithCancel(t.Context())
	got, release, err := sources.Acquire(ctx, src, hello{})
	if err != nil {
		t.Fatal(err)
	}
	dir := got.Dir
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
