package pipeline

import (
	"path"
	"slices"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// The classes of runs, by how soon their tasks are taken.
const (
	ClassUrgent = "urgent"
	ClassNormal = "normal"
	ClassLow    = "low"
)

// EventManual is what begins a run when somebody asks for it.
const EventManual = "manual"

// Class is a rule that gives runs a class.
type Class struct {
	Event    string   `json:"event"`              // push, pull_request, manual
	Branches []string `json:"branches,omitempty"` // globs; none: every branch
	Forks    bool     `json:"forks,omitempty"`    // it makes runs of a stranger's commit urgent too
	Class    string   `json:"class"`
	Pos      Pos      `json:"-"`
}

func (d *decoder) classes(n strictyaml.Node) []Class {
	var out []Class
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxList, "classes") {
			return
		}
		c := Class{Pos: item.Pos()}
		item.Fields("class", strictyaml.Fields{
			"event":    func(n strictyaml.Node) { c.Event = n.Enum("push", "pull_request", EventManual) },
			"branches": func(n strictyaml.Node) { c.Branches = d.globs(n) },
			"forks":    func(n strictyaml.Node) { c.Forks = n.Bool() },
			"class":    func(n strictyaml.Node) { c.Class = n.Enum(ClassUrgent, ClassNormal, ClassLow) },
		}, "event", "class")
		out = append(out, c)
	})
	return out
}

// Class of a run: that of the first rule for what began it. branch is the one that was
// pushed or asked for, or that a pull request is to be merged into. A stranger's commit is
// urgent by a rule only that says so of forks. t is nil where a farm has no targets.
func (t *Targets) Class(event, branch string, stranger bool) string {
	if t == nil {
		return ClassNormal
	}
	i := slices.IndexFunc(t.Classes, func(c Class) bool { return c.Event == event && matchesAny(c.Branches, branch) })
	switch {
	case i < 0, t.Classes[i].Class == ClassUrgent && stranger && !t.Classes[i].Forks:
		return ClassNormal
	}
	return t.Classes[i].Class
}

// RunsOn tells whether the trigger is for a branch.
func (t Trigger) RunsOn(branch string) bool { return matchesAny(t.Branches, branch) }

// matchesAny tells whether a branch is one of those that globs mean; no globs mean all.
func matchesAny(globs []string, branch string) bool {
	return len(globs) == 0 || slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, branch) // patterns were checked as they were read
		return err == nil && ok
	})
}
