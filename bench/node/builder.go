package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/buildkitd"
	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/worker/config"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	worker "github.com/slipway-build/slipway/worker/server"
)

// Builder is a worker with a BuildKit of its own, beside a farm with everything.
type Builder struct {
	Name     string `json:"name"`
	State    string `json:"state"`    // its own folder, with all that it keeps
	Tools    string `json:"tools"`    // where buildkitd is
	Farm     string `json:"farm"`     // state folder of the farm
	Address  string `json:"address"`  // of the coordinator
	NATS     string `json:"nats"`     // its URL
	Registry string `json:"registry"` // of the farm
	Slots    int    `json:"slots"`
	Shares   bool   `json:"shares"` // it takes steps from what other workers left in the registry
}

// Run works until the input ends.
func (b Builder) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := buildkitd.New(buildkitd.Config{ToolDir: b.Tools, Root: filepath.Join(b.State, "buildkit"), Log: log, Registries: engines.BuildKitRegistries(b.Registry)})
	if err != nil {
		return fmt.Errorf("BuildKit: %w", err)
	}
	cfg, err := b.config(d.Address())
	if err != nil {
		return err
	}
	base, stop := context.WithCancel(context.WithoutCancel(ctx)) // the worker ends first
	defer stop()
	var engine errgroup.Group
	engine.Go(func() error { return d.Run(base) })
	if err := d.Ready(ctx); err != nil {
		return fmt.Errorf("BuildKit: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return worker.New(cfg, log).Run(ctx) })
	g.Go(func() error {
		defer cancel()
		return Serve(ctx, in, out, struct{}{}, nil)
	})
	err = g.Wait()
	stop()
	if err2 := engine.Wait(); err == nil {
		err = err2
	}
	return err
}

func (b Builder) config(address string) (config.Config, error) {
	secrets, err := engines.OpenSecrets(filepath.Join(b.Farm, "secrets"))
	if err != nil {
		return config.Config{}, fmt.Errorf("credentials: %w", err)
	}
	auth, err := secrets.DockerConfig(b.Registry, engines.RegistryPush)
	if err != nil {
		return config.Config{}, fmt.Errorf("credentials: %w", err)
	}
	data, err := os.ReadFile(auth)
	if err != nil {
		return config.Config{}, fmt.Errorf("credentials: %w", err)
	}
	login, err := buildkit.ParseAuth(data)
	if err != nil {
		return config.Config{}, fmt.Errorf("credentials: %w", err)
	}
	cfg := config.Config{
		Name: b.Name, Coordinator: config.Coordinator{Address: b.Address, Token: secrets.Get(engines.WorkerToken)},
		NATS:     &queue.Address{URL: b.NATS, User: engines.NATSWorker, PasswordFile: secrets.File(engines.NATSWorker), InboxPrefix: engines.WorkerInbox},
		BuildKit: address, RegistryAuth: auth, Auth: login, Slots: config.Slots{config.CapabilityBuild: b.Slots},
		State: filepath.Join(b.State, "work"), Drain: 10 * time.Second, Version: "bench",
	}
	if b.Shares {
		cfg.Cache = &config.Cache{Registry: b.Registry + "/cache"}
	}
	return cfg.Complete()
}
