package pipeline

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/dag"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// ParseTargets reads targets.yaml. path names the file in messages. The targets are
// nil if there are problems.
func ParseTargets(path string, data []byte) (*Targets, Problems) {
	limits := strictyaml.DefaultLimits()
	d := newDecoder(strictyaml.NewReporter(limits.Problems))
	t := &Targets{}
	if root, ok := strictyaml.Parse(path, data, limits, d.report); ok {
		d.targets(root, t)
	}
	if problems := d.report.Problems(); len(problems) > 0 {
		return nil, problems
	}
	return t, nil
}

func (d *decoder) targets(root strictyaml.Node, t *Targets) {
	var windows []plan.Window
	fields := strictyaml.Fields{
		"version":      func(n strictyaml.Node) { t.Version = version(n) },
		"project":      func(n strictyaml.Node) { t.Project, t.ProjectPos = d.name(n), n.Pos() },
		"clusters":     func(n strictyaml.Node) { t.Clusters = d.clusters(n) },
		"environments": func(n strictyaml.Node) { t.Environments = d.environments(n) },
		"pools":        func(n strictyaml.Node) { t.Pools = d.pools(n) },
		"classes":      func(n strictyaml.Node) { t.Classes = d.classes(n) },
		"quotas":       func(n strictyaml.Node) { t.Quotas = d.quotas(n) },
		"groups":       func(n strictyaml.Node) { t.Groups = d.groups(n) },
		"secrets":      func(n strictyaml.Node) { t.Secrets = d.secretDefinitions(n) },
		"windows":      func(n strictyaml.Node) { windows = d.windowList(n) },
		"findings":     func(n strictyaml.Node) { t.Findings = d.findings(n) },
		"analysis":     func(n strictyaml.Node) { t.Analyses = d.analyses(n) },
		"services":     hint("services belong to the code", "move them to slipway.yaml"),
		"triggers":     hint("triggers belong to the code", "move them to slipway.yaml"),
	}
	fields["include"] = later
	fields["policies"] = hint("policies belong to an environment", "move them below it; an anchor can hold those of several")
	root.Fields("the file", anchors(root, fields), "version", "project")
	d.selectAnalyses(t.Analyses)
	d.selectClusters(t)
	for _, e := range t.Environments {
		d.selectWaves(e, t.Clusters)
	}
	d.selectWindows(windows)
	t.Environments = d.orderEnvironments(t.Environments)
}

func (d *decoder) clusters(n strictyaml.Node) []*Cluster {
	var out []*Cluster
	n.Entries("clusters", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxClusters, "clusters") {
			return
		}
		d.checkName(key.Text, key.Pos)
		c := &Cluster{Name: key.Text, Pos: key.Pos}
		out = append(out, c)
		if !v.IsNull() {
			v.Fields("cluster "+strictyaml.Quote(key.Text), strictyaml.Fields{
				"labels": func(n strictyaml.Node) { c.Labels = d.labels(n) },
			})
		}
	})
	slices.SortFunc(out, func(a, b *Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (d *decoder) labels(n strictyaml.Node) map[string]string {
	const label = `[a-zA-Z0-9](?:[a-zA-Z0-9_./-]{0,61}[a-zA-Z0-9])?`
	out := map[string]string{}
	n.Entries("labels", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxList, "labels") {
			return
		}
		out[key.Text] = v.Text()
		for _, text := range []string{key.Text, out[key.Text]} {
			if v.IsScalar() && !d.matches(label, text) {
				v.Problem("use letters, digits and . _ / -", "%s is not a valid label", strictyaml.Quote(text))
			}
		}
	})
	return out
}

func (d *decoder) environments(n strictyaml.Node) []*Environment {
	var out []*Environment
	n.Entries("environments", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxEnvironments, "environments") {
			return
		}
		d.checkName(key.Text, key.Pos)
		e := &Environment{
			Name: key.Text, Strategy: StrategyRolling, Rollback: RollbackEveryWave, Drift: DriftNone, Pos: key.Pos,
		}
		out = append(out, e)
		v.Fields("environment "+strictyaml.Quote(key.Text), d.environmentFields(e), "clusters", "namespace")
	})
	return out
}

func (d *decoder) environmentFields(e *Environment) strictyaml.Fields {
	return strictyaml.Fields{
		"clusters": func(n strictyaml.Node) {
			e.Selector = d.labels(n)
			if n.IsMap() && len(e.Selector) == 0 {
				n.Problem("write labels, as { tier: prod }", "a selector without labels would select every cluster")
			}
		},
		"namespace": func(n strictyaml.Node) { e.Namespace = d.name(n) },
		"after":     func(n strictyaml.Node) { e.After = d.after(n) },
		"strategy":  func(n strictyaml.Node) { d.strategy(n, e) },
		"on_failure": func(n strictyaml.Node) {
			n.Fields("on_failure", strictyaml.Fields{
				"rollback": func(n strictyaml.Node) {
					e.Rollback = cmp.Or(n.Enum(RollbackEveryWave, RollbackNone, "wave"), e.Rollback)
					if e.Rollback == "wave" {
						n.KeyProblem("write every-wave or none", "wave is not supported yet")
					}
				},
				"hold": func(n strictyaml.Node) { e.Hold = n.Bool() },
				"git":  later,
			})
		},
		"drift": func(n strictyaml.Node) { drift(n, e) },
		"tolerate": func(n strictyaml.Node) {
			n.Fields("tolerate", strictyaml.Fields{"unreachable": func(n strictyaml.Node) { e.Tolerate = n.Int(0, 1000) }}, "unreachable")
		},
		"waves":    func(n strictyaml.Node) { e.Waves = d.waves(n) },
		"approve":  func(n strictyaml.Node) { e.Approve = d.approve(n) },
		"windows":  func(n strictyaml.Node) { d.windowNames(n, e) },
		"policies": func(n strictyaml.Node) { d.policies(n, e) },
		"verify":   later, "soak": later,
		"analyze": later, "analysis": later, "freeze": later,
	}
}

// Bounds and default of how often clusters are compared although nobody saw a change.
const (
	minEvery     = time.Minute
	maxEvery     = 7 * 24 * time.Hour
	defaultEvery = 6 * time.Hour
)

// drift reads a word, or { do: report, every: 1h }.
func drift(n strictyaml.Node, e *Environment) {
	word := func(n strictyaml.Node) { e.Drift = cmp.Or(n.Enum(DriftNone, DriftReport, DriftRestore), DriftNone) }
	if n.IsMap() {
		n.Fields("drift", strictyaml.Fields{"do": word, "every": func(n strictyaml.Node) { e.Every = n.Duration(minEvery, maxEvery) }}, "do")
	} else {
		word(n)
	}
	switch {
	case e.Drift == DriftNone:
		e.Every = 0
	case e.Every == 0:
		e.Every = defaultEvery
	}
}

func (d *decoder) after(n strictyaml.Node) *After {
	a := &After{Verified: true, Pos: n.Pos()}
	n.Fields("after", strictyaml.Fields{
		"env": func(n strictyaml.Node) { a.Env, a.Pos = d.name(n), n.Pos() },
		"verified": func(n strictyaml.Node) {
			if !n.Bool() && n.IsBool() {
				n.KeyProblem("write true", "going on before the environment is verified is not supported yet")
			}
		},
		"soak": func(n strictyaml.Node) { a.Soak = d.soak(n) },
	}, "env")
	return a
}

func (d *decoder) pools(n strictyaml.Node) []*Pool {
	var out []*Pool
	n.Entries("pools", func(key strictyaml.Key, v strictyaml.Node) {
		p := &Pool{Name: key.Text, Max: 1, Pos: key.Pos}
		if key.Text != "default" {
			d.report.Add(key.Pos, "keep the pool \"default\" alone", "pools beside \"default\" are not supported yet")
			return
		}
		v.Fields("pool "+strictyaml.Quote(key.Text), strictyaml.Fields{
			"arch": func(n strictyaml.Node) {
				n.List(func(_ int, item strictyaml.Node) {
					p.Arch = append(p.Arch, item.Enum("amd64", "arm64"))
				})
			},
			"min": func(n strictyaml.Node) { p.Min = n.Int(0, 100_000) },
			"max": func(n strictyaml.Node) { p.Max = n.Int(1, 100_000) },
		})
		if p.Min > p.Max {
			d.report.Add(key.Pos, "", "pool %q has min %d above max %d", p.Name, p.Min, p.Max)
		}
		out = append(out, p)
	})
	return out
}

// selectClusters finds the clusters of each environment. Two environments must not
// share a target: each would undo the other.
func (d *decoder) selectClusters(t *Targets) {
	type place struct{ cluster, namespace string }
	taken := map[place]string{}
	for _, e := range t.Environments {
		for _, c := range t.Clusters {
			if selects(e.Selector, c.Labels) {
				e.Clusters = append(e.Clusters, c.Name)
			}
		}
		if len(e.Clusters) == 0 && len(e.Selector) > 0 && len(t.Clusters) > 0 {
			d.report.Add(e.Pos, d.nearestLabels(e.Selector, t.Clusters), "no cluster has the labels %s of environment %q", showLabels(e.Selector), e.Name)
		}
		for _, c := range e.Clusters {
			p := place{c, e.Namespace}
			if other, ok := taken[p]; ok && e.Namespace != "" {
				d.report.Add(e.Pos, "give them different namespaces", "environments %q and %q both own namespace %q of cluster %q", other, e.Name, e.Namespace, c)
				break
			}
			taken[p] = e.Name
		}
	}
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return len(selector) > 0
}

func showLabels(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+": "+labels[k])
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

func (d *decoder) nearestLabels(selector map[string]string, clusters []*Cluster) string {
	known := map[string]bool{}
	for _, c := range clusters {
		for k, v := range c.Labels {
			known[k+": "+v] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		if !known[k+": "+selector[k]] {
			return strictyaml.Suggest(k+": "+selector[k], slices.Collect(maps.Keys(known)))
		}
	}
	return "no single cluster has all of them"
}

// orderEnvironments sorts by after, and by name among equals.
func (d *decoder) orderEnvironments(list []*Environment) []*Environment {
	byName := map[string]*Environment{}
	for _, e := range list {
		byName[e.Name] = e
	}
	names := slices.Sorted(maps.Keys(byName))
	c := newCycles("after")
	c.graph = dag.New[string]()
	for _, name := range names {
		c.graph.Add(name)
	}
	for _, name := range names {
		after := byName[name].After
		if after == nil || after.Env == "" {
			continue
		}
		if byName[after.Env] == nil {
			d.report.Add(after.Pos, strictyaml.Suggest(after.Env, names), "there is no environment %s", strictyaml.Quote(after.Env))
			continue
		}
		c.add(after.Env, name, after.Pos)
	}
	c.check(d.report)
	order, _ := c.graph.Order()
	out := make([]*Environment, len(order))
	for i, name := range order {
		out[i] = byName[name]
	}
	return out
}

// Match reports where the two files do not belong together. t is nil where a farm has
// no targets.
func Match(p *Pipeline, t *Targets, report *Reporter) {
	if t != nil && p.Project != t.Project {
		report.Add(t.ProjectPos, "", "these targets belong to project %q, and %s to project %q", t.Project, File, p.Project)
		return
	}
	checkSecrets(p, t, report)
}
