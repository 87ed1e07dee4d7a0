package pipeline

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Scan looks for what is wrong in the sources of a service. Exactly one of Using and Run is set.
type Scan struct {
	Name    string        `json:"name"`
	Using   string        `json:"using,omitempty"`  // one of Scanners
	Level   string        `json:"level,omitempty"`  // config: LevelBaseline or LevelRestricted
	Deny    []string      `json:"deny,omitempty"`   // licenses: SPDX ids; sorted
	Run     string        `json:"run,omitempty"`    // command for /bin/sh -c that writes Report
	In      string        `json:"in,omitempty"`     // stage of the Dockerfile that Run runs in; empty: the built image
	Report  string        `json:"report,omitempty"` // glob of SARIF files, relative to the working directory of the stage
	Timeout time.Duration `json:"timeout"`          // of one attempt; default: 10m
	Infra   int           `json:"retry_infra"`      // retries when the farm broke; default: 2
	Pos     Pos           `json:"-"`                // of its name
}

// What a worker finds without a tool of the user's.
const (
	ScanSecrets  = "secrets"
	ScanConfig   = "config"
	ScanPackages = "packages"
	ScanLicenses = "licenses"
)

// Scanners are the values of using.
func Scanners() []string { return []string{ScanSecrets, ScanConfig, ScanPackages, ScanLicenses} }

// Levels of the Pod Security Standards.
const (
	LevelBaseline   = "baseline"
	LevelRestricted = "restricted"
)

// Findings is what the platform says of what scans find.
type Findings struct {
	Block   string        `json:"block"`             // new findings that are at least so severe fail a run; plan.BlockNever
	Require []string      `json:"require,omitempty"` // Scanners that every service has, whatever its file says; sorted
	Waivers []plan.Waiver `json:"waivers,omitempty"` // in their order
	Pos     Pos           `json:"-"`
}

// DefaultBlock is what blocks where the platform says nothing.
const DefaultBlock = "high"

// RequiredScan begins the names of scans that only the platform asks for.
const RequiredScan = "required-"

const maxScans = 20 // of one service

// NewScan is what a scan of this name is that says nothing: named like one of Scanners, it uses that.
func NewScan(name string, pos Pos) *Scan {
	s := &Scan{Name: name, Timeout: 10 * time.Minute, Infra: 2, Pos: pos}
	if slices.Contains(Scanners(), name) {
		s.Using = name
	}
	if s.Using == ScanConfig {
		s.Level = LevelBaseline
	}
	return s
}

// scans reads a mapping of scans over those that there are already; false takes one away.
func (d *decoder) scans(n strictyaml.Node, have []*Scan, owner string) []*Scan {
	out := map[string]*Scan{}
	for _, s := range have {
		out[s.Name] = s
	}
	count := 0
	n.Entries("scans", func(key strictyaml.Key, v strictyaml.Node) {
		if count++; d.over(v, count, maxScans, "scans of one service") {
			return
		}
		d.checkName(key.Text, key.Pos)
		if strings.HasPrefix(key.Text, RequiredScan) {
			d.report.Add(key.Pos, "give it another name", "names that begin with %s are those of scans that the platform requires", RequiredScan)
		}
		if v.IsBool() {
			if v.Bool() {
				v.Problem("write {} for the defaults", "want a mapping or false, got true")
			}
			delete(out, key.Text)
			return
		}
		s := NewScan(key.Text, key.Pos)
		if was, ok := out[key.Text]; ok {
			c := *was
			c.Deny, c.Pos = slices.Clone(was.Deny), key.Pos
			s = &c
		}
		out[key.Text] = d.scan(key, v, s, owner)
	})
	list := slices.Collect(maps.Values(out))
	slices.SortFunc(list, func(a, b *Scan) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (d *decoder) scan(key strictyaml.Key, n strictyaml.Node, s *Scan, owner string) *Scan {
	what := "scan " + strictyaml.Quote(path.Join(owner, key.Text))
	before := d.report.Count()
	if !n.IsNull() {
		n.Fields(what, strictyaml.Fields{
			"using":   func(n strictyaml.Node) { s.Using = n.Enum(Scanners()...) },
			"level":   func(n strictyaml.Node) { s.Level = n.Enum(LevelBaseline, LevelRestricted) },
			"deny":    func(n strictyaml.Node) { s.Deny = d.licenses(n) },
			"run":     func(n strictyaml.Node) { s.Run = d.command(n) },
			"in":      func(n strictyaml.Node) { s.In = d.stage(n) },
			"report":  func(n strictyaml.Node) { s.Report = d.reportGlob(n) },
			"timeout": func(n strictyaml.Node) { s.Timeout = n.Duration(time.Second, 24*time.Hour) },
			"retry":   func(n strictyaml.Node) { d.retry(n, budgets{infra: &s.Infra, timeout: new(int), oom: new(int)}) },
		})
	}
	if d.report.Count() > before {
		return s
	}
	switch {
	case slices.Contains(Scanners(), s.Name) && (s.Using != s.Name || s.Run != ""):
		d.report.Add(key.Pos, "give it another name", "%s is named like what a worker looks for itself, and is something else", what)
	case s.Using == "" && s.Run == "":
		d.report.Add(key.Pos, "write using: "+strings.Join(Scanners(), ", ")+"; or run: with a command and report: with the SARIF file that it writes", "%s does nothing", what)
	case s.Using != "" && s.Run != "":
		d.report.Add(key.Pos, "remove one of them", "%s has both using and run", what)
	case s.Run != "" && s.Report == "":
		d.report.Add(key.Pos, "have the command write SARIF, and name the file", "%s has a command, and no report that would say what it found", what)
	case s.Run == "" && (s.In != "" || s.Report != ""):
		d.report.Add(key.Pos, "in and report go with run", "%s has no command", what)
	case s.Level != "" && s.Using != ScanConfig:
		d.report.Add(key.Pos, "remove level", "%s has a level, which only config has", what)
	case len(s.Deny) > 0 && s.Using != ScanLicenses:
		d.report.Add(key.Pos, "remove deny", "%s denies licenses, which only licenses does", what)
	}
	if s.Using == ScanConfig && s.Level == "" {
		s.Level = LevelBaseline
	}
	return s
}

func (d *decoder) licenses(n strictyaml.Node) []string {
	var out []string
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxList, "licenses") {
			return
		}
		s := item.Str()
		if s != "" && !d.matches(`[A-Za-z0-9][A-Za-z0-9.+-]{0,99}`, s) {
			item.Problem("write an SPDX id, as AGPL-3.0-only", "%s is no id of a license", strictyaml.Quote(s))
		}
		out = append(out, s)
	})
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *decoder) findings(n strictyaml.Node) *Findings {
	f := &Findings{Block: DefaultBlock, Pos: n.KeyPos()}
	n.Fields("findings", strictyaml.Fields{
		"block": func(n strictyaml.Node) {
			f.Block = cmp.Or(n.Enum(append(plan.Severities(), plan.BlockNever)...), f.Block)
		},
		"require": func(n strictyaml.Node) {
			n.List(func(_ int, item strictyaml.Node) { f.Require = append(f.Require, item.Enum(Scanners()...)) })
			slices.Sort(f.Require)
			f.Require = slices.Compact(f.Require)
		},
		"waivers": func(n strictyaml.Node) {
			n.List(func(i int, item strictyaml.Node) {
				if !d.over(item, i+1, maxWaivers, "waivers") {
					f.Waivers = append(f.Waivers, d.waiver(item))
				}
			})
		},
	})
	return f
}

const maxWaivers = 2000

func (d *decoder) waiver(n strictyaml.Node) plan.Waiver {
	var w plan.Waiver
	n.Fields("waiver", strictyaml.Fields{
		"rule": func(n strictyaml.Node) {
			w.Rule = n.Str()
			scan, rule, ok := strings.Cut(w.Rule, "/")
			if _, err := path.Match(w.Rule, ""); w.Rule != "" && (!ok || scan == "" || rule == "" || err != nil) {
				n.Problem("write <scan>/<rule>, as secrets/private-key, or packages/* for all of a scan", "%s names no rule", strictyaml.Quote(w.Rule))
			}
		},
		"service": func(n strictyaml.Node) { w.Service = d.name(n) },
		"path":    func(n strictyaml.Node) { w.Path = d.path(n) },
		"until": func(n strictyaml.Node) {
			w.Until = n.Text()
			if _, err := time.Parse(time.DateOnly, w.Until); err != nil {
				n.Problem("write a day, as 2027-01-31: the last one on which it holds", "%s is no day", strictyaml.Quote(w.Until))
			}
		},
		"reason": func(n strictyaml.Node) { w.Reason = d.text(n, n.Str()) },
	}, "rule", "until", "reason")
	return w
}
