package pipeline

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// maxArtifacts is how many one test may leave.
const maxArtifacts = 20

// filesOf adds the fields that say what becomes of files of a test.
func (d *decoder) filesOf(t *Test, fields strictyaml.Fields) {
	fields["artifacts"] = func(n strictyaml.Node) { t.Artifacts = d.artifacts(n) }
}

func (d *decoder) checkFilesOf(t *Test, what string) {
	if t.At == AtDeploy && len(t.Artifacts) > 0 {
		d.report.Add(t.Pos, "remove artifacts", "%s has artifacts, which are not supported yet when at is deploy", what)
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
