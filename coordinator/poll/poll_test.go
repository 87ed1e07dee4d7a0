package poll_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/poll"
)

// world is a repository, a memory, and who deals with pushes.
type world struct {
	t     *testing.T
	grace time.Duration

	mu     sync.Mutex
	heads  map[string]string
	memory map[string]map[string]string
	away   error // of the repository
	deaf   error // of the memory
	busy   error // of who deals
	dealt  []string
	stop   func()
}

const every = time.Minute

// inBubble runs a test whose clock goes on as soon as everybody waits.
func inBubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, heads: map[string]string{"main": "a"}, memory: map[string]map[string]string{}}
		w.start()
		defer func() { w.stop() }()
		f(w)
	})
}

func (w *world) start() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := poll.Run(ctx, poll.Config{
			Repositories: []poll.Repository{{Webhook: "shop", Address: "https://git.example.com/shop", Every: every, Grace: w.grace}},
			Memory:       w, Heads: w.list, Deal: w.deal, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: time.Now,
		}); err != nil {
			w.t.Error(err)
		}
	}()
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
	synctest.Wait()
}

func (w *world) list(context.Context, string) (map[string]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.heads), w.away
}

func (w *world) Load(_ context.Context, key string) (map[string]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.memory[key]), w.deaf
}

func (w *world) Save(_ context.Context, key string, heads map[string]string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf == nil {
		w.memory[key] = maps.Clone(heads)
	}
	return w.deaf
}

func (w *world) deal(_ context.Context, r poll.Repository, p poll.Push) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy == nil {
		w.dealt = append(w.dealt, fmt.Sprintf("%s %s %s..%s", r.Webhook, p.Branch, p.Before, p.Commit))
	}
	return w.busy
}

// push moves branches, in pairs of name and head; an empty head deletes one.
func (w *world) push(pairs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		if w.heads[pairs[i]] = pairs[i+1]; pairs[i+1] == "" {
			delete(w.heads, pairs[i])
		}
	}
}

// breaks sets what goes wrong.
func (w *world) breaks(where *error, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*where = err
}

// after lets the clock go on, and compares what was dealt with meanwhile.
func (w *world) after(d time.Duration, want ...string) {
	w.t.Helper()
	<-time.After(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(want, w.dealt); diff != "" {
		w.t.Errorf("dealt with (-want +got)\n%s", diff)
	}
	w.dealt = nil
}

func TestPushesAreFoundOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		w.after(time.Hour) // what was there before is nobody's push
		w.push("main", "b", "feature", "f")
		w.after(every, "shop feature ..f", "shop main a..b")
		w.after(time.Hour)
		w.push("main", "c")
		w.push("main", "d", "feature", "")
		w.after(every, "shop main b..d")
		w.push("feature", "f") // again
		w.after(every, "shop feature ..f")
	})
}

func TestWhatWasPushedWhileNobodyLooked(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.push("main", "b")
		w.start()
		w.after(0, "shop main a..b")
		w.stop()
		w.start()
		w.after(time.Hour)
	})
}

func TestAPushIsLeftToTheHostForAWhile(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.grace = 90 * time.Second
		w.start()
		w.push("main", "b")
		w.after(every)
		w.push("main", "c")
		w.after(every)
		w.after(every)
		w.after(every, "shop main a..c")
	})
}

func TestNothingIsLostThatGoesWrong(t *testing.T) {
	inBubble(t, func(w *world) {
		broken := errors.New("broken")
		for _, where := range []*error{&w.away, &w.busy} {
			w.breaks(where, broken)
			w.push("main", "b")
			w.after(10 * every)
			w.breaks(where, nil)
			w.after(every, "shop main a..b")
			w.push("main", "a")
			w.after(every, "shop main b..a")
		}
		w.breaks(&w.deaf, broken)
		w.push("main", "b")
		w.after(every, "shop main a..b")
		w.after(10 * every)
		w.breaks(&w.deaf, nil)
		w.after(every)
		w.stop()
		w.start()
		w.after(every) // it is remembered by now
	})
}

func TestAMemoryThatCannotBeReadIsNotAnEmptyOne(t *testing.T) {
	inBubble(t, func(w *world) {
		w.stop()
		w.push("main", "b")
		w.breaks(&w.deaf, errors.New("broken"))
		w.start()
		w.after(10 * every)
		w.breaks(&w.deaf, nil)
		w.after(every, "shop main a..b")
	})
}
