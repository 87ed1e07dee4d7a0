package trust

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/coordinator/run"
)

// every so often suspicions are looked through.
const every = time.Second

// Watch is the cordons of a farm, with workers that this coordinator suspects among them: those
// are given nothing either, until it is known whose fault it was.
type Watch struct {
	*cordon.Store

	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	takers  func() []string
	ledger  ledger
	guilty  map[string]string // worker → why it must be cordoned
	wake    chan struct{}
	changed chan struct{} // closed and made anew at each change
}

// New makes a Watch; Run serves it.
func New(cordons *cordon.Store, log *slog.Logger, now func() time.Time) *Watch {
	return &Watch{
		Store: cordons, log: log, now: now, takers: func() []string { return nil }, ledger: ledger{}, guilty: map[string]string{},
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// Passed notes that a test passed on a worker.
func (w *Watch) Passed(worker string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ledger.passed(worker, w.now())
}

// Failed notes that a test failed on a worker. True: that is not believed, and the test must be
// carried out on another worker; what comes of it is told to Judged.
func (w *Watch) Failed(worker, token, name string) bool {
	others := w.others() // before the lock, which Of needs
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _, before := w.ledger.suspected(worker)
	doubted := w.ledger.failed(worker, Test{token, name}, others(worker), w.now())
	if doubted && !before {
		w.news()
	}
	return doubted
}

// Judged notes what became of a test that was doubted.
func (w *Watch) Judged(token string, became run.TaskState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if worker, reason := w.ledger.judged(token, became); worker != "" {
		w.guilty[worker] = reason
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	w.news()
}

// others answers whether another worker than one takes tests.
func (w *Watch) others() func(worker string) bool {
	w.mu.Lock()
	ask := w.takers
	w.mu.Unlock()
	takers := ask()
	return func(worker string) bool {
		return slices.ContainsFunc(takers, func(name string) bool { return name != worker })
	}
}

// look ends suspicions that nobody can found any more.
func (w *Watch) look() {
	w.mu.Lock()
	others := func(string) bool { return true }
	suspects := w.ledger.suspects()
	w.mu.Unlock()
	if suspects > 0 {
		others = w.others()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ledger.expire(w.now(), others) {
		w.news()
	}
}

// news wakes those who wait for a change; mu is held.
func (w *Watch) news() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// Of answers why the workers of a name are given nothing; not ok: they are given tasks.
func (w *Watch) Of(name string) (cordon.Cordon, bool) {
	if c, ok := w.Store.Of(name); ok {
		return c, ok
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.suspicion(name)
}

// suspicion of a worker, as a cordon; mu is held.
func (w *Watch) suspicion(name string) (cordon.Cordon, bool) {
	if reason, ok := w.guilty[name]; ok { // it is being cordoned
		return cordon.Cordon{Name: name, Reason: reason, By: by}, true
	}
	reason, since, ok := w.ledger.suspected(name)
	return cordon.Cordon{Name: name, Reason: reason, By: by, At: since}, ok
}

// by is who cordons what is not cordoned by people.
const by = "slipway"

// All cordons and suspicions, by name.
func (w *Watch) All() []cordon.Cordon {
	out := w.Store.All()
	w.mu.Lock()
	defer w.mu.Unlock()
	names := maps.Clone(w.guilty)
	for name := range w.ledger {
		names[name] = ""
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c, ok := w.suspicion(name)
		if ok && !slices.ContainsFunc(out, func(o cordon.Cordon) bool { return o.Name == name }) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b cordon.Cordon) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Changed is closed at the next change.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Lift takes the cordon of a name back, and what is held against it.
func (w *Watch) Lift(ctx context.Context, name string) error {
	w.mu.Lock()
	delete(w.ledger, name)
	delete(w.guilty, name)
	w.news()
	w.mu.Unlock()
	return w.Store.Lift(ctx, name)
}

// Run follows the cordons that others write, cordons who is guilty, and ends suspicions whose time is over, until the
// context ends. takers are the names of the workers that take tests now; it may call Of.
func (w *Watch) Run(ctx context.Context, takers func() []string) error {
	w.mu.Lock()
	w.takers = takers
	w.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Store.Run(ctx) })
	g.Go(func() error { return w.run(ctx) })
	return g.Wait()
}

func (w *Watch) run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		stored := w.Store.Changed()
		w.mu.Lock()
		w.news() // the store's, which may have changed since
		w.mu.Unlock()
		for same := true; same; {
			w.look()
			w.cordon(ctx)
			select {
			case <-stored:
				same = false
			case <-w.wake:
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// cordon makes it durable that workers are given nothing. Who is the last that could carry tests out is not
// cordoned, guilty or not.
func (w *Watch) cordon(ctx context.Context) {
	w.mu.Lock()
	list := maps.Clone(w.guilty)
	w.mu.Unlock()
	for name, reason := range list {
		if w.others()(name) {
			if err := w.Store.Set(ctx, cordon.Cordon{Name: name, Reason: reason, By: by, At: w.now().UTC()}); err != nil {
				w.log.WarnContext(ctx, "a worker on which tests fail is not cordoned yet", "worker", name, "reason", reason, "err", err)
				continue // it is given nothing meanwhile, and tried again
			}
			w.log.WarnContext(ctx, "worker cordoned: the machine is to blame, not the tests", "worker", name, "reason", reason)
		} else {
			w.log.ErrorContext(ctx, "tests fail on a worker that pass on others, and it is the last: it is not cordoned", "worker", name, "reason", reason)
		}
		w.mu.Lock()
		delete(w.guilty, name)
		w.news()
		w.mu.Unlock()
	}
}
