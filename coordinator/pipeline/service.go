package pipeline

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// defaults are what a service gets that does not say otherwise.
type defaults struct {
	build  Build
	test   Test
	deploy Deploy
	scans  []*Scan
}

func builtinDefaults() defaults {
	return defaults{
		build:  Build{Context: root, Provenance: true, Timeout: time.Hour, Infra: 2},
		test:   Test{Timeout: 15 * time.Minute, Size: "S", Infra: 2},
		deploy: Deploy{Using: UsingKustomize, Timeout: 10 * time.Minute},
	}
}

func (d *decoder) readDefaults(n strictyaml.Node) {
	n.Fields("defaults", strictyaml.Fields{
		"build":  func(n strictyaml.Node) { n.Fields("defaults of build", d.buildFields(&d.defaults.build)) },
		"test":   func(n strictyaml.Node) { n.Fields("defaults of test", d.testFields(&d.defaults.test)) },
		"deploy": func(n strictyaml.Node) { n.Fields("defaults of deploy", d.deployFields(&d.defaults.deploy)) },
		"scan":   func(n strictyaml.Node) { d.defaults.scans = d.scans(n, nil, "") },
	})
}

// service reads one service. folder is where its own file lies, if it has one.
func (d *decoder) service(key strictyaml.Key, n strictyaml.Node, folder string) {
	if len(d.services) >= maxServices {
		if !d.tooMany {
			d.report.Add(key.Pos, "", "more than %d services", maxServices)
		}
		d.tooMany = true
		return
	}
	d.checkName(key.Text, key.Pos)
	if first, twice := d.services[key.Text]; twice {
		d.report.Add(key.Pos, "remove one of them", "service %s is defined twice: first at %s", strictyaml.Quote(key.Text), first.Pos)
		return
	}
	s := &Service{Name: key.Text, Path: folder, Pos: key.Pos}
	build, deploy := d.defaults.build, d.defaults.deploy
	build.Args, build.Secrets = maps.Clone(build.Args), slices.Clone(build.Secrets)
	build.Pos, deploy.Pos = key.Pos, key.Pos
	deploy.Implicit = true
	s.Build, s.Deploy, s.Scans = &build, &deploy, d.defaults.scans
	d.services[s.Name] = s
	if n.IsNull() {
		n.Problem("write at least its path", "no value")
		return
	}
	fields := strictyaml.Fields{
		"path":     func(n strictyaml.Node) { s.Path = d.path(n) },
		"also":     func(n strictyaml.Node) { s.Also = d.paths(n) },
		"owner":    func(n strictyaml.Node) { s.Owner = d.owner(n) },
		"needs":    func(n strictyaml.Node) { s.Needs = d.refs(n) },
		"build":    func(n strictyaml.Node) { s.Build = d.build(n, s) },
		"test":     func(n strictyaml.Node) { s.Tests = d.tests(n, s.Name) },
		"scan":     func(n strictyaml.Node) { s.Scans = d.scans(n, s.Scans, s.Name) },
		"deploy":   func(n strictyaml.Node) { s.Deploy = d.deploy(n, s) },
		"sidecars": hint("sidecars are shared by all services", "move it to sidecars: at the top of "+File+", and name it in the test"),
		"if":       later,
	}
	what := "service " + strictyaml.Quote(s.Name)
	if folder == "" {
		n.Fields(what, fields, "path")
	} else {
		n.Fields(what, anchors(n, fields))
	}
	s.fill()
	if s.Build == nil && len(s.Tests) > 0 {
		d.report.Add(s.Tests[0].Pos, "remove build: false, or the tests", "%s has no image that a test could run in", what)
	}
	for _, scan := range s.Scans {
		if s.Build == nil && scan.Run != "" {
			d.report.Add(scan.Pos, "remove build: false, or write scan: { "+scan.Name+": false }", "%s has no image that the command of the scan %s could run in", what, scan.Name)
		}
	}
}

// fill sets the paths that follow from others.
func (s *Service) fill() {
	if s.Build != nil && s.Build.Dockerfile == "" {
		s.Build.Dockerfile = path.Join(s.Path, "Dockerfile")
	}
	if s.Deploy != nil && s.Deploy.Path == "" {
		s.Deploy.Path = "deploy/" + s.Name
	}
}

func (d *decoder) build(n strictyaml.Node, s *Service) *Build {
	if n.IsBool() {
		if n.Bool() {
			n.Problem("write a mapping, or leave it out for the defaults", "want a mapping or false, got true")
		}
		return nil
	}
	b := s.Build
	b.Pos = n.KeyPos()
	fields := d.buildFields(b)
	fields["dockerfile"] = func(n strictyaml.Node) { b.Dockerfile = d.path(n) }
	fields["context"] = func(n strictyaml.Node) { b.Context = d.path(n) }
	fields["target"] = func(n strictyaml.Node) { b.Target = d.stage(n) }
	fields["contexts"] = func(n strictyaml.Node) { b.Contexts = d.contexts(n, "build contexts", "a build context") }
	n.Fields("build", fields)
	return b
}

// buildFields are those that defaults may have too.
func (d *decoder) buildFields(b *Build) strictyaml.Fields {
	return strictyaml.Fields{
		"push":       func(n strictyaml.Node) { b.Push = d.repository(n) },
		"provenance": func(n strictyaml.Node) { b.Provenance = n.Bool() },
		"sbom":       func(n strictyaml.Node) { b.SBOM = n.Bool() },
		"platform":   func(n strictyaml.Node) { b.Platform = d.platform(n) },
		"platforms": hint("images for several platforms are not supported yet",
			"write platform: linux/amd64"),
		"args":    func(n strictyaml.Node) { b.Args = d.env(n, "build arguments", b.Args, nil) },
		"secrets": func(n strictyaml.Node) { b.Secrets = d.buildSecrets(n, b.Secrets) },
		"timeout": func(n strictyaml.Node) { b.Timeout = n.Duration(time.Second, 24*time.Hour) },
		"retry": func(n strictyaml.Node) {
			d.retry(n, budgets{infra: &b.Infra, timeout: &b.RetryTimeout, oom: &b.RetryOOM})
		},
	}
}

// contexts are names, each of which means the image of a service; all says what they are, one what each is.
func (d *decoder) contexts(n strictyaml.Node, all, one string) []Context {
	var out []Context
	count := 0
	n.Entries(all, func(key strictyaml.Key, v strictyaml.Node) {
		if count++; d.over(v, count, maxList, all) {
			return
		}
		if !d.matches(`[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,127}`, key.Text) {
			d.report.Add(key.Pos, "use letters, digits and . _ / : -", "%s is no name of %s", strictyaml.Quote(key.Text), one)
		}
		text := v.Str()
		name, ok := cutPrefix(text, "service:")
		if !ok {
			if text != "" {
				v.Problem("write service:<name>", "want the image of a service, got %s", strictyaml.Quote(text))
			}
			return
		}
		out = append(out, Context{Name: key.Text, Service: name, Pos: v.Pos()})
	})
	slices.SortFunc(out, func(a, b Context) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (d *decoder) tests(n strictyaml.Node, service string) []*Test {
	var out []*Test
	count := 0
	n.Entries("tests", func(key strictyaml.Key, v strictyaml.Node) {
		if count++; d.over(v, count, maxTests, "tests of one service") {
			return
		}
		d.checkName(key.Text, key.Pos)
		out = append(out, d.test(key, v, service))
	})
	slices.SortFunc(out, func(a, b *Test) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (d *decoder) test(key strictyaml.Key, n strictyaml.Node, service string) *Test {
	t := d.defaults.test
	t.Name, t.Pos, t.Env, t.Secrets = key.Text, key.Pos, maps.Clone(t.Env), slices.Clone(t.Secrets)
	inherited, own := len(t.Secrets), [3]int{-1, -1, -1} // flaky, timeout, oom
	fields := d.testFields(&t)
	d.filesOf(&t, fields)
	fields["run"] = func(n strictyaml.Node) { t.Run = d.command(n) }
	fields["in"] = func(n strictyaml.Node) { t.In = d.stage(n) }
	fields["target"] = func(n strictyaml.Node) { t.Target = d.stage(n) }
	fields["report"] = func(n strictyaml.Node) { t.Report = d.reportGlob(n) }
	fields["at"] = func(n strictyaml.Node) {
		if n.Enum("build", AtDeploy) == AtDeploy {
			t.At = AtDeploy
		}
	}
	fields["retry"] = func(n strictyaml.Node) {
		d.retry(n, budgets{&t.Infra, &own[0], &own[1], &own[2]})
		for i, inherited := range []*int{&t.Flaky, &t.RetryTimeout, &t.RetryOOM} {
			if own[i] >= 0 {
				*inherited = own[i]
			}
		}
	}
	fields["shards"] = func(n strictyaml.Node) { t.Shards = shards(n) }
	fields["list"] = func(n strictyaml.Node) { t.List = d.command(n) }
	fields["sidecars"] = func(n strictyaml.Node) { t.Sidecars = d.sidecarRefs(n) }
	fields["group"] = func(n strictyaml.Node) { t.Group = d.name(n) }
	fields["if"] = later
	what := "test " + strictyaml.Quote(service+"/"+key.Text)
	before := d.report.Count()
	n.Fields(what, fields)
	if d.report.Count() > before {
		return &t
	}
	d.checkFilesOf(&t, what)
	switch {
	case t.Run == "" && t.Target == "":
		d.report.Add(key.Pos, "write run: with a command, or target: with a stage of the Dockerfile", "%s does nothing", what)
	case t.Run != "" && t.Target != "":
		d.report.Add(key.Pos, "write in: for the stage that the command runs in", "%s has both run and target", what)
	case t.Target != "" && t.In != "":
		d.report.Add(key.Pos, "in: goes with run:", "%s has both target and in", what)
	case t.At == AtDeploy && (t.Target != "" || t.In != "" || t.Report != ""):
		d.report.Add(key.Pos, "write run: alone", "%s runs in the image of its service when at is deploy: target, in and report are not supported yet", what)
	case len(t.Sidecars) > 0 && t.Run == "":
		d.report.Add(key.Pos, "write run: with a command, and in: for its stage", "%s has sidecars, and nothing that could reach them: a stage is built alone", what)
	case t.At == AtDeploy && len(t.Sidecars) > 0:
		d.report.Add(key.Pos, "deploy what it needs", "%s has sidecars, which are not supported yet when at is deploy", what)
	case t.At == AtDeploy && t.Quarantine != nil && t.Quarantine != d.defaults.test.Quarantine:
		d.report.Add(key.Pos, "remove quarantine", "%s has a quarantine, which is not supported yet when at is deploy", what)
	case t.At == AtDeploy && t.Group != "":
		d.report.Add(key.Pos, "remove group", "%s has a group, which is for tests before a rollout: one run at a time rolls out to an environment anyway", what)
	case t.Shards != 0 && t.Run == "":
		d.report.Add(key.Pos, "write run: with a command, and in: for its stage", "%s has shards, and no command that could be told its part: a stage is built whole", what)
	case t.At == AtDeploy && t.Shards != 0:
		d.report.Add(key.Pos, "remove shards", "%s has shards, which are not supported yet when at is deploy", what)
	case t.Shards == AutoShards && t.List == "":
		d.report.Add(key.Pos, "write list: with a command that names what there is to test, each on a line, and have run read its part from $SLIPWAY_TESTS",
			"%s has shards: auto, and nothing that could be split", what)
	case t.List != "" && t.Shards == 0:
		d.report.Add(key.Pos, "write shards: auto", "%s has a list, and no shards to split it into", what)
	case t.At == AtDeploy && t.Name == MigrateName:
		d.report.Add(key.Pos, "give it another name", "%s has the name of the service's migration", what)
	case t.At == AtDeploy && len(t.Secrets) > 0:
		d.report.Add(key.Pos, "use a Secret of the namespace in the manifests", "%s has a secret in env, which is not supported yet when at is deploy", what)
	case t.At == AtDeploy && max(own[0], own[1], own[2]) > 0:
		d.report.Add(key.Pos, "leave infra alone in retry", "%s is tried again when it fails, which is not supported yet when at is deploy", what)
	case t.Target != "" && len(t.Secrets) > inherited:
		d.report.Add(key.Pos, "write build.secrets, and RUN --mount=type=secret in the stage", "%s has a secret in env, which a stage does not see", what)
	}
	if t.At == AtDeploy {
		t.Flaky, t.RetryTimeout, t.RetryOOM = 0, 0, 0 // of the defaults, which are for the others
	}
	return &t
}

// shards are a number, or auto.
func shards(n strictyaml.Node) int {
	if n.IsScalar() && n.Text() == "auto" {
		return AutoShards
	}
	return n.Int(2, MaxShards)
}

// testFields are those that defaults may have too.
func (d *decoder) testFields(t *Test) strictyaml.Fields {
	return strictyaml.Fields{
		"timeout":    func(n strictyaml.Node) { t.Timeout = n.Duration(time.Second, 24*time.Hour) },
		"size":       func(n strictyaml.Node) { t.Size = cmp.Or(n.Enum("S", "M", "L", "XL"), t.Size) },
		"env":        func(n strictyaml.Node) { t.Env = d.env(n, "environment variables", t.Env, &t.Secrets) },
		"retry":      func(n strictyaml.Node) { d.retry(n, budgets{&t.Infra, &t.Flaky, &t.RetryTimeout, &t.RetryOOM}) },
		"quarantine": func(n strictyaml.Node) { t.Quarantine = d.quarantine(n) },
	}
}

// quarantine is auto, false, or what differs from auto.
func (d *decoder) quarantine(n strictyaml.Node) *Quarantine {
	q := &Quarantine{}
	switch {
	case n.IsBool():
		if n.Bool() {
			n.Problem("write auto, or false", "want auto, false or a mapping, got true")
		}
		return nil
	case n.IsScalar():
		n.Enum("auto")
		return q
	}
	n.Fields("quarantine", strictyaml.Fields{
		"after":   func(n strictyaml.Node) { q.After = n.Int(1, 100) },
		"days":    func(n strictyaml.Node) { q.Days = n.Int(1, 365) },
		"release": func(n strictyaml.Node) { q.Release = n.Int(1, 1000) },
	})
	return q
}

// budgets are how often each class of failure is tried again.
type budgets struct{ infra, flaky, timeout, oom *int }

// retry reads budgets; flaky is nil for a build, which is the same each time.
func (d *decoder) retry(n strictyaml.Node, b budgets) {
	times := func(into *int) func(strictyaml.Node) {
		return func(n strictyaml.Node) { *into = n.Int(0, 10) }
	}
	n.Fields("retry", strictyaml.Fields{
		"infra":   times(b.infra),
		"timeout": times(b.timeout),
		"oom":     times(b.oom),
		"flaky": func(n strictyaml.Node) {
			switch times := n.Int(0, 10); {
			case b.flaky != nil:
				*b.flaky = times
			case times > 0:
				n.KeyProblem("remove it", "flaky is for tests: a build that failed is not tried again")
			}
		},
	})
}

func (d *decoder) deploy(n strictyaml.Node, s *Service) *Deploy {
	if n.IsBool() {
		if n.Bool() {
			n.Problem("write a mapping, or leave it out for the defaults", "want a mapping or false, got true")
		}
		return nil
	}
	p := s.Deploy
	p.Implicit, p.Pos = false, n.KeyPos()
	fields := d.deployFields(p)
	fields["path"] = func(n strictyaml.Node) { p.Path = d.path(n) }
	fields["also"] = func(n strictyaml.Node) { p.Also = d.paths(n) }
	var values, mode strictyaml.Node
	chosen := ""
	fields["values"] = func(n strictyaml.Node) { p.Values, values = d.paths(n), n }
	fields["mode"] = func(n strictyaml.Node) { chosen, mode = n.Enum(modeApply, modeRelease), n }
	fields["images"] = func(n strictyaml.Node) { p.Images = d.contexts(n, "images", "an image") }
	fields["migrate"] = func(n strictyaml.Node) { p.Migrate = d.migrate(n) }
	fields["hooks"] = later
	n.Fields("deploy", fields)
	if len(p.Values) > 0 && p.Using != UsingHelm {
		values.KeyProblem("write using: helm, or remove it", "values are for charts, and %s has none", p.Using)
	}
	p.HelmRelease = chosen == modeRelease
	switch {
	case chosen != "" && p.Using != UsingHelm:
		mode.KeyProblem("write using: helm, or remove it", "mode is for charts, and %s has none", p.Using)
	case p.HelmRelease && len(s.Name) > maxHelmName:
		mode.KeyProblem("shorten the service's name, or remove it",
			"a Helm release is named like the service, and has at most %d characters; %s has %d", maxHelmName, s.Name, len(s.Name))
	}
	return p
}

func (d *decoder) migrate(n strictyaml.Node) *Migrate {
	m := &Migrate{Pos: n.KeyPos()}
	n.Fields("migrate", strictyaml.Fields{
		"run":        func(n strictyaml.Node) { m.Run = d.command(n) },
		"reversible": func(n strictyaml.Node) { m.OneWay = !n.Bool() },
	}, "run")
	return m
}

// deployFields are those that defaults may have too.
func (d *decoder) deployFields(p *Deploy) strictyaml.Fields {
	return strictyaml.Fields{
		"using": func(n strictyaml.Node) {
			p.Using = cmp.Or(n.Enum(UsingKustomize, UsingManifests, UsingHelm), p.Using)
		},
		"timeout": func(n strictyaml.Node) { p.Timeout = n.Duration(time.Second, 24*time.Hour) },
		"health": func(n strictyaml.Node) {
			if n.IsBool() {
				if n.Bool() {
					n.Problem("write { http: /path, port: n }, or leave it out for the defaults", "want a mapping or false, got true")
				}
				p.Health = nil
				return
			}
			h := &Health{}
			n.Fields("health", strictyaml.Fields{
				"http": func(n strictyaml.Node) { h.HTTP = d.urlPath(n) },
				"port": func(n strictyaml.Node) { h.Port = n.Int(1, 65535) },
			}, "http", "port")
			p.Health = h
		},
	}
}
