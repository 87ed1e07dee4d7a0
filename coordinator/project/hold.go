package project

import (
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
	Serving []Serving // by cluster and service
}

// Serving is what is stable on a target.
type Serving struct {
	Cluster, Service string
	Stable           Stable
}

// Environments by name, with what serves there.
func (p *Project) Environments() []Environment {
	saved := p.save()
	all := map[string]*Environment{}
	of := func(name string) *Environment {
		if all[name] == nil {
			all[name] = &Environment{Name: name}
		}
		return all[name]
	}
	for _, e := range saved.Environments {
		if e.Newest > 0 || e.Hold != nil { // others were only asked for
			env := of(e.Name)
			env.Holder, env.Hold = e.Holder, e.Hold
		}
	}
	for _, s := range saved.Stables {
		env := of(s.Environment)
		env.Serving = append(env.Serving, Serving{s.Cluster, s.Service, s.Stable})
	}
	out := make([]Environment, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, *all[name])
	}
	return out
}
