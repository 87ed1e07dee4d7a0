package pipeline

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// CoverageName is the artifact with what a test covers of each file.
const CoverageName = "coverage"

// maxArtifacts is how many one test may leave.
const maxArtifacts = 20

// filesOf adds the fields that say what becomes of files of a test.
func (d *decoder) filesOf(t *Test, fields strictyaml.Fields) {
	fields["artifacts"] = func(n strictyaml.Node) { t.Artifacts = d.artifacts(n) }
	fields["coverage"] = func(n strictyaml.Node) { t.Coverage = d.filePattern(n) }
	fields["use"] = func(n strictyaml.Node) { t.Use = d.uses(n) }
}

func (d *decoder) checkFilesOf(t *Test, what string) {
	switch {
	case t.At == AtDeploy && t.Coverage != "":
		d.report.Add(t.Pos, "remove coverage", "%s has coverage, which is not supported yet when at is deploy", what)
	case t.Shards != 0 && t.Coverage != "":
		d.report.Add(t.Pos, "remove coverage, or shards", "%s has coverage, and shards, each of which covers some: that cannot be added up yet", what)
	case t.Coverage != "" && slices.ContainsFunc(t.Artifacts, func(a Artifact) bool { return a.Name == CoverageName }):
		d.report.Add(t.Pos, "give it another name", "%s has an artifact %s, which is what coverage leaves", what, CoverageName)
	case t.At == AtDeploy && len(t.Artifacts) > 0:
		d.report.Add(t.Pos, "remove artifacts", "%s has artifacts, which are not supported yet when at is deploy", what)
	case t.At == AtDeploy && len(t.Use) > 0:
		d.report.Add(t.Pos, "remove use", "%s uses artifacts, which is not supported yet when at is deploy", what)
	case t.Target != "" && len(t.Use) > 0:
		d.report.Add(t.Pos, "write run: with a command, and in: for its stage", "%s uses artifacts, and no command that could read them: a stage is built alone", what)
	}
}

// artifacts reads which files of a test are kept, by name.
func (d *decoder) artifacts(n strictyaml.Node) []Artifact {
	var out []Artifact
	n.Entries("artifacts", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxArtifacts, "artifacts of one test") {
			return
		}
		d.checkName(key.Text, key.Pos)
		out = append(out, Artifact{Name: key.Text, Pattern: d.filePattern(v), Pos: key.Pos})
	})
	slices.SortFunc(out, func(a, b Artifact) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// filePattern reads a pattern of files and folders in a container.
func (d *decoder) filePattern(n strictyaml.Node) string {
	before := d.report.Count()
	s := n.Str()
	if d.report.Count() > before {
		return s
	}
	if s == "" || s == "/" || len(s) > maxPath {
		n.Problem("write a file, a folder, or a pattern as out/**/*.png", "%s is no pattern of files", strictyaml.Quote(s))
		return s
	}
	for part := range strings.SplitSeq(strings.Trim(s, "/"), "/") {
		if _, err := path.Match(part, ""); err != nil || part == ".." || part == "" {
			n.Problem("write a file, a folder, or a pattern as out/**/*.png", "%s is no pattern of files", strictyaml.Quote(s))
			break
		}
	}
	return s
}

// maxUses is how many artifacts one test may be given.
const maxUses = 20

// uses reads what of other tests a test is given, by the folder in which it finds it.
func (d *decoder) uses(n strictyaml.Node) []Use {
	var out []Use
	n.Entries("use", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxUses, "artifacts that one test uses") {
			return
		}
		if clean := path.Clean(key.Text); clean != key.Text || clean == "/" || clean == "." || strings.HasPrefix(clean, "..") || len(clean) > maxPath {
			d.report.Add(key.Pos, "write a folder of its own, as /artifacts/web", "%s is no folder in which an artifact could be found", strictyaml.Quote(key.Text))
		}
		text := v.Str()
		parts := strings.Split(text, "/")
		if len(parts) != 3 || slices.Contains(parts, "") {
			if text != "" || v.IsScalar() {
				v.Problem("write <service>/<test>/<artifact>", "%s is no artifact of a test", strictyaml.Quote(text))
			}
			return
		}
		out = append(out, Use{Path: key.Text, Service: parts[0], Test: parts[1], Artifact: parts[2], Pos: v.Pos()})
	})
	slices.SortFunc(out, func(a, b Use) int { return cmp.Compare(a.Path, b.Path) })
	for i := range out {
		for _, other := range out[:i] {
			if strings.HasPrefix(out[i].Path, other.Path+"/") {
				d.report.Add(out[i].Pos, "give each a folder of its own", "%s lies in %s, which is another artifact", strictyaml.Quote(out[i].Path), strictyaml.Quote(other.Path))
			}
		}
	}
	return out
}

// checkUses looks for the artifacts that tests use.
func (d *decoder) checkUses(services []*Service) {
	names := slices.Sorted(maps.Keys(d.services))
	cycles := newCycles("use")
	for _, s := range services {
		for _, t := range s.Tests {
			at := s.Name + "/" + t.Name
			cycles.graph.Add(at)
			for _, u := range t.Use {
				other := d.resolve(u.Service, u.Pos, names)
				if other == nil {
					continue
				}
				if made := d.maker(other, u); made != nil {
					cycles.add(u.Service+"/"+u.Test, at, u.Pos)
				}
			}
		}
	}
	cycles.check(d.report)
}

// maker is the test that leaves what another one uses; nil: there is a mistake.
func (d *decoder) maker(s *Service, u Use) *Test {
	var tests, left []string
	for _, t := range s.Tests {
		if tests = append(tests, t.Name); t.Name != u.Test {
			continue
		}
		for _, a := range t.Artifacts {
			left = append(left, a.Name)
		}
		switch {
		case !slices.Contains(left, u.Artifact):
			suggestion := strictyaml.Suggest(u.Artifact, left)
			if suggestion == "" {
				suggestion = "name the files below artifacts: of that test"
			}
			d.report.Add(u.Pos, suggestion, "the test %s leaves no artifact %s", strictyaml.Quote(u.Service+"/"+u.Test), strictyaml.Quote(u.Artifact))
			return nil
		case t.Shards != 0:
			d.report.Add(u.Pos, "", "%s has shards, each of which leaves an artifact of its own: using those is not supported yet", strictyaml.Quote(u.Service+"/"+u.Test))
			return nil
		}
		return t
	}
	d.report.Add(u.Pos, strictyaml.Suggest(u.Test, tests), "service %s has no test %s", strictyaml.Quote(s.Name), strictyaml.Quote(u.Test))
	return nil
}
