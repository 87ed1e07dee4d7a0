package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/worker/holdings"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
)

const (
	// lookEvery is how often BuildKit is asked what it has thrown away.
	lookEvery = time.Minute
	// lookWait is how long it may take to answer, and firstWait when the worker starts, which goes on without.
	lookWait, firstWait = 10 * time.Second, 2 * time.Second
)

// holder knows what BuildKit's cache holds, and says so.
type holder struct {
	held *holdings.Holdings
	bk   *buildkit.Client
	say  func(added, dropped []uint64)
	log  *slog.Logger
}

// newHolder reads what the worker's file says of the daemon's cache. Of a daemon that does not answer nothing is known.
func newHolder(ctx context.Context, state string, bk *buildkit.Client, log *slog.Logger) (*holder, error) {
	asked, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	cache, err := bk.CacheID(asked)
	if err != nil { // it is asked again
		log.InfoContext(ctx, "what BuildKit's cache holds is not known before it answers", "err", err)
	}
	held, err := holdings.Open(filepath.Join(state, "holdings.json"), cache, time.Now)
	if err != nil {
		return nil, err
	}
	return &holder{held: held, bk: bk, log: log}, nil
}

// left notes what an attempt has left.
func (h *holder) left(keys []uint64) {
	if len(keys) == 0 {
		return
	}
	added, dropped, err := h.held.Add(keys...)
	h.tell(context.Background(), added, dropped, err)
}

func (h *holder) tell(ctx context.Context, added, dropped []uint64, err error) {
	h.say(added, dropped)
	if err != nil {
		h.log.WarnContext(ctx, "after a restart the worker will not know what BuildKit's cache holds", "err", err)
	}
}

// look asks the daemon now and then, until the context ends.
func (h *holder) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	h.once(ctx)
	for {
		select {
		case <-tick.C:
			h.once(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// once forgets what is there no more: all of it where the cache is another one.
func (h *holder) once(ctx context.Context) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	cache, err := h.bk.CacheID(ctx)
	if err != nil {
		return // a daemon that is away comes back, or another does
	}
	if added, dropped, err := h.held.Of(cache); len(added)+len(dropped) > 0 || err != nil {
		h.tell(ctx, added, dropped, err)
	}
	oldest, err := h.bk.Oldest(ctx)
	if err != nil {
		return
	}
	if oldest.IsZero() { // there is nothing
		oldest = begun
	}
	dropped, err := h.held.Forget(oldest)
	h.tell(ctx, nil, dropped, err)
}
