package project

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Hold keeps runs from beginning a rollout to an environment.
type Hold struct {
	By     string // the token that asked for it; empty: a rollout that failed
	Run    string // whose rollout that was
	Reason string
	Pause  bool // the run that rolls out there begins nothing more
	At     time.Time
}

// HoldOf says who holds an environment, and why; nil: nobody does.
func (p *Project) HoldOf(environment string) *Hold {
	if e, ok := p.rollout[environment]; ok {
		return e.hold
	}
	return nil
}

// Environment is one to which a run has rolled out, or that is held.
type Environment struct {
	Name    string
	Holder  string // the run that rolls out there now; empty: none does
	Hold    *Hold
	Drift   Drift
	Serving []Serving // by cluster and service
}

// Serving is what is stable on a target.
type Serving struct {
	Cluster, Service string
	Stable           Stable
}

// Environments by name, with what serves there.
func (p *Project) Environments() []Environment {
	all := map[string]*Environment{}
	of := func(name string) *Environment {
		if all[name] == nil {
			all[name] = &Environment{Name: name}
		}
		return all[name]
	}
	for name, e := range p.rollout {
		if e.newest > 0 || e.hold != nil { // others were only asked for
			env := of(name)
			env.Holder, env.Hold, env.Drift = e.holder, e.hold, e.drift
		}
	}
	for at, s := range p.stable {
		env := of(at.environment)
		env.Serving = append(env.Serving, Serving{at.cluster, at.service, s})
	}
	out := make([]Environment, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		slices.SortFunc(all[name].Serving, func(a, b Serving) int {
			return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Service, b.Service))
		})
		out = append(out, *all[name])
	}
	return out
}

// Names of the projects, sorted.
func (s *State) Names() []string { return slices.Sorted(maps.Keys(s.projects)) }
