package farm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/internal/rpc"
)

// Config of a farm.
type Config struct {
	Store      string           // folder of the NATS server
	Workers    []map[string]int // slots by capability, of each worker process
	Partitions int              // 0: as a coordinator has by default
	OTLP       string           // where spans go; empty: nowhere
	// SnapshotEvery is after how many records the coordinator takes a snapshot; 0: never.
	SnapshotEvery uint64
	// Sessions is how many workers each worker process is; 0: one.
	Sessions int
}

// partitions of a coordinator whose configuration does not say.
const partitions = 8

// ttl of leases: the default of coordinator.yaml.
const ttl = 10 * time.Second

// Farm is NATS, a coordinator and workers, each a process.
type Farm struct {
	cfg         Config
	token       string
	viewer      string // token of those who follow logs
	NATS        *Proc
	Coordinator *Proc
	Workers     []*Proc
}

// New starts a farm with an empty store.
func New(ctx context.Context, cfg Config) (*Farm, error) {
	if cfg.Partitions == 0 {
		cfg.Partitions = partitions
	}
	f := &Farm{cfg: cfg, token: rpc.NewToken(), viewer: rpc.NewToken()}
	if err := f.start(ctx); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

// Open starts NATS alone, on the store of an earlier farm.
func Open(ctx context.Context, cfg Config) (f *Farm, err error) {
	f = &Farm{cfg: cfg, token: rpc.NewToken(), viewer: rpc.NewToken()}
	if f.cfg.Partitions == 0 {
		f.cfg.Partitions = partitions
	}
	f.NATS, err = Start(ctx, "nats", node.NATS{Store: cfg.Store})
	return f, err
}

func (f *Farm) start(ctx context.Context) (err error) {
	if err := os.RemoveAll(filepath.Join(f.cfg.Store, "jetstream")); err != nil {
		return fmt.Errorf("empty the store: %w", err)
	}
	if f.NATS, err = Start(ctx, "nats", node.NATS{Store: f.cfg.Store}); err != nil {
		return err
	}
	if err := f.StartCoordinator(ctx); err != nil {
		return err
	}
	return f.StartWorkers(ctx, f.cfg.Workers...)
}

// StartCoordinator starts one on the farm's journal, and waits until it serves.
func (f *Farm) StartCoordinator(ctx context.Context) error {
	if err := f.ExecCoordinator(ctx); err != nil {
		return err
	}
	return f.Coordinator.Call("served", struct{}{}, nil)
}

// ExecCoordinator starts one, and waits only until it listens.
func (f *Farm) ExecCoordinator(ctx context.Context) (err error) {
	f.Coordinator, err = Start(ctx, "coordinator", node.Coordinator{NATS: f.NATS.Address, Token: f.token, Viewer: f.viewer, Partitions: f.cfg.Partitions, TTL: ttl, OTLP: f.cfg.OTLP, SnapshotEvery: f.cfg.SnapshotEvery})
	return err
}

// StartWorkers starts a worker process for each number of slots by capability.
func (f *Farm) StartWorkers(ctx context.Context, workers ...map[string]int) error {
	for i, slots := range workers {
		w, err := Start(ctx, "worker", node.Worker{Name: fmt.Sprintf("worker-%d", i+1), Coordinator: f.Coordinator.Address, Token: f.token, NATS: f.NATS.Address, Slots: slots, Sessions: f.cfg.Sessions, OTLP: f.cfg.OTLP})
		if err != nil {
			return err
		}
		f.Workers = append(f.Workers, w)
	}
	return nil
}

// StartFollowers starts a process that follows logs.
func (f *Farm) StartFollowers(ctx context.Context) (*Proc, error) {
	return Start(ctx, "followers", node.Followers{Coordinator: f.Coordinator.Address, Token: f.viewer})
}

// StopWorkers stops them.
func (f *Farm) StopWorkers() {
	for _, w := range f.Workers {
		w.Stop()
	}
	f.Workers = nil
}

// Stop ends every process, those that need others first.
func (f *Farm) Stop() {
	f.StopWorkers()
	if f.Coordinator != nil {
		f.Coordinator.Stop()
	}
	if f.NATS != nil {
		f.NATS.Stop()
	}
}

// PIDs of every process.
func (f *Farm) PIDs() []int {
	out := []int{f.NATS.PID(), f.Coordinator.PID()}
	for _, w := range f.Workers {
		out = append(out, w.PID())
	}
	return out
}

// CPU is the seconds that the farm's processes, and what they started, have used so far.
func (f *Farm) CPU() float64 {
	sum := 0.0
	for _, pid := range f.PIDs() {
		sum += Family(pid)
	}
	return sum
}

// Rebuilt stops the coordinator, starts another on the same journal, and says what is
// wrong if that one serves anything else (I9). The workers are stopped first.
func (f *Farm) Rebuilt(ctx context.Context) (broken string, err error) {
	var before, after string
	f.StopWorkers()
	if err := f.Coordinator.Call("digest", struct{}{}, &before); err != nil {
		return "", err
	}
	f.Coordinator.Stop()
	if err := f.StartCoordinator(ctx); err != nil {
		return "", err
	}
	if err := f.Coordinator.Call("digest", struct{}{}, &after); err != nil {
		return "", err
	}
	if before != after {
		return fmt.Sprintf("I9: served before: %s; rebuilt from the journal: %s", before, after), nil
	}
	return "", nil
}
