package pipeline

import (
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/calendar"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Limits of a strategy, and what is usual.
const (
	defaultVerify = 30 * time.Second
	defaultWarm   = 5 * time.Minute

	maxSteps = 20
	maxPause = 24 * time.Hour
	maxSoak  = 30 * 24 * time.Hour
	maxFlag  = 100                 // letters
	maxAsk   = 30 * 24 * time.Hour // that approvals are waited for
	week     = 7 * 24 * time.Hour
)

func (d *decoder) soak(n strictyaml.Node) time.Duration { return n.Duration(time.Second, maxSoak) }

// strategy reads a word, or what a strategy with settings is.
func (d *decoder) strategy(n strictyaml.Node, e *Environment) {
	const steps = "{ canary: [5, 25, 50, 100], pause: 10m }"
	if n.IsMap() {
		switch {
		case n.Has(StrategyBlueGreen):
			e.Strategy, e.BlueGreen = StrategyBlueGreen, d.blueGreen(n)
		case n.Has(StrategyFlag):
			e.Strategy, e.Flag = StrategyFlag, d.flag(n)
		default:
			e.Strategy, e.Canary = StrategyCanary, d.canary(n)
		}
		return
	}
	switch s := n.Enum(StrategyRolling, StrategyCanary, StrategyBlueGreen, StrategyFlag); s {
	case StrategyBlueGreen:
		e.Strategy, e.BlueGreen = s, &BlueGreen{Verify: defaultVerify, Warm: defaultWarm}
	case StrategyCanary:
		n.KeyProblem("write "+steps, "a canary needs its steps")
	case StrategyFlag:
		n.KeyProblem("write { flag: new-checkout, steps: [10, 50, 100], pause: 10m }", "a flag needs its name and its steps")
	}
}

func (d *decoder) blueGreen(n strictyaml.Node) *BlueGreen {
	b := &BlueGreen{Verify: defaultVerify, Warm: defaultWarm}
	n.Fields("strategy", strictyaml.Fields{
		StrategyBlueGreen: func(n strictyaml.Node) {
			n.Fields(StrategyBlueGreen, strictyaml.Fields{
				"verify": func(n strictyaml.Node) { b.Verify = n.Duration(time.Second, maxPause) },
				"warm":   func(n strictyaml.Node) { b.Warm = n.Duration(time.Second, maxPause) },
			})
		},
		"analyze": func(n strictyaml.Node) { d.analyzed(n, &b.Measured) },
	}, StrategyBlueGreen)
	return b
}

func (d *decoder) flag(n strictyaml.Node) *Flag {
	f := &Flag{Measured: Measured{alone: true}}
	n.Fields("strategy", strictyaml.Fields{
		StrategyFlag: func(n strictyaml.Node) {
			if f.Name = n.Text(); len(f.Name) > maxFlag || strings.ContainsAny(f.Name, "=\n") {
				n.Problem("", "the name of a flag has at most %d letters, and no \"=\"", maxFlag)
			}
		},
		"steps":   func(n strictyaml.Node) { f.Steps = d.steps(n, 99) },
		"pause":   func(n strictyaml.Node) { f.Pause = n.Duration(time.Second, maxPause) },
		"analyze": func(n strictyaml.Node) { d.analyzed(n, &f.Measured) },
	}, StrategyFlag, "steps", "pause")
	return f
}

func (d *decoder) canary(n strictyaml.Node) *Canary {
	c := &Canary{}
	n.Fields("strategy", strictyaml.Fields{
		StrategyCanary: func(n strictyaml.Node) { c.Steps = d.steps(n, 50) },
		"pause":        func(n strictyaml.Node) { c.Pause = n.Duration(time.Second, maxPause) },
		"router": func(n strictyaml.Node) {
			if n.Enum("replicas", "gateway") == "gateway" {
				n.KeyProblem("write replicas", "gateway is not supported yet")
			}
		},
		"analyze": func(n strictyaml.Node) { d.analyzed(n, &c.Measured) },
	}, StrategyCanary, "pause")
	return c
}

// steps are ascending and end with 100. Pods beside those that serve can be at most as many: without a router
// that counts requests, no step lies between most, half of all, and 100.
func (d *decoder) steps(n strictyaml.Node, most int) []int {
	var out []int
	good := n.IsList()
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxSteps, "steps") {
			return
		}
		before := d.report.Count()
		step := item.Int(1, 100)
		switch {
		case d.report.Count() > before:
			good = false
		case len(out) > 0 && step <= out[len(out)-1]:
			item.Problem("write ascending percentages", "step %d comes after step %d", step, out[len(out)-1])
			good = false
		case step > most && step < 100:
			item.Problem("write at most 50, or 100", "the candidate's pods are beside those that serve and at most as many: %d %% of the requests cannot be theirs", step)
			good = false
		}
		out = append(out, step)
	})
	if good && (len(out) == 0 || out[len(out)-1] != 100) {
		n.Problem("add 100", "the last step is not 100, so that the release would never be everywhere")
	}
	return out
}

func (d *decoder) approve(n strictyaml.Node) *Approve {
	a := &Approve{Min: 1, Within: week}
	n.Fields("approve", strictyaml.Fields{
		"team":   func(n strictyaml.Node) { a.Team = d.name(n) },
		"min":    func(n strictyaml.Node) { a.Min = n.Int(1, 20) },
		"self":   func(n strictyaml.Node) { a.Self = n.Bool() },
		"within": func(n strictyaml.Node) { a.Within = n.Duration(time.Minute, maxAsk) },
	}, "team")
	return a
}

// windowUse is the name of a window in an environment.
type windowUse struct {
	name string
	of   *Environment
	pos  Pos
}

func (d *decoder) windowNames(n strictyaml.Node, e *Environment) {
	var seen []string
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxList, "windows") {
			return
		}
		name := d.name(item)
		if slices.Contains(seen, name) {
			item.Problem("name it once", "window %s is named twice", strictyaml.Quote(name))
		}
		seen = append(seen, name)
		d.windows = append(d.windows, windowUse{name, e, item.Pos()})
	})
}

func (d *decoder) windowList(n strictyaml.Node) []plan.Window {
	var out []plan.Window
	n.Entries("windows", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxList, "windows") {
			return
		}
		d.checkName(key.Text, key.Pos)
		w := plan.Window{Name: key.Text}
		before := d.report.Count()
		v.Fields("window "+strictyaml.Quote(key.Text), strictyaml.Fields{
			"zone": func(n strictyaml.Node) {
				if w.Zone = n.Str(); n.IsScalar() && !calendar.Zone(w.Zone) {
					n.Problem("write a name as Europe/Brussels or UTC", "%s is no time zone", strictyaml.Quote(w.Zone))
				}
			},
			"allow": func(n strictyaml.Node) {
				var err error
				if w.Hours, err = calendar.ParseHours(n.Str()); err != nil && n.IsScalar() {
					n.Problem("write days and hours, as \"Mon-Thu 09:00-16:00, Fri 09:00-12:00\"", "%v", err)
				}
			},
			"freeze": func(n strictyaml.Node) {
				var err error
				if w.Freeze, err = calendar.ParseFreeze(n.Str()); err != nil && n.IsScalar() {
					n.Problem("write its ends, as \"2026-12-18 18:00 to 2027-01-04\"", "%v", err)
				}
			},
		}, "zone")
		if d.report.Count() == before && (len(w.Hours) > 0) == (w.Freeze != nil) {
			d.report.Add(key.Pos, "write allow with days and hours, or freeze with its ends", "window %s needs one of allow and freeze", strictyaml.Quote(key.Text))
		}
		out = append(out, w)
	})
	return out
}

// selectWindows gives each environment the windows that it names.
func (d *decoder) selectWindows(list []plan.Window) {
	names := make([]string, len(list))
	for i, w := range list {
		names[i] = w.Name
	}
	for _, u := range d.windows {
		if i := slices.Index(names, u.name); i >= 0 {
			u.of.Windows = append(u.of.Windows, list[i])
		} else if u.name != "" {
			d.report.Add(u.pos, strictyaml.Suggest(u.name, names), "there is no window %s", strictyaml.Quote(u.name))
		}
	}
	for _, u := range d.windows {
		slices.SortFunc(u.of.Windows, func(a, b plan.Window) int { return strings.Compare(a.Name, b.Name) })
	}
}
