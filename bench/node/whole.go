package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/gitcmd"
)

// Whole is a farm with everything, BuildKit too, as `slipway up` runs it for one machine. How it is reached is in
// client.yaml of its state folder.
type Whole struct {
	State        string   `json:"state"`
	Tools        string   `json:"tools"`        // where buildkitd is
	Repositories []string `json:"repositories"` // folders below which they are
	// Slots are builds at once; 0: 4; below: none, those are other processes'.
	Slots int `json:"slots,omitempty"`
	NATS  int `json:"nats,omitempty"` // port; 0: any
}

// Run runs the farm until the input ends.
func (w Whole) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, ended := make(chan clientfile.File, 1), make(chan error, 1)
	go func() {
		ended <- devfarm.Run(ctx, devfarm.Config{
			State: w.State, Tools: w.Tools, LocalPaths: w.Repositories, Version: "bench", GitEnv: gitcmd.PassThrough(os.Environ()),
			BuildSlots: w.Slots, Ports: devfarm.Ports{NATS: w.NATS},
			Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Ready: func(f clientfile.File) { ready <- f },
		})
	}()
	select {
	case f := <-ready:
		err := Serve(ctx, in, out, Address{URL: f.Address}, nil)
		cancel()
		if ferr := <-ended; err == nil {
			err = ferr
		}
		if err != nil {
			return fmt.Errorf("farm: %w", err)
		}
		return nil
	case err := <-ended:
		return fmt.Errorf("farm: %w", err)
	}
}
