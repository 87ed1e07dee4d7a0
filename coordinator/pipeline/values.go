package pipeline

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"strings"
	"unicode"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// name reads a DNS label: it becomes part of task ids, object names and host names.
func (d *decoder) name(n strictyaml.Node) string {
	before := d.report.Count()
	s := n.Str()
	if d.report.Count() == before {
		d.checkName(s, n.Pos())
	}
	return s
}

func (d *decoder) checkName(s string, at Pos) {
	if isLabel(s) {
		return
	}
	suggestion := "use at most 63 small letters, digits and hyphens, with a letter or digit at both ends"
	if fixed := toLabel(s); isLabel(fixed) {
		suggestion = fmt.Sprintf("write %q", fixed)
	}
	d.report.Add(at, suggestion, "%s is not a valid name", strictyaml.Quote(s))
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func toLabel(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r == '_' || r == ' ' || r == '.' || r == '/' {
			return '-'
		}
		return unicode.ToLower(r)
	}, s), "-")
}

// matches says that a pattern covers all of s. Patterns are compiled once per decoder.
func (d *decoder) matches(pattern, s string) bool {
	compiled, ok := d.patterns[pattern]
	if !ok {
		compiled = regexp.MustCompile(`^(?:` + pattern + `)$`)
		d.patterns[pattern] = compiled
	}
	return compiled.MatchString(s)
}

func cutPrefix(s, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	return rest, ok && rest != ""
}

// path reads a repository path. It is clean and cannot leave the repository.
func (d *decoder) path(n strictyaml.Node) string {
	s := n.Str()
	clean := path.Clean(s)
	switch {
	case s == "":
		if n.IsScalar() {
			n.Problem("write . for the root of the repository", "an empty path")
		}
	case len(s) > maxPath:
		n.Problem("", "a path of %d bytes; at most %d", len(s), maxPath)
	case strings.HasPrefix(s, "/"):
		n.Problem("write it relative to the root of the repository", "%s is an absolute path", strictyaml.Quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		n.Problem("use slashes, also on Windows", "%s is not a repository path", strictyaml.Quote(s))
	case clean == ".." || strings.HasPrefix(clean, "../"):
		n.Problem("", "%s lies outside the repository", strictyaml.Quote(s))
	case clean == ".git" || strings.HasPrefix(clean, ".git/"):
		n.Problem("", "%s is git's own", strictyaml.Quote(s))
	case clean != strings.TrimSuffix(s, "/"):
		n.Problem(fmt.Sprintf("write %q", clean), "%s is not in its shortest form", strictyaml.Quote(s))
	}
	return clean
}

func (d *decoder) paths(n strictyaml.Node) []string {
	var out []string
	n.List(func(i int, item strictyaml.Node) {
		if !d.over(item, i+1, maxList, "paths") {
			out = append(out, d.path(item))
		}
	})
	return out
}

// over reports the first item beyond a limit, and says that an item is beyond it.
func (d *decoder) over(n strictyaml.Node, count, limit int, what string) bool {
	if count == limit+1 {
		n.Problem("", "more than %d %s", limit, what)
	}
	return count > limit
}

// team is what names of teams look like.
const team = `[a-zA-Z0-9@][a-zA-Z0-9@._/-]{0,99}`

func (d *decoder) owner(n strictyaml.Node) string {
	s := n.Str()
	if s != "" && !d.matches(team, s) {
		n.Problem("write a team, as team-core or @shop/core", "%s is no name of a team", strictyaml.Quote(s))
	}
	return s
}

func (d *decoder) refs(n strictyaml.Node) []Ref {
	var out []Ref
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxList, "services") {
			return
		}
		if s := item.Str(); s != "" {
			out = append(out, Ref{Service: s, Pos: item.Pos()})
		}
	})
	return out
}

// stage reads the name of a stage of a Dockerfile.
func (d *decoder) stage(n strictyaml.Node) string {
	s := n.Str()
	if s != "" && !d.matches(`[a-zA-Z][a-zA-Z0-9_.-]{0,127}`, s) {
		n.Problem("write the name after AS in the Dockerfile", "%s is no name of a stage", strictyaml.Quote(s))
	}
	return s
}

// repository reads the prefix that images are pushed under.
func (d *decoder) repository(n strictyaml.Node) string {
	s := n.Str()
	if d.secretLiteral(n, "", s) {
		return s
	}
	const component = `[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*`
	if s == "" || d.matches(component+`(?::[0-9]{1,5})?(?:/`+component+`)*`, s) && len(s) < 200 {
		return s
	}
	suggestion := "write registry.example.com/shop: the name of the service is added, and no tag"
	if strings.Contains(s, "://") {
		suggestion = "leave out the scheme"
	}
	n.Problem(suggestion, "%s is no place to push images to", strictyaml.Quote(s))
	return s
}

func (d *decoder) platform(n strictyaml.Node) string {
	if n.IsList() {
		n.KeyProblem("write platform: linux/amd64", "images for several platforms are not supported yet")
		return ""
	}
	s := n.Str()
	if s != "" && !d.matches(`linux/(amd64|arm64|arm|386|ppc64le|riscv64|s390x|loong64)(/v[0-9]{1,2})?`, s) {
		n.Problem("write linux/amd64 or linux/arm64", "%s is not a platform that images are built for", strictyaml.Quote(s))
	}
	return s
}

// env reads names and their values, on top of inherited ones: literal values, and
// secrets where there is a place for them.
func (d *decoder) env(n strictyaml.Node, what string, inherited map[string]string, secrets *[]SecretUse) map[string]string {
	out := maps.Clone(inherited)
	if out == nil {
		out = map[string]string{}
	}
	count := 0
	n.Entries(what, func(key strictyaml.Key, v strictyaml.Node) {
		if count++; d.over(v, count, maxList, what) {
			return
		}
		if !d.matches(`[A-Za-z_][A-Za-z0-9_]{0,127}`, key.Text) {
			d.report.Add(key.Pos, "use letters, digits and _", "%s is not a valid name", strictyaml.Quote(key.Text))
		}
		if v.IsMap() {
			if d.envSecret(key, v, secrets) {
				delete(out, key.Text)
			}
			return
		}
		if secrets != nil {
			*secrets = without(*secrets, key.Text)
		}
		text := v.Text()
		d.secretLiteral(v, key.Text, text)
		out[key.Text] = d.text(v, text)
	})
	return out
}

func (d *decoder) text(n strictyaml.Node, s string) string {
	if len(s) > maxText {
		n.Problem("put it into a file of the repository", "a text of %d bytes; at most %d", len(s), maxText)
	}
	if strings.ContainsRune(s, 0) {
		n.Problem("", "a text with a zero byte")
	}
	return s
}

func (d *decoder) command(n strictyaml.Node) string {
	s := n.Str()
	if s != "" && strings.TrimSpace(s) == "" {
		n.Problem("write a command for the shell", "an empty command")
	}
	d.secretLiteral(n, "", s)
	return d.text(n, s)
}

// reportGlob reads a glob of result files. ** stands for any number of folders.
func (d *decoder) reportGlob(n strictyaml.Node) string {
	s := n.Str()
	if strings.HasPrefix(s, "/") {
		n.Problem("write it relative to the working directory of the stage", "%s is an absolute path", strictyaml.Quote(s))
		return s
	}
	for part := range strings.SplitSeq(s, "/") {
		if _, err := path.Match(part, ""); err != nil || part == ".." || (part == "" && s != "") || len(s) > maxPath {
			n.Problem("write a pattern as **/junit.xml", "%s is not a pattern of files", strictyaml.Quote(s))
			break
		}
	}
	return s
}

func (d *decoder) urlPath(n strictyaml.Node) string {
	before := d.report.Count()
	s := n.Str()
	if d.report.Count() == before && !d.matches(`/[a-zA-Z0-9/._~!$&'()*+,;=:@%?-]{0,500}`, s) {
		n.Problem("write a path as /healthz", "%s is not the path of a URL", strictyaml.Quote(s))
	}
	return s
}
