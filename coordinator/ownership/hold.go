package ownership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/internal/failpoint"
)

// hold is a partition that this replica has.
type hold struct {
	n      int
	now    func() time.Time
	cancel context.CancelCauseFunc
	ctx    context.Context //nolint:containedctx // of who serves it

	mu       sync.Mutex
	revision uint64
	deadline time.Time // until when nobody else can have it
	settled  bool
}

// Causes with which serving ends.
var (
	// ErrLost: the lease was not renewed in time.
	ErrLost = errors.New("the lease of the partition was lost")
	// ErrHandedOver: another replica has fewer partitions.
	ErrHandedOver = errors.New("the partition is handed over to another replica")
)

// Valid implements Lease.
func (h *hold) Valid() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now().Before(h.deadline)
}

// Settled implements Lease.
func (h *hold) Settled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled = true
}

func (h *hold) isSettled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.settled
}

func (h *hold) renewed(revision uint64, deadline time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revision, h.deadline = revision, deadline
}

func (h *hold) at() (revision uint64, deadline time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revision, h.deadline
}

// believed is how long a lease may be believed from the sending of its renewal on: less
// than the server keeps it, for clocks do not run alike.
func (k *Keeper) believed() time.Duration { return k.cfg.TTL - k.cfg.TTL/10 }

// wanted is what this replica should try to take: what is nobody's, while it has less
// than its share, or what nobody took for long.
func (k *Keeper) wanted() []int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaving {
		return nil
	}
	room := k.fair() - len(k.held)
	var out []int
	for n := range k.cfg.Partitions {
		if _, ok := k.held[n]; ok {
			continue
		}
		e, known := k.entries[partitionKey(n)]
		mine := known && e.record.ID == k.cfg.Self.ID && e.record.Birth != k.birth // of the process before this one
		if known && k.alive(e) && !mine {
			continue
		}
		if room > 0 || known && k.cfg.Now().Sub(e.seen) > 3*k.cfg.TTL {
			out = append(out, n)
			room--
		}
	}
	return out
}

// fair is how many partitions a replica has at most when all have their share; mu is held.
func (k *Keeper) fair() int {
	n := max(1, len(k.replicas()))
	return (k.cfg.Partitions + n - 1) / n
}

// acquire tries to become the owner of a partition; nil: somebody else is. An entry that was
// not renewed for its time, as this replica saw it, is replaced: the server removes it only when it
// looks next, up to 250 ms later (nats-server, filestore.resetAgeChk).
func (k *Keeper) acquire(ctx context.Context, n int) *hold {
	key := partitionKey(n)
	k.mu.Lock()
	e, known := k.entries[key]
	silent := e.record.ID != "" && !k.alive(e)
	k.mu.Unlock()
	tctx, cancel := context.WithTimeout(ctx, k.cfg.TTL)
	defer cancel()
	sent := k.cfg.Now()
	var revision uint64
	var err error
	if known && e.record.ID == k.cfg.Self.ID && e.record.Birth != k.birth {
		revision, err = k.bucket().Update(tctx, key, k.value(), e.revision)
	} else {
		revision, err = k.bucket().Create(tctx, key, k.value())
		if errors.Is(err, jetstream.ErrKeyExists) && silent {
			revision, err = k.bucket().Update(tctx, key, k.value(), e.revision)
		}
	}
	if err != nil {
		if !errors.Is(err, jetstream.ErrKeyExists) && !wrongRevision(err) && ctx.Err() == nil {
			k.cfg.Log.WarnContext(ctx, "partition cannot be taken", "partition", n, "err", err)
		}
		return nil
	}
	h := &hold{n: n, now: k.cfg.Now, revision: revision, deadline: sent.Add(k.believed())}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[n] = h
	k.news()
	return h
}

func wrongRevision(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// share gives one partition away when another replica has less than it should, and one is settled.
func (k *Keeper) share() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.held) <= k.fair() {
		return
	}
	numbers := make([]int, 0, len(k.held))
	for n, h := range k.held {
		if h.ctx.Err() != nil {
			return // one is on its way
		}
		if h.isSettled() {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) > 0 {
		k.held[slices.Max(numbers)].cancel(ErrHandedOver)
	}
}

// serve has a partition served until its lease ends one way or another, and gives it back.
func (k *Keeper) serve(ctx context.Context, h *hold, serve Serve) error {
	done := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() { k.renew(h, done) })
	failpoint.Hit(failpoint.OwnerTaken)
	err := serve(h.ctx, h.n, h)
	close(done)
	renewing.Wait()
	cause := context.Cause(h.ctx)
	h.cancel(nil)
	k.giveBack(ctx, h)
	switch {
	case err != nil:
		return err
	case errors.Is(cause, ErrLost), errors.Is(cause, ErrHandedOver):
		k.cfg.Log.InfoContext(ctx, "partition is left to others", "partition", h.n, "cause", cause)
	}
	return nil
}

// giveBack lets others take the partition at once.
func (k *Keeper) giveBack(ctx context.Context, h *hold) {
	revision, deadline := h.at()
	if k.cfg.Now().Before(deadline) {
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline.Sub(k.cfg.Now()))
		defer cancel()
		if err := k.bucket().Delete(dctx, partitionKey(h.n), jetstream.LastRevision(revision)); err != nil {
			k.cfg.Log.WarnContext(ctx, "others are not told that a partition is free", "partition", h.n, "err", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, h.n)
	if e := k.entries[partitionKey(h.n)]; e.record.Birth == k.birth { // until the bucket says it
		k.entries[partitionKey(h.n)] = entry{revision: e.revision, seen: k.cfg.Now()}
	}
	k.news()
}

// renew keeps the lease until serving ends, or ends serving when it cannot be kept.
func (k *Keeper) renew(h *hold, done <-chan struct{}) {
	tick := time.NewTicker(k.every())
	defer tick.Stop()
	overdue := time.NewTimer(k.believed())
	defer overdue.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		case <-overdue.C:
			h.cancel(ErrLost)
			return
		}
		if err := k.renewOnce(h); err != nil {
			if wrongRevision(err) || errors.Is(err, jetstream.ErrKeyNotFound) {
				k.cfg.Log.Warn("partition has another owner", "partition", h.n, "err", err)
				h.cancel(ErrLost)
				return
			}
			k.cfg.Log.Warn("lease of a partition is not renewed, trying again", "partition", h.n, "err", err)
		}
		_, deadline := h.at()
		overdue.Reset(max(0, deadline.Sub(k.cfg.Now())))
	}
}

func (k *Keeper) renewOnce(h *hold) error {
	revision, deadline := h.at()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), max(time.Millisecond, deadline.Sub(k.cfg.Now())))
	defer cancel()
	sent := k.cfg.Now()
	next, err := k.bucket().Update(ctx, partitionKey(h.n), k.value(), revision)
	if err != nil {
		return fmt.Errorf("renew partition %d: %w", h.n, err)
	}
	h.renewed(next, sent.Add(k.believed()))
	return nil
}
