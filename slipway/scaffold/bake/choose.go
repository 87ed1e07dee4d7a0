package bake

import (
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// choose finds the targets that bake builds when it is told none, and those they are built upon.
func (d *reader) choose() *Definition {
	out := &Definition{}
	names := d.selected()
	taken := map[string]bool{}
	for _, n := range names {
		taken[n.Text] = true
	}
	for i := 0; i < len(names); i++ { // which grows
		t := d.settle(names[i].Text, names[i].At)
		t.Linked = !taken[t.Name]
		out.Targets = append(out.Targets, t)
		for _, v := range t.Contexts {
			to, ok := strings.CutPrefix(v.Text, "target:")
			if ok && !slices.ContainsFunc(names, func(n Value) bool { return n.Text == to }) {
				names = append(names, Value{to, v.At})
			}
		}
	}
	d.circles(out.Targets)
	place := func(t Target) int { return slices.Index(d.order, t.Name) }
	slices.SortFunc(out.Targets, func(a, b Target) int { return place(a) - place(b) })
	if d.report.Count() == 0 {
		report := d.report
		d.report = strictyaml.NewReporter(maxProblems) // nobody builds them
		settings := d.settings()
		for _, name := range d.order {
			if settings[name] || slices.ContainsFunc(names, func(n Value) bool { return n.Text == name }) {
				continue
			}
			out.Others = append(out.Others, d.settle(name, d.targets[name].parts[0].at))
		}
		d.report = report
	}
	slices.Sort(d.fromEnv)
	slices.Sort(d.kept)
	out.Env, out.Kept = slices.Compact(d.fromEnv), slices.Compact(d.kept)
	return out
}

// selected are the targets of the group default; or the target of that name; or all but those
// that only hold what others inherit.
func (d *reader) selected() []Value {
	var out []Value
	if g := d.groups["default"]; g != nil {
		d.members(g, map[*group]bool{}, &out)
		if len(out) == 0 && d.report.Count() == 0 {
			d.report.Add(g.at, "list targets in it, or remove it to have all", "the group default has no targets")
		}
		return out
	}
	if t := d.targets["default"]; t != nil {
		return []Value{{"default", t.parts[0].at}}
	}
	settings := d.settings()
	if len(settings) == len(d.order) { // they inherit from each other
		settings = nil
	}
	for _, name := range d.order {
		if !settings[name] {
			out = append(out, Value{name, d.targets[name].parts[0].at})
		}
	}
	return out
}

// settings are the targets that only hold what others inherit.
func (d *reader) settings() map[string]bool {
	out := map[string]bool{}
	for _, name := range d.order {
		for _, p := range d.targets[name].parts {
			if a := p.attrs["inherits"]; a != nil {
				for _, parent := range d.list(a.Expr, p.local) {
					if d.targets[parent.Text] != nil && !d.builds(parent.Text) {
						out[parent.Text] = true
					}
				}
			}
		}
	}
	return out
}

// builds says that a target which others inherit from says itself what it builds, and is not
// marked as one that does not.
func (d *reader) builds(name string) bool {
	return !strings.HasPrefix(name, "_") && slices.ContainsFunc(d.targets[name].parts, func(p *part) bool {
		return p.base != nil || p.attrs["context"] != nil || p.attrs["dockerfile"] != nil || p.attrs["target"] != nil
	})
}

// members are the targets of a group and of groups in it.
func (d *reader) members(g *group, seen map[*group]bool, out *[]Value) {
	if seen[g] {
		return
	}
	seen[g] = true
	for _, m := range g.members {
		if inner := d.groups[m.Text]; inner != nil {
			d.members(inner, seen, out)
			continue
		}
		names := d.labels[m.Text]
		if len(names) == 0 {
			names = []string{m.Text}
		}
		for _, n := range names {
			if d.targets[n] == nil {
				d.report.Add(m.At, d.expected(n), "there is no target or group %s", strictyaml.Quote(n))
			} else if !slices.ContainsFunc(*out, func(v Value) bool { return v.Text == n }) {
				*out = append(*out, Value{n, m.At})
			}
		}
	}
}

// circles reports targets that are built upon themselves.
func (d *reader) circles(targets []Target) {
	byName := map[string]*Target{}
	for i := range targets {
		byName[targets[i].Name] = &targets[i]
	}
	const open, done = 1, 2
	state := map[string]int{}
	var visit func(t *Target)
	visit = func(t *Target) {
		state[t.Name] = open
		for _, v := range t.Contexts {
			name, ok := strings.CutPrefix(v.Text, "target:")
			next := byName[name]
			switch {
			case !ok || next == nil:
			case state[name] == open:
				d.report.Add(v.At, "", "the target %s is built upon itself", strictyaml.Quote(name))
			case state[name] == 0:
				visit(next)
			}
		}
		state[t.Name] = done
	}
	for i := range targets {
		if state[targets[i].Name] == 0 {
			visit(&targets[i])
		}
	}
}
