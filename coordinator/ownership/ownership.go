package ownership

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

const bucket = "SLIPWAY_OWNERS"

// Replica is one coordinator of the farm.
type Replica struct {
	// ID stays when a program is started again with the same state folder: nobody else
	// has it, so what the process before it owned is taken over at once.
	ID      string `json:"id"`
	Name    string `json:"name"`    // for people
	Address string `json:"address"` // where the others reach it: host:port of its API
	// Key is the hash of the token with which it calls the others.
	Key string `json:"key"`
	// Shares: it reports what it has, and obeys what it may have. Those of earlier versions do not.
	Shares bool `json:"shares,omitempty"`
	// Unpacks: it reads logs that are packed. Those of earlier versions take them for text.
	Unpacks bool `json:"unpacks,omitempty"`
}

// Lease is the right to serve one partition.
type Lease interface {
	// Valid reports that nobody else can have the partition now.
	Valid() bool
	// Settled says that whoever serves it waits no more for what the owner before may have
	// given away. It is handed over to another replica only then, who would wait anew.
	Settled()
}

// Config of a Keeper.
type Config struct {
	JS         jetstream.JetStream
	Replicas   int // of the bucket: 1 or 3
	Self       Replica
	Partitions int
	// TTL is how long a lease lasts that is not renewed; one and the same in the farm.
	TTL time.Duration
	Log *slog.Logger
	Now func() time.Time // a monotonic clock
}

// Keeper competes for partitions while Run runs.
type Keeper struct {
	cfg   Config
	birth string // of this process: tells its entries from those of the process before it

	mu      sync.Mutex
	kv      jetstream.KeyValue
	entries map[string]entry // by key: what the bucket said last
	held    map[int]*hold
	changed chan struct{} // closed and made anew at each change of replicas or owners
	leaving bool          // it takes no partition any more
}

// entry is one key of the bucket as it was seen last.
type entry struct {
	record   record
	revision uint64
	seen     time.Time
}

// record is the value of a key: who is there, or who owns a partition.
type record struct {
	Replica
	Birth string `json:"birth"`
}

// Open makes the bucket if it is not there.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, birth: rand.Text(), entries: map[string]entry{}, held: map[int]*hold{}, changed: make(chan struct{})}
	return k, k.open(ctx)
}

func (k *Keeper) open(ctx context.Context) error {
	kv, err := k.cfg.JS.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucket, Description: "Which coordinators there are, and which partition is whose", Storage: jetstream.FileStorage,
		Replicas: max(1, k.cfg.Replicas), TTL: k.cfg.TTL, History: 1,
	})
	if err != nil {
		return fmt.Errorf("open the owners of partitions: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kv = kv
	return nil
}

// Serve serves a partition while its context lives. An error ends the Keeper: the
// partition cannot be served by anybody.
type Serve func(ctx context.Context, partition int, l Lease) error

// Run competes until the context ends, and has serve serve what it wins. Then it gives
// back what it holds, so that others need not wait for a TTL.
func (k *Keeper) Run(ctx context.Context, serve Serve) error {
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { k.watch(inner); return nil })
	g.Go(func() error { k.compete(inner, g, serve); return nil })
	return g.Wait()
}

// every is how often a lease is renewed; look how often the keeper looks for what is free.
func (k *Keeper) every() time.Duration { return k.cfg.TTL / 4 }
func (k *Keeper) look() time.Duration {
	return min(max(k.cfg.TTL/16, 20*time.Millisecond), 250*time.Millisecond)
}

// compete presents this replica, and takes and gives partitions, until the context ends.
func (k *Keeper) compete(ctx context.Context, g *errgroup.Group, serve Serve) {
	tick := time.NewTicker(k.look())
	defer tick.Stop()
	var presented time.Time
	for {
		if now := k.cfg.Now(); presented.IsZero() || now.Sub(presented) >= k.every() {
			if err := k.present(ctx); err == nil {
				presented = now
			} else if ctx.Err() == nil {
				k.cfg.Log.WarnContext(ctx, "this replica cannot be seen by others", "err", err)
			}
		}
		for _, n := range k.wanted() {
			if h := k.acquire(ctx, n); h != nil {
				g.Go(func() error { return k.serve(ctx, h, serve) })
			}
		}
		k.share()
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		select {
		case <-tick.C:
		case <-changed:
		case <-ctx.Done():
			k.leave(ctx)
			return
		}
	}
}

// present says that this replica is there.
func (k *Keeper) present(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.TTL)
	defer cancel()
	if _, err := k.bucket().Put(ctx, replicaKey(k.cfg.Self.ID), k.value()); err != nil {
		return fmt.Errorf("present replica %s: %w", k.cfg.Self.Name, err)
	}
	return nil
}

// leave says that this replica is not there any more. The partitions follow as each is
// done with its last batch.
func (k *Keeper) leave(ctx context.Context) {
	k.mu.Lock()
	k.leaving = true
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := k.bucket().Delete(ctx, replicaKey(k.cfg.Self.ID)); err != nil {
		k.cfg.Log.WarnContext(ctx, "others are not told that this replica leaves", "err", err)
	}
}

func (k *Keeper) bucket() jetstream.KeyValue {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kv
}

func (k *Keeper) value() []byte {
	data, err := json.Marshal(record{k.cfg.Self, k.birth})
	if err != nil {
		panic("strings cannot be encoded: " + err.Error())
	}
	return data
}

const (
	replicaPrefix   = "replica."
	partitionPrefix = "partition."
)

func replicaKey(id string) string { return replicaPrefix + id }
func partitionKey(n int) string   { return fmt.Sprintf("%s%d", partitionPrefix, n) }

// watch keeps entries up to date.
func (k *Keeper) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := k.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		k.cfg.Log.WarnContext(ctx, "owners of partitions are not seen, looking again", "err", err)
		select {
		case <-time.After(k.every()):
		case <-ctx.Done():
			return
		}
		if err := k.open(ctx); err != nil && ctx.Err() == nil {
			k.cfg.Log.WarnContext(ctx, "owners of partitions", "err", err)
		}
	}
}

var errSilent = errors.New("the bucket says nothing, not even of this replica")

// follow reads the bucket until it says nothing for long: then it may have been made anew.
func (k *Keeper) follow(ctx context.Context) error {
	w, err := k.bucket().WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer func() { _ = w.Stop() }()
	silent := time.NewTimer(3 * k.cfg.TTL)
	defer silent.Stop()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errSilent
			}
			silent.Reset(3 * k.cfg.TTL)
			if e != nil {
				k.see(e)
			}
		case <-silent.C:
			return errSilent
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// see takes what the bucket says of a key.
func (k *Keeper) see(e jetstream.KeyValueEntry) {
	n := entry{revision: e.Revision(), seen: k.cfg.Now()}
	gone := e.Operation() != jetstream.KeyValuePut
	if !gone {
		if err := json.Unmarshal(e.Value(), &n.record); err != nil {
			k.cfg.Log.Warn("owner of a partition cannot be read", "key", e.Key(), "err", err)
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	old, had := k.entries[e.Key()]
	if had && old.revision > n.revision {
		return
	}
	k.entries[e.Key()] = n
	if !had || old.record != n.record || k.cfg.Now().Sub(old.seen) > k.cfg.TTL {
		k.news()
	}
}

// news wakes those who wait for a change; mu is held.
func (k *Keeper) news() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// alive reports that the entry is somebody's now; mu is held.
func (k *Keeper) alive(e entry) bool {
	return e.record.ID != "" && k.cfg.Now().Sub(e.seen) <= k.cfg.TTL
}

// Replicas that are there now, this one included, by id.
func (k *Keeper) Replicas() []Replica {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.replicas()
}

func (k *Keeper) replicas() []Replica {
	var out []Replica
	if !k.leaving {
		out = append(out, k.cfg.Self)
	}
	for key, e := range k.entries {
		if strings.HasPrefix(key, replicaPrefix) && k.alive(e) && e.record.ID != k.cfg.Self.ID {
			out = append(out, e.record.Replica)
		}
	}
	slices.SortFunc(out, func(a, b Replica) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Self is this replica.
func (k *Keeper) Self() Replica { return k.cfg.Self }

// Owner of a partition now. Not ok: nobody has it, or nobody that can be reached.
func (k *Keeper) Owner(n int) (Replica, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.held[n]; ok {
		return k.cfg.Self, true
	}
	e, ok := k.entries[partitionKey(n)]
	if !ok || !k.alive(e) || e.record.ID == k.cfg.Self.ID {
		return Replica{}, false
	}
	return e.record.Replica, true
}

// Changed is closed at the next change of replicas or owners.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}
