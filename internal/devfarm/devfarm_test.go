package devfarm_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestAFarmStartsAndStops: everything is real, nothing is deployed.
func TestAFarmStartsAndStops(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	ready := make(chan clientfile.File, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- devfarm.Run(ctx, devfarm.Config{
			State: state, Tools: filepath.Join(home, ".cache", "slipway", "bin"), LeaseTTL: time.Second, Version: "test", GitEnv: gitcmd.PassThrough(os.Environ()),
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Ready: func(f clientfile.File) { ready <- f },
		})
	}()
	select {
	case f := <-ready:
		conn, err := rpc.Dial(t.Context(), f.Address, rpc.DialOptions{Token: f.Token})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := pb.NewRunServiceClient(conn).List(t.Context(), &pb.ListRequest{}); err != nil {
			t.Errorf("list runs: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("farm: %v", err)
		}
	case err := <-done:
		t.Fatalf("farm: %v", err)
	}
	cancel()
	if _, err := clientfile.Read(state); err == nil {
		t.Error("client.yaml is left of a farm that stopped")
	}
}
