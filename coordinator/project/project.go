// Package project is what the events of a partition add up to beyond single runs: the
// numbers of runs, which request was answered by which run, what is known by digest,
// what serves on each target, and who rolls out to which environment (DESIGN D3, D5).
// It is pure. Where events come from and what is done about them is partition's business.
package project

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/planted"
)

// Plans finds the plan that an Accepted event names. It was stored before the event.
type Plans func(hash string) (*plan.Plan, error)

// State of all projects of a partition.
type State struct {
	plans    Plans
	runs     map[string]*run.Run
	order    []string           // run ids, oldest first
	owing    map[string]bool    // runs that have ended and whose logs are not archived
	archives map[string]Archive // of runs that left, by id
	projects map[string]*Project
}

// New is the state before the first event.
func New(plans Plans) *State {
	return &State{plans: plans, runs: map[string]*run.Run{}, owing: map[string]bool{}, archives: map[string]Archive{}, projects: map[string]*Project{}}
}

// Project is what is known about one project.
type Project struct {
	Name    string
	last    uint64                  // number of the newest run
	keys    map[string]Key          // by idempotency key
	results map[string]Known        // by digest
	green   map[string]green        // by ref; "" for any ref
	stable  map[place]Stable        //
	crossed map[place]Crossing      // of what is stable, or of nothing; until something else is
	rollout map[string]*environment // by name
	lines   map[string][]string     // line → its runs that have not ended, oldest first
	gone    map[uint64]string       // number → id of a run that was archived
	times   map[string]Usual        // by task
	tests   map[string]*Test        // by id

	forgotten map[string]Forgotten // by digest
	baselines map[scanned]baseline
}

// Usual is how long a task takes: each time that it succeeds counts as much as all before.
type Usual struct {
	Took  time.Duration
	At    time.Time   // of the last
	Items []plan.Item // of a test that is split by them, sorted by name
}

// Key is what an idempotency key was used for.
type Key struct {
	Run         string
	RequestHash string
	At          time.Time
}

// Known is a result that may stand in for a task of the same digest.
type Known struct {
	Run    string
	Result plan.Result
	At     time.Time
}

// Stable is what serves on a target and was verified there.
type Stable struct {
	Manifests string
	Release   string
	Run       string
}

// Crossing is a migration that cannot be undone, and was begun since what is stable was: what is stable may not work any more.
type Crossing struct{ Run, Task string }

type place struct{ environment, cluster, service string }

// green is the commit of the newest run that succeeded.
type green struct {
	commit string
	at     time.Time
}

type environment struct {
	holder string // run that holds the lock; empty: free
	newest uint64 // number of the newest run that ever began a rollout here
	by     string // its id
	hold   *Hold  // nil: rollouts may begin
	drift  Drift
}

// Run finds a run by id.
func (s *State) Run(id string) (*run.Run, bool) {
	r, ok := s.runs[id]
	return r, ok
}

// Runs lists runs, newest first, at most limit, of one project or all.
func (s *State) Runs(project string, limit int) []*run.Run {
	var out []*run.Run
	for i := len(s.order) - 1; i >= 0 && len(out) < limit; i-- {
		if r := s.runs[s.order[i]]; project == "" || r.Project == project {
			out = append(out, r)
		}
	}
	return out
}

// Plans are those of all runs, by hash.
func (s *State) Plans() map[string]*plan.Plan {
	out := make(map[string]*plan.Plan, len(s.runs))
	for _, r := range s.runs {
		out[r.PlanHash] = r.Plan
	}
	return out
}

// Project finds or begins the state of a project.
func (s *State) Project(name string) *Project {
	p := s.Look(name)
	s.projects[name] = p
	return p
}

// Look is the state of a project for who only reads: one that is not there is empty, and stays away.
func (s *State) Look(name string) *Project {
	if p, ok := s.projects[name]; ok {
		return p
	}
	return &Project{
		Name: name, keys: map[string]Key{}, results: map[string]Known{}, green: map[string]green{}, stable: map[place]Stable{}, crossed: map[place]Crossing{},
		rollout: map[string]*environment{}, lines: map[string][]string{}, gone: map[uint64]string{}, times: map[string]Usual{}, tests: map[string]*Test{}, forgotten: map[string]Forgotten{},
		baselines: map[scanned]baseline{},
	}
}

// Next is the number of the project's next run.
func (p *Project) Next() uint64 { return p.last + 1 }

// Key answers what an idempotency key was used for.
func (p *Project) Key(key string) (Key, bool) {
	k, ok := p.keys[key]
	return k, ok
}

// Known answers the result of a digest.
func (p *Project) Known(digest string) (Known, bool) {
	k, ok := p.results[digest]
	return k, ok
}

// Green is the last commit of a ref whose run succeeded, or of any ref; empty: none.
func (p *Project) Green(ref string) string {
	if g, ok := p.green[ref]; ok {
		return g.commit
	}
	return p.green[""].commit
}

// Line lists the runs of a line that have not ended, oldest first.
func (p *Project) Line(name string) []string { return p.lines[name] }

func (p *Project) leaveLine(r *run.Run) {
	line := r.Plan.Line
	if line == "" {
		return
	}
	p.lines[line] = slices.DeleteFunc(p.lines[line], func(id string) bool { return id == r.ID })
	if len(p.lines[line]) == 0 {
		delete(p.lines, line)
	}
}

// Stable answers what serves on a target.
func (p *Project) Stable(environment, cluster, service string) (Stable, bool) {
	s, ok := p.stable[place{environment, cluster, service}]
	return s, ok
}

// Crossed answers what was carried out on a target since what is stable there, and cannot be undone.
func (p *Project) Crossed(environment, cluster, service string) (Crossing, bool) {
	c, ok := p.crossed[place{environment, cluster, service}]
	return c, ok
}

// crosses notes an attempt that may have begun a migration that cannot be undone.
func (p *Project) crosses(r *run.Run, e run.AttemptFinished) {
	t, ok := r.Find(e.Task)
	if !ok || e.Attempt.Untouched || t.Spec.Apply == nil || !t.Spec.Apply.OneWay {
		return
	}
	p.crossed[place{t.Spec.Target.Environment, t.Spec.Target.Cluster, t.Spec.Service}] = Crossing{r.ID, t.Spec.ID}
}

func (p *Project) environment(name string) *environment {
	e, ok := p.rollout[name]
	if !ok {
		e = &environment{}
		p.rollout[name] = e
	}
	return e
}

// Enter decides whether a run may begin its rollout to an environment.
type Enter int

// The answers of MayEnter.
const (
	EnterNow        Enter = iota
	EnterWait             // another run holds the lock
	EnterSuperseded       // a newer run has begun a rollout here; going on would bring old code back
	EnterHeld             // somebody held the environment, or a rollout that failed did
)

// MayEnter decides whether r may begin its rollout now; by names the run in the way.
func (p *Project) MayEnter(r *run.Run, name string) (e Enter, by string) {
	env, ok := p.rollout[name]
	switch {
	case !ok:
		return EnterNow, ""
	case env.newest > r.Number:
		return EnterSuperseded, env.by
	case env.hold != nil && r.Plan.Back == "":
		return EnterHeld, ""
	case env.holder != "" && env.holder != r.ID && !planted.LockIgnored.On():
		return EnterWait, env.holder
	default:
		return EnterNow, ""
	}
}

// Apply changes the state by one event, at the journal time of its record.
func (s *State) Apply(e run.Event, at time.Time) error {
	switch e := e.(type) {
	case run.Accepted:
		return s.accept(e, at)
	case run.Archived:
		return s.archive(e)
	case run.Forgotten:
		s.forget(e)
		return nil
	case run.Quarantined:
		s.quarantine(e, at)
		return nil
	case run.Released:
		s.release(e)
		return nil
	case run.ResultsForgotten:
		s.forgetResults(e, at)
		return nil
	case run.EnvironmentHeld:
		s.Project(e.Project).environment(e.Environment).hold = &Hold{By: e.By, Run: e.Run, Reason: e.Reason, Pause: e.Pause, At: at}
		return nil
	case run.EnvironmentFreed:
		s.Project(e.Project).environment(e.Environment).hold = nil
		return nil
	}
	r, ok := s.runs[e.RunID()]
	if !ok {
		return fmt.Errorf("event %T of run %s, which was never accepted", e, e.RunID())
	}
	if err := r.Apply(e, at); err != nil {
		return err
	}
	p := s.Project(r.Project)
	switch e := e.(type) {
	case run.AttemptFinished:
		p.attempted(r, e, at)
		p.crosses(r, e)
	case run.TaskFinished:
		p.remember(r, e, at)
		p.learn(r, e, at)
		p.tested(r, e, at)
	case run.LogsArchived:
		delete(s.owing, r.ID)
	case run.Finished:
		if r.OwesLogs() {
			s.owing[r.ID] = true
		}
		p.leaveLine(r)
		if d := r.Plan.Drift; d != nil {
			env := p.environment(d.Environment)
			env.drift.ends(r, env.holder != "", at)
		}
		if e.State == run.Succeeded && !compares(r) && r.Plan.Back == "" {
			g := green{r.Commit, at}
			p.green[r.Ref], p.green[""] = g, g
			p.noteFindings(r, at)
		}
	case run.RolloutEntered:
		env := p.environment(e.Environment)
		env.holder, env.newest, env.by, env.drift.Moved = r.ID, r.Number, r.ID, at
	case run.RolloutLeft:
		if env := p.environment(e.Environment); env.holder == r.ID {
			env.holder = ""
			env.drift.Moved = at
		}
	case run.Promoted:
		at := place{e.Environment, e.Cluster, e.Service}
		p.stable[at] = Stable{Manifests: e.Manifests, Release: e.Release, Run: r.ID}
		delete(p.crossed, at)
	}
	return nil
}

// Fold applies the events of a record.
func (s *State) Fold(events []run.Event, at time.Time) error {
	for i, e := range events {
		if err := s.Apply(e, at); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
	}
	return nil
}

// Items are how long the parts of a test usually take, sorted by name; none: it was not measured.
func (p *Project) Items(test string) []plan.Item { return p.times[test].Items }

// withoutItems is a result as it stands in for others: their times are learned once.
func withoutItems(r plan.Result) plan.Result {
	if r.Tests != nil && r.Tests.Items != nil {
		tests := *r.Tests
		tests.Items = nil
		r.Tests = &tests
	}
	return r
}

// learn notes how long a task took that succeeded, or the items of its shards.
func (p *Project) learn(r *run.Run, e run.TaskFinished, at time.Time) {
	t, ok := r.Find(e.Task)
	if !ok || e.State != run.TaskSucceeded {
		return
	}
	if t.Spec.Kind == plan.KindGather && !r.Plan.Untrusted {
		p.learnItems(r, t, at)
	}
	if len(t.Attempts) == 0 {
		return
	}
	a := t.Attempts[len(t.Attempts)-1]
	began := a.StartedAt
	if began.IsZero() {
		began = a.LeasedAt
	}
	took := a.FinishedAt.Sub(began)
	if took <= 0 { // clocks that do not agree
		return
	}
	if was, ok := p.times[e.Task]; ok {
		took = (was.Took + took) / 2
	}
	p.times[e.Task] = Usual{Took: took, At: at}
}

func (s *State) accept(a run.Accepted, at time.Time) error {
	if _, ok := s.runs[a.Run]; ok {
		return fmt.Errorf("run %s is accepted twice", a.Run)
	}
	pl, err := s.plans(a.PlanHash)
	if err != nil {
		return fmt.Errorf("plan of run %s: %w", a.Run, err)
	}
	p := s.Project(a.Project)
	r, err := run.New(a, pl, at, func(task string) time.Duration { return p.times[task].Took })
	if err != nil {
		return err
	}
	s.runs[a.Run] = r
	s.order = append(s.order, a.Run)
	p.last = max(p.last, a.Number)
	if pl.Line != "" {
		p.lines[pl.Line] = append(p.lines[pl.Line], a.Run)
	}
	if d := pl.Drift; d != nil {
		p.environment(d.Environment).drift.begins(a, d.Restores, at)
	}
	if a.IdempotencyKey != "" {
		p.keys[a.IdempotencyKey] = Key{Run: a.Run, RequestHash: a.RequestHash, At: at}
	}
	return nil
}

// compares reports a run that only asked what a release would change: what it built may
// be untested.
func compares(r *run.Run) bool {
	return slices.ContainsFunc(r.Tasks, func(t *run.Task) bool { return t.Spec.Kind == plan.KindDiff })
}
