package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/ownership"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/peer"
	"github.com/slipway-build/slipway/coordinator/readmodel"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
)

// replica is this coordinator among those of the farm.
type replica struct {
	keeper *ownership.Keeper
	token  string // with which it calls the others
	unlock func()
}

// newReplica takes the state folder, and joins the others.
func newReplica(ctx context.Context, cfg config.Config, js jetstream.JetStream, listener net.Addr, log *slog.Logger) (*replica, error) {
	unlock, err := lockState(cfg.State)
	if err != nil {
		return nil, err
	}
	id, err := replicaID(cfg.State)
	if err != nil {
		unlock()
		return nil, err
	}
	r := &replica{token: rpc.NewToken(), unlock: unlock}
	c := ownership.Config{
		JS: js, Replicas: cfg.Replicas, Partitions: cfg.Partitions, TTL: cfg.Peers.TTL, Log: log, Now: time.Now,
		Self: ownership.Replica{ID: id, Name: cfg.Name, Address: reachedAt(cfg, listener), Key: rpc.HashToken(r.token), Shares: true, Unpacks: true},
	}
	r.keeper, err = queue.Asked(ctx, log, func(ctx context.Context) (*ownership.Keeper, error) { return ownership.Open(ctx, c) })
	if err != nil {
		unlock()
		return nil, err
	}
	return r, nil
}

// there are the ids of the coordinators that are alive, and whether all of them share.
func (r *replica) there() (ids []string, share bool) {
	share = true
	for _, o := range r.keeper.Replicas() {
		ids = append(ids, o.ID)
		share = share && o.Shares
	}
	return ids, share
}

// unpack says whether all coordinators that are alive read packed logs.
func (r *replica) unpack() bool {
	return !slices.ContainsFunc(r.keeper.Replicas(), func(o ownership.Replica) bool { return !o.Unpacks })
}

// knows reports that a secret is another coordinator's.
func (r *replica) knows(secret string) bool {
	key := rpc.HashToken(secret)
	for _, o := range r.keeper.Replicas() {
		if o.Key == key {
			return true
		}
	}
	return false
}

// run competes for partitions, and serves those that it owns.
func (r *replica) run(ctx context.Context, parts *partition.Set, model *readmodel.Model) error {
	return r.keeper.Run(ctx, func(ctx context.Context, n int, l ownership.Lease) error {
		if model != nil {
			model.Forget()
			defer model.Forget()
		}
		return parts.Serve(ctx, n, l)
	})
}

func newPeers(cfg config.Config, r *replica, parts *partition.Set) *peer.Peers {
	return peer.New(peer.Config{
		Owners: r.keeper, Partitions: parts,
		Dial: func(ctx context.Context, address string) (*grpc.ClientConn, error) {
			return rpc.Dial(ctx, address, rpc.DialOptions{Token: r.token, CA: cfg.Peers.CA, ServerName: cfg.Peers.ServerName})
		},
	})
}

// reachedAt is where the others reach this coordinator.
func reachedAt(cfg config.Config, listener net.Addr) string {
	if cfg.Peers.Address != cfg.Listen {
		return cfg.Peers.Address
	}
	tcp, ok := listener.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listener.String()
	}
	host, err := os.Hostname()
	if err != nil {
		return listener.String()
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// lockState keeps a second coordinator from the state folder: it would be taken for this
// one, started again.
func lockState(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("state folder %s is used by another coordinator that runs: give each its own", dir)
		}
		return nil, fmt.Errorf("lock state folder %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// replicaID names the coordinator of a state folder, over restarts.
func replicaID(dir string) (string, error) {
	path := filepath.Join(dir, "replica.id")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(strings.ToLower(rand.Text()[:12]) + "\n")
		err = os.WriteFile(path, data, 0o600)
	}
	id := strings.TrimSpace(string(data))
	if err == nil && (len(id) != 12 || strings.ContainsAny(id, ".*> ")) {
		err = fmt.Errorf("%s is damaged; remove it, and a new one is made", path)
	}
	if err != nil {
		return "", fmt.Errorf("name of this coordinator: %w", err)
	}
	return id, nil
}

// whenServed calls f once every partition has an owner, and those that are here answer.
func whenServed(ctx context.Context, parts *partition.Set, r *replica, f func()) {
	for _, p := range parts.All() {
		for !served(ctx, p, r) {
			select {
			case <-r.keeper.Changed():
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
	f()
}

func served(ctx context.Context, p *partition.Partition, r *replica) bool {
	if p.Here() {
		return p.Do(ctx, func(*partition.Tx) error { return nil }) == nil
	}
	o, ok := r.keeper.Owner(p.Number())
	return ok && o.ID != r.keeper.Self().ID
}
