package pipeline

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Limits of the two files. Exceeding one is a mistake like any other.
const (
	maxServices     = 1000
	maxTests        = 100 // of one service
	maxList         = 200 // items in any list or mapping of names
	maxPath         = 512 // bytes of a repository path
	maxText         = 64 << 10
	maxTotal        = 8 << 20 // bytes of all files together
	maxClusters     = 500
	maxEnvironments = 50
)

// Parse reads slipway.yaml and the services/*/service.yaml files, given by their
// repository paths. The pipeline is nil if there are problems.
func Parse(files map[string][]byte) (*Pipeline, Problems) {
	limits := strictyaml.DefaultLimits()
	d := newDecoder(strictyaml.NewReporter(limits.Problems))
	p := d.pipeline(files, limits)
	if problems := d.report.Problems(); len(problems) > 0 {
		return nil, problems
	}
	return p, nil
}

// Lint returns what is wrong with the files of a repository: Parse for those who
// want nothing else.
func Lint(files map[string][]byte) Problems {
	_, problems := Parse(files)
	return problems
}

// IsServiceFile says that a repository path is one of the files that Parse merges,
// and of which service.
func IsServiceFile(file string) (service string, ok bool) {
	folder, name := path.Split(file)
	parent, service := path.Split(strings.TrimSuffix(folder, "/"))
	return service, name == ServiceFileName && parent == ServiceFileFolder+"/"
}

// decoder reads one set of files.
type decoder struct {
	report   *strictyaml.Reporter
	secrets  *secretScanner
	defaults defaults
	services map[string]*Service
	patterns map[string]*regexp.Regexp // see matches
	analyze  []analyze
	tooMany  bool

	windows []windowUse // names of windows in environments
}

func newDecoder(report *strictyaml.Reporter) *decoder {
	return &decoder{
		report: report, secrets: newSecretScanner(),
		defaults: builtinDefaults(), services: map[string]*Service{}, patterns: map[string]*regexp.Regexp{},
	}
}

func (d *decoder) pipeline(files map[string][]byte, limits strictyaml.Limits) *Pipeline {
	whole := func(file string) Pos { return strictyaml.At(file, nil, 0, 0) }
	main, ok := files[File]
	if !ok {
		d.report.Add(whole(File), "add one at the root of the repository", "there is no such file")
		return nil
	}
	total := 0
	for _, data := range files {
		total += len(data)
	}
	if total > maxTotal {
		d.report.Add(whole(File), "", "the files have %d bytes together; at most %d are read", total, maxTotal)
		return nil
	}
	p := &Pipeline{}
	if root, ok := strictyaml.Parse(File, main, limits, d.report); ok {
		d.root(root, p)
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if file == File {
			continue
		}
		service, ok := IsServiceFile(file)
		if !ok {
			d.report.Add(whole(file), "", "not a file of a pipeline: want %s or %s/*/%s", File, ServiceFileFolder, ServiceFileName)
			continue
		}
		if root, ok := strictyaml.Parse(file, files[file], limits, d.report); ok {
			key := strictyaml.Key{Text: service, Pos: root.Pos()}
			d.service(key, root, path.Dir(file))
		}
	}
	p.Services = slices.SortedFunc(maps.Values(d.services), func(a, b *Service) int { return cmp.Compare(a.Name, b.Name) })
	d.checkReferences(p.Services)
	d.checkSidecars(p)
	d.checkUses(p.Services)
	if len(p.Services) == 0 && d.report.Count() == 0 {
		d.report.Add(strictyaml.At(File, main, 1, 1), "add at least one below \"services:\"", "there are no services")
	}
	return p
}

// root reads slipway.yaml. Services are read last: the defaults must be known.
func (d *decoder) root(root strictyaml.Node, p *Pipeline) {
	var services, defaults *strictyaml.Node
	keep := func(to **strictyaml.Node) func(strictyaml.Node) {
		return func(n strictyaml.Node) { *to = &n }
	}
	fields := strictyaml.Fields{
		"version":  func(n strictyaml.Node) { p.Version = version(n) },
		"project":  func(n strictyaml.Node) { p.Project, p.Pos = d.name(n), n.Pos() },
		"triggers": func(n strictyaml.Node) { p.Triggers = d.triggers(n) },
		"defaults": keep(&defaults),
		"services": keep(&services),
		"sidecars": func(n strictyaml.Node) { p.Sidecars = d.sidecars(n) },
		"source":   func(n strictyaml.Node) { p.Source = d.source(n) },
		"timeout":  func(n strictyaml.Node) { p.Timeout = n.Duration(time.Second, 30*24*time.Hour) },
		"release":  later,
		"on":       hint("on is true in older YAML", "write \"triggers\""),
	}
	for _, key := range []string{"clusters", "environments", "analysis", "windows", "secrets", "pools", "quotas", "groups", "classes", "policies", "findings"} {
		fields[key] = hint(key+" belong to the platform team", "move them to targets.yaml")
	}
	root.Fields("the file", anchors(root, fields), "version", "project")
	if defaults != nil {
		d.readDefaults(*defaults)
	}
	if services != nil {
		services.Entries("services", func(key strictyaml.Key, n strictyaml.Node) { d.service(key, n, "") })
	}
}

// anchors allows keys that begin with "x-" at the top of a file: a place to keep
// anchors. Their content is read where an alias uses it.
func anchors(root strictyaml.Node, fields strictyaml.Fields) strictyaml.Fields {
	if root.IsMap() {
		root.Entries("the file", func(key strictyaml.Key, _ strictyaml.Node) {
			if strings.HasPrefix(key.Text, "x-") {
				fields[key.Text] = func(strictyaml.Node) {}
			}
		})
	}
	return fields
}

func version(n strictyaml.Node) int {
	v := n.Int(0, 1<<30)
	if v != Version {
		n.Problem("write version: 1", "version %d is not known to this Slipway", v)
	}
	return v
}

// later refuses what the language has and Slipway does not do yet.
func later(n strictyaml.Node) { n.KeyProblem("remove it", "not supported yet") }

// hint refuses a key that is wrong in a way worth explaining.
func hint(message, suggestion string) func(strictyaml.Node) {
	return func(n strictyaml.Node) { n.KeyProblem(suggestion, "%s", message) }
}

func (d *decoder) triggers(n strictyaml.Node) []Trigger {
	var out []Trigger
	read := func(event, until string) func(strictyaml.Node) {
		return func(n strictyaml.Node) {
			t := Trigger{Event: event, Until: until, Pos: n.KeyPos()}
			fields := strictyaml.Fields{
				"run":          func(n strictyaml.Node) { t.Until, t.Diff = d.stages(n) },
				"branches":     func(n strictyaml.Node) { t.Branches = d.globs(n) },
				"paths":        func(n strictyaml.Node) { t.Paths = d.paths(n) },
				"paths_ignore": func(n strictyaml.Node) { t.PathsIgnore = d.paths(n) },
				"supersede":    func(n strictyaml.Node) { t.Supersede = n.Enum(SupersedeNever, SupersedeQueued, SupersedeRunning) },
				"if":           later,
			}
			if event == "push" {
				fields["tags"] = later
			}
			n.Fields("trigger "+event, fields)
			out = append(out, t)
		}
	}
	n.Fields("triggers", strictyaml.Fields{
		"push":         read("push", StageRelease),
		"pull_request": read("pull_request", StageTest),
		"schedule":     later,
	})
	slices.SortFunc(out, func(a, b Trigger) int { return cmp.Compare(a.Event, b.Event) })
	return out
}

// stages reads what a run does. Nothing is tested that was not built, and nothing
// released that was not tested, so the last stage says it all. A comparison takes the
// place of a release, which says itself what it changes.
func (d *decoder) stages(n strictyaml.Node) (until string, diff bool) {
	order := []string{StageBuild, StageTest, StageRelease}
	written := map[string]bool{}
	n.List(func(_ int, item strictyaml.Node) {
		written[item.Enum(StageBuild, StageTest, StageDiff, StageRelease)] = true
	})
	diff = written[StageDiff]
	switch {
	case diff && written[StageRelease]:
		n.Problem("write [build, test, diff] or [build, test, release]", "diff and release: a release says itself what it changes")
		return StageRelease, false
	case diff && !written[StageBuild] && !written[""]:
		n.Problem("write [build, diff]", "diff without build")
		return StageBuild, true
	}
	for i, stage := range order {
		if !written[stage] {
			continue
		}
		until = stage
		for _, before := range order[:i] {
			if !written[before] && !written[""] {
				n.Problem("write ["+strings.Join(order[:i+1], ", ")+"]", "%s without %s", stage, before)
				return until, diff
			}
		}
	}
	if len(written) == 0 && n.IsList() {
		n.Problem("write [build, test] or [build, test, release]", "nothing to run")
	}
	return until, diff
}

func (d *decoder) globs(n strictyaml.Node) []string {
	var out []string
	n.List(func(_ int, item strictyaml.Node) {
		s := item.Str()
		if _, err := path.Match(s, ""); err != nil {
			item.Problem("close every [", "not a pattern: %s", strictyaml.Quote(s))
		}
		out = append(out, s)
	})
	return out
}

func (d *decoder) source(n strictyaml.Node) (s Source) {
	n.Fields("source", strictyaml.Fields{
		"lfs": func(n strictyaml.Node) { s.LFS = n.Bool() },
		"submodules": func(n strictyaml.Node) {
			s.Submodules = d.paths(n)
			slices.Sort(s.Submodules)
			s.Submodules = slices.Compact(s.Submodules)
		},
	})
	return s
}
