package check

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/run"
)

// What a host's answer may be, besides yes. Any other error is passing.
var (
	// ErrRefused: the host will never take this status.
	ErrRefused = errors.New("refused")
	// ErrDoubt: the host did not answer, and may yet do what it was asked to.
	ErrDoubt = errors.New("no answer")
)

const (
	firstWait = time.Second
	// lastWait is how often a host is tried that says no, or nothing, for long.
	lastWait = 5 * time.Minute
	// settled is how long a host may take for what it did not answer.
	settled = time.Minute
	// saveLimit is how long what was told may take to be remembered; also when the
	// program stops.
	saveLimit = 5 * time.Second
	// sweepEvery is how often commits are forgotten whose runs are older than Keep.
	sweepEvery = time.Hour
)

// Commit is where a check is shown.
type Commit struct {
	Webhook    string
	Repository string // as the host calls it
	ID         string
	Branch     string
}

// Host shows checks. wait, with or without an error, is how long it wants to be left
// alone. Telling it the same again is harmless.
type Host interface {
	Tell(ctx context.Context, c Commit, s Status) (wait time.Duration, err error)
}

// Hook is how the host of one webhook is told.
type Hook struct {
	Host Host
	// Running: the host tells a run that waits from one that is carried out.
	Running bool
	// PerBranch: the host keeps checks of one commit apart by branch.
	PerBranch bool
}

// Memory is what hosts were told. All of it may be forgotten.
type Memory interface {
	Load(ctx context.Context) (map[string]string, error)
	Save(ctx context.Context, key, told string) error
}

// Source answers runs as the journal has them.
type Source interface {
	// Runs are all of them, without tasks.
	Runs(ctx context.Context) ([]*run.Run, error)
	// Run is one with its tasks.
	Run(ctx context.Context, project, id string) (*run.Run, error)
}

// Config of a Teller.
type Config struct {
	Hooks  map[string]Hook // by name of the webhook
	Memory Memory          // unused without hooks
	URL    string          // of the dashboard
	Log    *slog.Logger
	Now    func() time.Time
}

// Teller tells hosts what becomes of the runs that their events began.
type Teller struct {
	cfg Config

	mu    sync.Mutex
	items map[Commit]*item
	told  map[string]string // as Memory had it; taken out as items are made
	desks map[string]*desk  // by webhook
}

// New makes a Teller.
func New(cfg Config) *Teller {
	t := &Teller{cfg: cfg, items: map[Commit]*item{}, told: map[string]string{}, desks: map[string]*desk{}}
	for name, h := range cfg.Hooks {
		t.desks[name] = &desk{name: name, hook: h, wake: make(chan struct{}, 1), dirty: map[*item]bool{}}
	}
	return t
}

// Changed takes a committed change. It never blocks.
func (t *Teller) Changed(r *run.Run, tasks []*run.Task) {
	if t.desks[r.Origin.Webhook] == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(r, begun(tasks))
}

// Refused takes an event that became no run because of a mistake in its commit. Nothing is
// journalled of it: a coordinator that is killed before the host has heard tells it no more.
func (t *Teller) Refused(o run.Origin, commit, ref, why string) {
	d := t.desks[o.Webhook]
	if d == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.item(d, o, commit)
	if it.runs[ref].id != "" {
		return // a run of it says more
	}
	now := t.cfg.Now()
	it.runs[ref] = known{refused: line("", why), accepted: now, finished: now, ended: true}
	t.mark(d, it)
}

// item is where the check of a commit is kept.
func (t *Teller) item(d *desk, o run.Origin, commit string) *item {
	at := Commit{Webhook: o.Webhook, Repository: o.Repository, ID: commit, Branch: o.Branch}
	if !d.hook.PerBranch {
		at.Branch = ""
	}
	it := t.items[at]
	if it == nil {
		it = &item{at: at, runs: map[string]known{}, told: t.told[at.key()]}
		delete(t.told, at.key())
		t.items[at] = it
	}
	return it
}

// note takes in what is new about a run.
func (t *Teller) note(r *run.Run, working bool) {
	d := t.desks[r.Origin.Webhook]
	it := t.item(d, r.Origin, r.Commit)
	k := it.runs[r.Ref]
	if k.id != r.ID {
		if k.newer(r) {
			return
		}
		k = known{id: r.ID, project: r.Project, number: r.Number, accepted: r.AcceptedAt}
	}
	// A head does not say whether somebody works on the run; what the host was told does.
	working = working || strings.Contains(it.told, k.phase(Running))
	it.runs[r.Ref] = k.with(r, working && d.hook.Running)
	t.mark(d, it)
}

// mark has the host told of a commit, if it does not know already.
func (t *Teller) mark(d *desk, it *item) {
	if it.wanted() != it.told {
		if !d.dirty[it] || it.behind {
			it.next, it.tries, it.behind = time.Time{}, 0, false
		}
		d.dirty[it] = true
	}
	d.ring()
}

func (d *desk) ring() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run tells hosts what is to be told, until the context ends.
func (t *Teller) Run(ctx context.Context, src Source) error {
	if len(t.desks) == 0 {
		<-ctx.Done()
		return nil
	}
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := t.recall(ctx, src)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop
		}
		t.cfg.Log.WarnContext(ctx, "what hosts are to be told of earlier runs is not known yet", "err", err, "wait", wait)
		if !pause(ctx, nil, wait) {
			return nil
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range t.desks {
		g.Go(func() error { t.serve(ctx, src, d); return nil })
	}
	return g.Wait()
}

// recall takes in the runs that there were before this coordinator.
func (t *Teller) recall(ctx context.Context, src Source) error {
	told, err := t.cfg.Memory.Load(ctx)
	if err != nil {
		return err
	}
	runs, err := src.Runs(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, it := range t.items { // of changes that came meanwhile
		it.told = told[it.at.key()]
		if it.wanted() == it.told {
			delete(t.desks[it.at.Webhook].dirty, it)
		}
	}
	t.told = told
	before := t.cfg.Now().Add(-Keep)
	for _, r := range runs {
		if t.desks[r.Origin.Webhook] == nil || r.State.Ended() && r.FinishedAt.Before(before) {
			continue
		}
		t.note(r, false)
	}
	t.told = map[string]string{}
	return nil
}

// serve tells one host, one status after the other.
func (t *Teller) serve(ctx context.Context, src Source, d *desk) {
	for ctx.Err() == nil {
		it, wait := t.due(d)
		if it == nil {
			pause(ctx, d.wake, wait)
			continue
		}
		t.tell(ctx, src, d, it)
	}
}

// due answers what is to be told now, or for how long nothing is.
func (t *Teller) due(d *desk) (first *item, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	t.sweep(d, now)
	for it := range d.dirty {
		if first == nil || it.next.Before(first.next) {
			first = it
		}
	}
	if first == nil {
		return nil, sweepEvery
	}
	at := first.next
	if d.until.After(at) {
		at = d.until
	}
	if wait = at.Sub(now); wait > 0 {
		return nil, wait
	}
	return first, 0
}

// sweep forgets what is too old for anybody, told or not.
func (t *Teller) sweep(d *desk, now time.Time) {
	if now.Sub(d.swept) < sweepEvery {
		return
	}
	d.swept = now
	for at, it := range t.items {
		if at.Webhook == d.name && it.over(now.Add(-Keep)) {
			delete(t.items, at)
			delete(d.dirty, it)
		}
	}
}

func (t *Teller) tell(ctx context.Context, src Source, d *desk, it *item) {
	s, knows, err := t.status(ctx, src, d, it)
	var wait time.Duration
	if err == nil {
		wait, err = d.hook.Host.Tell(ctx, it.at, s)
	}
	if err != nil && ctx.Err() != nil {
		return // the next coordinator tells it
	}
	log := t.cfg.Log.With("webhook", it.at.Webhook, "repository", it.at.Repository, "commit", it.at.ID, "run", s.Run, "state", s.State)
	if save := t.heard(d, it, knows, wait, err, log); save {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
		defer cancel()
		if err := t.cfg.Memory.Save(ctx, it.at.key(), knows); err != nil {
			log.WarnContext(ctx, "what the host was told is not remembered, and told again after a restart", "err", err)
		}
	}
}

// heard draws the conclusions of an answer. save: it is certain that the host knows.
func (t *Teller) heard(d *desk, it *item, knows string, wait time.Duration, err error, log *slog.Logger) (save bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	if wait > 0 {
		d.until = now.Add(wait)
	}
	switch {
	case err == nil:
		log.Info("check told")
		it.told, it.tries, it.next, it.behind = knows, 0, time.Time{}, it.doubt.After(now)
		if save = !it.behind; save {
			it.doubt = time.Time{}
		}
	case errors.Is(err, ErrRefused):
		log.Error("check refused for good", "err", err)
		it.told, it.behind = knows, false
	default:
		if errors.Is(err, ErrDoubt) {
			it.doubt = now.Add(settled)
		}
		back := min(firstWait<<min(it.tries, 20), lastWait)
		it.tries++
		it.next = now.Add(back)
		log.Warn("check not told yet", "try", it.tries, "wait", max(back, wait), "err", err)
		return false
	}
	switch {
	case it.wanted() != it.told:
	case it.behind:
		it.next = it.doubt
	default:
		delete(d.dirty, it)
	}
	return save
}

// status is computed from the runs of a commit as they are now, with the name of what
// the host then knows.
func (t *Teller) status(ctx context.Context, src Source, d *desk, it *item) (s Status, knows string, err error) {
	t.mu.Lock()
	runs := maps.Clone(it.runs)
	t.mu.Unlock()
	var list []Status
	for _, ref := range slices.Sorted(maps.Keys(runs)) {
		k := runs[ref]
		if k.refused != "" {
			list = append(list, Status{State: Failure, Summary: k.refused, URL: t.cfg.URL + "/"})
			continue
		}
		r, err := src.Run(ctx, k.project, k.id)
		if err != nil {
			return Status{}, "", err
		}
		runs[ref] = k.with(r, d.hook.Running && begun(r.Tasks))
		s := Of(r)
		s.URL = t.cfg.URL + "/runs/" + r.ID
		list = append(list, s)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for ref, k := range runs {
		if it.runs[ref].id == k.id { // its change may not have been noted yet
			it.runs[ref] = k
		}
	}
	return together(list), knowing(runs), nil
}

// pause waits; false: the context ended.
func pause(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}
