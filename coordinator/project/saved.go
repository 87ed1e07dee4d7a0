package project

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/run"
)

// Saved is a whole State, in one order: equal states are saved equally. Restore reverses
// Save.
type Saved struct {
	Projects []SavedProject // by name
	Runs     []run.Saved    // oldest first
}

// SavedProject is what is known about a project, each list by its first fields.
type SavedProject struct {
	Name         string
	Last         uint64 // number of the newest run
	Keys         []SavedKey
	Results      []SavedResult
	Greens       []SavedGreen
	Stables      []SavedStable
	Crossings    []SavedCrossing
	Times        []SavedTime
	Tests        []Test // by id
	Forgotten    []SavedForgotten
	Baselines    []SavedBaseline
	Environments []SavedEnvironment
	Archives     []Archive
}

// SavedKey is an idempotency key.
type SavedKey struct {
	Key string
	Was Key
}

// SavedResult is a result by its digest.
type SavedResult struct {
	Digest string
	Known  Known
}

// SavedGreen is the commit of the newest run of a ref that succeeded; an empty ref: of any.
type SavedGreen struct {
	Ref, Commit string
	At          time.Time
}

// SavedCrossing is a migration of a target that cannot be undone.
type SavedCrossing struct {
	Environment, Cluster, Service string
	Crossing                      Crossing
}

// SavedStable is what serves on a target.
type SavedStable struct {
	Environment, Cluster, Service string
	Stable                        Stable
}

// SavedTime is how long a task usually takes.
type SavedTime struct {
	Task  string
	Usual Usual
}

// SavedForgotten is a digest of which nothing is known.
type SavedForgotten struct {
	Digest    string
	Forgotten Forgotten
}

// SavedBaseline is what the scans of a service found at the last green commit of a ref; an empty ref: of any.
type SavedBaseline struct {
	Ref, Service string
	Report       string // digest
	Run          uint64 // number
	At           time.Time
}

// SavedEnvironment is the lock of an environment.
type SavedEnvironment struct {
	Name   string
	Holder string
	Newest uint64
	By     string
	Hold   *Hold
	Drift  Drift
}

// Save is the state as it is. Attempts and results are shared with it.
func (s *State) Save() Saved {
	var out Saved
	archives := map[string][]Archive{}
	for _, id := range slices.Sorted(maps.Keys(s.archives)) {
		a := s.archives[id]
		archives[a.Project] = append(archives[a.Project], a)
	}
	for _, name := range slices.Sorted(maps.Keys(s.projects)) {
		p := s.projects[name].save()
		p.Archives = archives[name]
		out.Projects = append(out.Projects, p)
	}
	for _, id := range s.order {
		out.Runs = append(out.Runs, s.runs[id].Save())
	}
	return out
}

func (p *Project) save() SavedProject {
	out := SavedProject{Name: p.Name, Last: p.last}
	for _, k := range slices.Sorted(maps.Keys(p.keys)) {
		out.Keys = append(out.Keys, SavedKey{k, p.keys[k]})
	}
	for _, d := range slices.Sorted(maps.Keys(p.results)) {
		out.Results = append(out.Results, SavedResult{d, p.results[d]})
	}
	for _, ref := range slices.Sorted(maps.Keys(p.green)) {
		out.Greens = append(out.Greens, SavedGreen{ref, p.green[ref].commit, p.green[ref].at})
	}
	for at, s := range p.stable {
		out.Stables = append(out.Stables, SavedStable{at.environment, at.cluster, at.service, s})
	}
	for at, c := range p.crossed {
		out.Crossings = append(out.Crossings, SavedCrossing{at.environment, at.cluster, at.service, c})
	}
	slices.SortFunc(out.Crossings, func(a, b SavedCrossing) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Service, b.Service))
	})
	slices.SortFunc(out.Stables, func(a, b SavedStable) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Service, b.Service))
	})
	for _, task := range slices.Sorted(maps.Keys(p.times)) {
		out.Times = append(out.Times, SavedTime{task, p.times[task]})
	}
	out.Tests = p.Tests()
	for _, d := range slices.Sorted(maps.Keys(p.forgotten)) {
		out.Forgotten = append(out.Forgotten, SavedForgotten{d, p.forgotten[d]})
	}
	for of, b := range p.baselines {
		out.Baselines = append(out.Baselines, SavedBaseline{of.ref, of.service, b.report, b.run, b.at})
	}
	slices.SortFunc(out.Baselines, func(a, b SavedBaseline) int {
		return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.Service, b.Service))
	})
	for _, name := range slices.Sorted(maps.Keys(p.rollout)) {
		e := p.rollout[name]
		out.Environments = append(out.Environments, SavedEnvironment{Name: name, Holder: e.holder, Newest: e.newest, By: e.by, Hold: e.hold, Drift: e.drift})
	}
	return out
}

// Restore is the state that was saved. It goes on as that one would have.
func Restore(saved Saved, plans Plans) (*State, error) {
	s := New(plans)
	for _, sp := range saved.Projects {
		p := s.Project(sp.Name)
		p.last = sp.Last
		for _, k := range sp.Keys {
			p.keys[k.Key] = k.Was
		}
		for _, r := range sp.Results {
			p.results[r.Digest] = r.Known
		}
		for _, g := range sp.Greens {
			p.green[g.Ref] = green{g.Commit, g.At}
		}
		for _, t := range sp.Stables {
			p.stable[place{t.Environment, t.Cluster, t.Service}] = t.Stable
		}
		for _, c := range sp.Crossings {
			p.crossed[place{c.Environment, c.Cluster, c.Service}] = c.Crossing
		}
		for _, t := range sp.Times {
			p.times[t.Task] = t.Usual
		}
		for _, f := range sp.Forgotten {
			p.forgotten[f.Digest] = f.Forgotten
		}
		for _, b := range sp.Baselines {
			p.baselines[scanned{b.Ref, b.Service}] = baseline{b.Report, b.Run, b.At}
		}
		for _, t := range sp.Tests {
			p.tests[t.ID] = &t
		}
		for _, e := range sp.Environments {
			p.rollout[e.Name] = &environment{holder: e.Holder, newest: e.Newest, by: e.By, hold: e.Hold, drift: e.Drift}
		}
		for _, a := range sp.Archives {
			s.keep(a)
		}
	}
	for _, sr := range saved.Runs {
		pl, err := plans(sr.Accepted.PlanHash)
		if err != nil {
			return nil, fmt.Errorf("plan of run %s: %w", sr.Accepted.Run, err)
		}
		r, err := run.Restore(sr, pl)
		if err != nil {
			return nil, err
		}
		s.runs[r.ID] = r
		if r.OwesLogs() {
			s.owing[r.ID] = true
		}
		s.order = append(s.order, r.ID)
		if line := pl.Line; line != "" && !r.State.Ended() {
			p := s.Project(r.Project)
			p.lines[line] = append(p.lines[line], r.ID)
		}
	}
	return s, nil
}
