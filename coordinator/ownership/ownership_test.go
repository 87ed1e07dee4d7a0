package ownership_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/coordinator/ownership"
	"github.com/slipway-build/slipway/internal/natstest"
)

// The clock of an embedded NATS server outlives it for a moment.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

const partitions = 6

// table is who serves what, as those who serve say it.
type table struct {
	mu     sync.Mutex
	serves map[int]map[string]ownership.Lease
	twice  []string // two valid leases of one partition at a time

	settled chan struct{} // closed: whoever serves has nothing to wait for
}

func newTable() *table {
	b := &table{serves: map[int]map[string]ownership.Lease{}, settled: make(chan struct{})}
	close(b.settled)
	return b
}

func (b *table) begin(n int, id string, l ownership.Lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.serves[n] == nil {
		b.serves[n] = map[string]ownership.Lease{}
	}
	for other, o := range b.serves[n] {
		if o.Valid() {
			b.twice = append(b.twice, other+" and "+id)
		}
	}
	b.serves[n][id] = l
}

func (b *table) end(n int, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.serves[n], id)
}

// held is how many partitions each replica serves.
func (b *table) held() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]int{}
	for _, by := range b.serves {
		for id := range by {
			out[id]++
		}
	}
	return out
}

// cut is a JetStream that a test can take away from one replica.
type cut struct {
	jetstream.JetStream
	mu  sync.Mutex
	off bool
}

func (c *cut) set(off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
}

func (c *cut) isOff() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

func (c *cut) CreateOrUpdateKeyValue(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := c.JetStream.CreateOrUpdateKeyValue(ctx, cfg)
	return &cutBucket{kv, c}, err
}

// cutBucket loses what a replica writes while it is cut off.
type cutBucket struct {
	jetstream.KeyValue
	c *cut
}

func (b *cutBucket) wait(ctx context.Context) error {
	if b.c.isOff() {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (b *cutBucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	if err := b.wait(ctx); err != nil {
		return 0, err
	}
	return b.KeyValue.Put(ctx, key, value)
}

func (b *cutBucket) Update(ctx context.Context, key string, value []byte, last uint64) (uint64, error) {
	if err := b.wait(ctx); err != nil {
		return 0, err
	}
	return b.KeyValue.Update(ctx, key, value, last)
}

func (b *cutBucket) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	if err := b.wait(ctx); err != nil {
		return err
	}
	return b.KeyValue.Delete(ctx, key, opts...)
}

type replica struct {
	*ownership.Keeper
	cut  *cut
	stop func()
}

func join(t *testing.T, srv *natstest.Server, b *table, id string) *replica {
	t.Helper()
	c := &cut{JetStream: srv.JetStream(t)}
	k, err := ownership.Open(t.Context(), ownership.Config{
		JS: c, Partitions: partitions, TTL: time.Second, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Self: ownership.Replica{ID: id, Name: id, Address: "127.0.0.1:1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := k.Run(ctx, func(ctx context.Context, n int, l ownership.Lease) error {
			b.begin(n, id, l)
			select {
			case <-b.settled:
				l.Settled()
			case <-ctx.Done():
			}
			defer b.end(n, id)
			<-ctx.Done()
			return nil
		})
		if err != nil {
			t.Errorf("replica %s: %v", id, err)
		}
	}()
	r := &replica{Keeper: k, cut: c, stop: sync.OnceFunc(func() { cancel(); <-done })}
	t.Cleanup(r.stop)
	return r
}

// until polls: it fails after a time that no healthy machine needs.
func until(t *testing.T, b *table, what string, ok func(held map[string]int) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok(b.held()) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not seen: %s; partitions are held by %v", what, b.held())
		}
	}
}

func TestPartitionsAreSharedAndPassOn(t *testing.T) {
	srv := natstest.Start(t)
	b := newTable()
	first := join(t, srv, b, "a")
	until(t, b, "one has all", func(h map[string]int) bool { return h["a"] == partitions })
	join(t, srv, b, "b")
	third := join(t, srv, b, "c")
	shared := func(h map[string]int) bool { return h["a"] == 2 && h["b"] == 2 && h["c"] == 2 }
	until(t, b, "each has its share", shared)

	third.stop() // it says that it leaves
	until(t, b, "two have all", func(h map[string]int) bool { return h["a"] == 3 && h["b"] == 3 && h["c"] == 0 })

	first.cut.set(true) // it cannot say anything, and must stop by itself
	until(t, b, "one has all that the other lost", func(h map[string]int) bool { return h["a"] == 0 && h["b"] == partitions })
	first.cut.set(false)
	until(t, b, "it is back", func(h map[string]int) bool { return h["a"] == 3 && h["b"] == 3 })

	until(t, b, "each owner is known to the other", func(map[string]int) bool {
		for n := range partitions {
			if o, ok := first.Owner(n); !ok || o.ID != "a" && o.ID != "b" {
				return false
			}
		}
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, who := range b.twice {
		t.Errorf("one partition was served by %s at a time", who)
	}
}

// What is not settled is not handed over: the next owner would wait anew.
func TestWhatIsNotSettledStays(t *testing.T) {
	srv := natstest.Start(t)
	b := newTable()
	b.settled = make(chan struct{})
	join(t, srv, b, "a")
	until(t, b, "one has all", func(h map[string]int) bool { return h["a"] == partitions })
	second := join(t, srv, b, "b")
	until(t, b, "each knows the other", func(map[string]int) bool { return len(second.Replicas()) == 2 })
	time.Sleep(time.Second) //nolint:forbidigo // several looks of the first, which must do nothing
	if h := b.held(); h["a"] != partitions {
		t.Errorf("handed over before it was settled: %v", h)
	}
	close(b.settled)
	until(t, b, "each has its share", func(h map[string]int) bool { return h["a"] == 3 && h["b"] == 3 })
}

// A coordinator that is started again after it was killed does not wait for what it owned
// itself.
func TestAReplicaTakesOverFromItself(t *testing.T) {
	srv := natstest.Start(t)
	b := newTable()
	killed := join(t, srv, b, "a")
	until(t, b, "it has all", func(h map[string]int) bool { return h["a"] == partitions })
	killed.cut.set(true)
	again := join(t, srv, b, "a")
	until(t, b, "the next process has all", func(map[string]int) bool {
		for n := range partitions {
			if o, ok := again.Owner(n); !ok || o.ID != "a" {
				return false
			}
		}
		return true
	})
	killed.cut.set(false)
}
