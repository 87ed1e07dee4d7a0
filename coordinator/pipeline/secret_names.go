package pipeline

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// maxSecrets of one build, or of the environment of one test.
const maxSecrets = 32

// What a secret may be used for.
const (
	UseBuild  = "build"
	UseTest   = "test"
	UseDeploy = "deploy"
)

// SecretUse is a secret by its name, never its value, where it is used.
type SecretUse struct {
	As     string `json:"as"`     // id of a mount, or environment variable
	Secret string `json:"secret"` // name in targets.yaml
	Pos    Pos    `json:"-"`      // of the name
}

// Secret is the one place where a name meets a value: exactly one of File, Env and
// Kubernetes is set.
type Secret struct {
	Name       string            `json:"name"`
	For        []string          `json:"for"`            // Use…, sorted
	File       string            `json:"file,omitempty"` // absolute path at the coordinator
	Env        string            `json:"env,omitempty"`  // environment variable of the coordinator
	Kubernetes *KubernetesSecret `json:"kubernetes,omitempty"`
	Pos        Pos               `json:"-"` // of its name
}

// KubernetesSecret is one key of a Secret in the coordinator's cluster.
type KubernetesSecret struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Key       string `json:"key"`
}

// Secret finds a secret by name.
func (t *Targets) Secret(name string) (*Secret, bool) {
	i, ok := slices.BinarySearchFunc(t.Secrets, name, func(s *Secret, name string) int { return strings.Compare(s.Name, name) })
	if !ok {
		return nil, false
	}
	return t.Secrets[i], true
}

// secretName reads the name of a secret. Somebody may have written the value.
func (d *decoder) secretName(n strictyaml.Node) string {
	before := d.report.Count()
	s := n.Str()
	if d.report.Count() == before && !d.secretLiteral(n, "", s) {
		d.checkName(s, n.Pos())
	}
	return s
}

// secretRef reads { secret: name }.
func (d *decoder) secretRef(as string, n strictyaml.Node) SecretUse {
	use := SecretUse{As: as, Pos: n.Pos()}
	n.Fields("a value from a secret", strictyaml.Fields{
		"secret": func(n strictyaml.Node) { use.Secret, use.Pos = d.secretName(n), n.Pos() },
	}, "secret")
	return use
}

// envSecret reads a value that is a secret's. It says whether there is a place for it.
func (d *decoder) envSecret(key strictyaml.Key, n strictyaml.Node, secrets *[]SecretUse) bool {
	if secrets == nil {
		n.KeyProblem("write build.secrets, and RUN --mount=type=secret in the Dockerfile", "a build argument is kept in the image, where everybody can read it")
		return false
	}
	*secrets = d.withSecret(n, *secrets, d.secretRef(key.Text, n))
	return true
}

// buildSecrets reads names, or what mounts are called with the secrets in them, on top of inherited ones.
func (d *decoder) buildSecrets(n strictyaml.Node, inherited []SecretUse) []SecretUse {
	out := slices.Clone(inherited)
	if n.IsList() {
		n.List(func(_ int, item strictyaml.Node) {
			if item.IsMap() {
				use := d.secretRef("", item)
				use.As = use.Secret
				out = d.withSecret(item, out, use)
				return
			}
			name := d.secretName(item)
			out = d.withSecret(item, out, SecretUse{As: name, Secret: name, Pos: item.Pos()})
		})
		return out
	}
	n.Entries("secrets of a build", func(key strictyaml.Key, v strictyaml.Node) {
		if !d.matches(`[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}`, key.Text) {
			d.report.Add(key.Pos, "use letters, digits and . _ -", "%s is no id of a secret mount", strictyaml.Quote(key.Text))
		}
		if v.IsScalar() {
			if text := v.Text(); !d.secretLiteral(v, key.Text, text) {
				v.Hide() // it may be the value
				v.Problem("write { secret: name }", "want the name of a secret")
			}
			return
		}
		out = d.withSecret(v, out, d.secretRef(key.Text, v))
	})
	return out
}

// withSecret adds a use, instead of the one of the same name.
func (d *decoder) withSecret(n strictyaml.Node, list []SecretUse, use SecretUse) []SecretUse {
	list = append(without(list, use.As), use)
	d.over(n, len(list), maxSecrets, "secrets")
	slices.SortFunc(list, func(a, b SecretUse) int { return cmp.Compare(a.As, b.As) })
	return list
}

func without(list []SecretUse, as string) []SecretUse {
	return slices.DeleteFunc(list, func(u SecretUse) bool { return u.As == as })
}

// secretDefinitions reads what targets.yaml says about secrets.
func (d *decoder) secretDefinitions(n strictyaml.Node) []*Secret {
	var out []*Secret
	n.Entries("secrets", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxList, "secrets") {
			return
		}
		d.checkName(key.Text, key.Pos)
		s := &Secret{Name: key.Text, Pos: key.Pos}
		out = append(out, s)
		what := "secret " + strictyaml.Quote(key.Text)
		if v.IsScalar() { // most likely the value itself
			v.Hide()
			v.Problem("write { for: [build], file: /path }", "want where the secret is kept, not its value")
			return
		}
		before := d.report.Count()
		v.Fields(what, d.secretFields(s), "for")
		if providers := s.providers(); d.report.Count() == before && len(providers) != 1 {
			message, fix := "has no provider", "write one of file, env and kubernetes"
			if len(providers) > 1 {
				message, fix = "has several providers: "+strings.Join(providers, ", "), "keep one of them"
			}
			d.report.Add(key.Pos, fix, "%s %s", what, message)
		}
	})
	slices.SortFunc(out, func(a, b *Secret) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (s *Secret) providers() []string {
	var out []string
	for name, set := range map[string]bool{"file": s.File != "", "env": s.Env != "", "kubernetes": s.Kubernetes != nil} {
		if set {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (d *decoder) secretFields(s *Secret) strictyaml.Fields {
	return strictyaml.Fields{
		"for": func(n strictyaml.Node) {
			uses := map[string]bool{}
			n.List(func(_ int, item strictyaml.Node) { uses[item.Enum(UseBuild, UseTest, UseDeploy)] = true })
			if n.IsList() && len(uses) == 0 {
				n.Problem("write for: [build], [test] or both", "a secret that nothing may use")
			}
			s.For = slices.Sorted(maps.Keys(uses))
		},
		"file": func(n strictyaml.Node) {
			s.File = n.Str()
			if s.File != "" && (!strings.HasPrefix(s.File, "/") || len(s.File) > maxPath || strings.ContainsRune(s.File, 0)) {
				n.Problem("write an absolute path, as /etc/slipway/secrets/"+s.Name, "%s is no path of a file at the coordinator", strictyaml.Quote(s.File))
			}
			d.notEmpty(n, s.File)
		},
		"env": func(n strictyaml.Node) {
			s.Env = n.Str()
			if s.Env != "" && !d.secretLiteral(n, "", s.Env) && !d.matches(`[A-Za-z_][A-Za-z0-9_]{0,127}`, s.Env) {
				n.Hide() // it may be the value
				n.Problem("write its name, as NPM_TOKEN", "that is no name of an environment variable")
			}
			d.notEmpty(n, s.Env)
		},
		"kubernetes": func(n strictyaml.Node) {
			k := &KubernetesSecret{}
			s.Kubernetes = k
			n.Fields("a Kubernetes Secret", strictyaml.Fields{
				"namespace": func(n strictyaml.Node) { k.Namespace = d.name(n) },
				"name":      func(n strictyaml.Node) { k.Name = d.objectName(n, `[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?`) },
				"key":       func(n strictyaml.Node) { k.Key = d.objectName(n, `[-._a-zA-Z0-9]{1,253}`) },
			}, "namespace", "name", "key")
		},
	}
}

func (d *decoder) notEmpty(n strictyaml.Node, s string) {
	if s == "" && n.IsScalar() {
		n.Problem("", "an empty text")
	}
}

func (d *decoder) objectName(n strictyaml.Node, pattern string) string {
	before := d.report.Count()
	s := n.Str()
	if d.report.Count() == before && !d.matches(pattern, s) {
		n.Problem("", "%s is not a name in Kubernetes", strictyaml.Quote(s))
	}
	return s
}

// checkSecrets reports uses of secrets that targets.yaml does not allow.
func checkSecrets(p *Pipeline, t *Targets, report *Reporter) {
	type place struct {
		pos Pos
		use string
	}
	seen := map[place]bool{} // a default is used by every service
	check := func(uses []SecretUse, what string) {
		for _, u := range uses {
			if at := (place{u.Pos, what}); !seen[at] {
				seen[at] = true
				checkSecret(u, what, t, report)
			}
		}
	}
	for _, s := range p.Services {
		if s.Build != nil {
			check(s.Build.Secrets, UseBuild)
		}
		for _, test := range s.Tests {
			if test.Run != "" && test.At == "" {
				check(test.Secrets, UseTest)
				for _, ref := range test.Sidecars {
					if sidecar, ok := p.Sidecar(ref.Name); ok {
						check(sidecar.Secrets, UseTest)
					}
				}
			}
		}
	}
}

func checkSecret(u SecretUse, what string, t *Targets, report *Reporter) {
	if t == nil {
		report.Add(u.Pos, "give the farm the platform team's file: targets: in coordinator.yaml, or slipway up --targets FILE",
			"secret %s: the farm has no targets.yaml, which says where secrets are kept", strictyaml.Quote(u.Secret))
		return
	}
	s, ok := t.Secret(u.Secret)
	if !ok {
		known := make([]string, len(t.Secrets))
		for i, s := range t.Secrets {
			known[i] = s.Name
		}
		suggestion := cmp.Or(strictyaml.Suggest(u.Secret, known), "ask the platform team to add it below secrets: in targets.yaml")
		report.Add(u.Pos, suggestion, "there is no secret %s", strictyaml.Quote(u.Secret))
		return
	}
	if !slices.Contains(s.For, what) {
		report.Add(u.Pos, "ask the platform team to write for: ["+strings.Join(append(slices.Clone(s.For), what), ", ")+"] at "+s.Pos.String(),
			"secret %s may be used for %s, and not for %s", strictyaml.Quote(u.Secret), strings.Join(s.For, " and "), what)
	}
}
