package pipeline

import (
	"cmp"
	"slices"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Quota is what a team has of the workers.
type Quota struct {
	Team    string `json:"team"`              // as owner of services calls it
	Share   int    `json:"share"`             // weight among the teams that wait; default: 1
	Running int    `json:"running,omitempty"` // how many of its tasks are carried out at once; 0: no limit
	Pos     Pos    `json:"-"`
}

// The largest share, and the largest limit.
const (
	maxShare   = 1000
	maxRunning = 100_000
)

// Group is how many tests of a group of the project are carried out at once: those that need
// the same thing outside the farm. One that the file does not have has room for one.
type Group struct {
	Name    string `json:"name"` // as group of tests calls it
	Running int    `json:"running"`
	Pos     Pos    `json:"-"`
}

func (d *decoder) groups(n strictyaml.Node) []*Group {
	var out []*Group
	n.Entries("groups", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxList, "groups") {
			return
		}
		d.checkName(key.Text, key.Pos)
		g := &Group{Name: key.Text, Running: 1, Pos: key.Pos}
		out = append(out, g)
		v.Fields("group "+strictyaml.Quote(key.Text), strictyaml.Fields{"running": func(n strictyaml.Node) { g.Running = n.Int(1, maxRunning) }})
	})
	slices.SortFunc(out, func(a, b *Group) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (d *decoder) quotas(n strictyaml.Node) []*Quota {
	var out []*Quota
	n.Entries("quotas", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxList, "quotas") {
			return
		}
		if !d.matches(team, key.Text) {
			d.report.Add(key.Pos, "write a team as owner of services in "+File+" does, as team-core", "%s is no name of a team", strictyaml.Quote(key.Text))
		}
		q := &Quota{Team: key.Text, Share: 1, Pos: key.Pos}
		out = append(out, q)
		v.Fields("quota "+strictyaml.Quote(key.Text), strictyaml.Fields{
			"share":   func(n strictyaml.Node) { q.Share = n.Int(1, maxShare) },
			"running": func(n strictyaml.Node) { q.Running = n.Int(1, maxRunning) },
		})
	})
	slices.SortFunc(out, func(a, b *Quota) int { return cmp.Compare(a.Team, b.Team) })
	return out
}
