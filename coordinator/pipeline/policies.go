package pipeline

import (
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/condition"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Limits of policies.
const (
	maxPolicies = 50 // of one environment
	maxKinds    = 50 // of one policy
	maxMessage  = 500
	maxKeys     = 10 // of one policy
	maxKey      = 1000
	maxPattern  = 300
)

// Levels of a policy.
const (
	levelDeny = "deny"
	levelWarn = "warn"
)

func (d *decoder) policies(n strictyaml.Node, e *Environment) {
	language, err := condition.New([]string{plan.PolicyObject}, plan.PolicyTexts())
	if err != nil {
		n.Problem("", "%v", err)
		return
	}
	seen := map[string]bool{}
	n.List(func(_ int, item strictyaml.Node) {
		if d.over(item, len(e.Policies)+1, maxPolicies, "policies") {
			return
		}
		p, keys := d.policy(item, language)
		if p.Name != "" && seen[p.Name] {
			item.Problem("give each a name of its own", "policy %s is there already", strictyaml.Quote(p.Name))
		}
		seen[p.Name] = true
		for i, at := range keys {
			e.KeyFiles = append(e.KeyFiles, KeyFile{Policy: len(e.Policies), Key: i, Pos: at})
		}
		e.Policies = append(e.Policies, p)
	})
}

func (d *decoder) policy(n strictyaml.Node, language *condition.Language) (p plan.Policy, keys []Pos) {
	p.At = n.Pos().String()
	before := d.report.Count()
	n.Fields("policy", strictyaml.Fields{
		"name": func(n strictyaml.Node) { p.Name = d.name(n) },
		"match": func(n strictyaml.Node) {
			n.Fields("match", strictyaml.Fields{"kinds": func(n strictyaml.Node) { p.Kinds = d.kinds(n) }}, "kinds")
		},
		"cel": func(n strictyaml.Node) {
			before := d.report.Count()
			text := n.Str()
			if d.report.Count() > before {
				return
			}
			p.CEL, p.At = text, n.Pos().String()
			if _, err := language.Compile(text); err != nil {
				n.Problem("it may name "+strings.Join(append([]string{plan.PolicyObject}, plan.PolicyTexts()...), ", "), "not a condition in CEL: %v", err)
			}
		},
		"message": func(n strictyaml.Node) {
			if p.Message = n.Str(); len(p.Message) > maxMessage {
				n.Problem("", "a message of %d bytes; at most %d", len(p.Message), maxMessage)
			}
		},
		"level":   func(n strictyaml.Node) { p.Warn = n.Enum(levelDeny, levelWarn) == levelWarn },
		"require": func(n strictyaml.Node) { p.Require, p.At = d.requirements(n), n.Pos().String() },
		"images":  func(n strictyaml.Node) { p.Images = d.repositories(n) },
		"keys":    func(n strictyaml.Node) { p.Keys, keys = d.keyFiles(n) },
		"rego":    later,
	}, "name")
	if d.report.Count() == before {
		d.oneKind(n, p)
	}
	return p, keys
}

// oneKind reports a policy that is neither a condition nor a requirement, or both.
func (d *decoder) oneKind(n strictyaml.Node, p plan.Policy) {
	switch required := len(p.Require) > 0; {
	case p.CEL == "" && !required:
		n.Problem("write the one for objects, the other for their images", "policy has neither \"cel\" nor \"require\"")
	case p.CEL != "" && required:
		n.Problem("make two policies of it", "policy has both \"cel\" and \"require\"")
	case len(p.Images) > 0 && !required:
		n.Problem("write match: { kinds: [...] } for the objects that a condition is about", "images belongs to require")
	case len(p.Keys) > 0 && !p.Verifies():
		n.Problem("require signature, provenance or sbom, or remove the keys", "policy has keys, and requires nothing that is signed")
	}
}

func (d *decoder) requirements(n strictyaml.Node) []string {
	var out []string
	n.List(func(_ int, item strictyaml.Node) {
		r := item.Enum(plan.RequirePinned, plan.RequireResolved, plan.RequireSignature, plan.RequireProvenance, plan.RequireSBOM)
		if r != "" && slices.Contains(out, r) {
			item.Problem("remove one", "%s is there already", r)
			return
		}
		out = append(out, r)
	})
	if n.IsList() && len(out) == 0 {
		n.Problem("write pinned, resolved, signature, provenance or sbom", "nothing is required")
	}
	return out
}

// repositories are patterns of names in full, as docker.io/library/postgres.
func (d *decoder) repositories(n strictyaml.Node) []string {
	var out []string
	n.List(func(_ int, item strictyaml.Node) {
		if d.over(item, len(out)+1, maxList, "images") {
			return
		}
		before := d.report.Count()
		pattern := item.Str()
		registry, _, _ := strings.Cut(pattern, "/")
		switch {
		case d.report.Count() > before:
		case len(pattern) > maxPattern || !d.matches(`[a-z0-9*][a-z0-9*._:-]*(?:/[a-z0-9*][a-z0-9*._-]*)*`, pattern):
			item.Problem("write a repository without tag and digest, as registry.example.com/shop/*", "%s names no repositories", strictyaml.Quote(pattern))
		case !strings.ContainsAny(registry, ".:*") && registry != "localhost":
			item.Problem("begin with the registry, as docker.io/library/postgres", "%s names no registry", strictyaml.Quote(pattern))
		}
		out = append(out, pattern)
	})
	if n.IsList() && len(out) == 0 {
		n.Problem("leave images away for all of them", "no repositories: no image would match")
	}
	return out
}

// keyFiles are public keys: the paths of files, or what would be in one.
func (d *decoder) keyFiles(n strictyaml.Node) (keys []plan.PublicKey, at []Pos) {
	n.List(func(_ int, item strictyaml.Node) {
		if d.over(item, len(keys)+1, maxKeys, "keys") {
			return
		}
		before := d.report.Count()
		file := item.Str()
		key := plan.PublicKey{Name: file}
		switch {
		case d.report.Count() > before || d.secretLiteral(item, "", file):
		case strings.HasPrefix(file, "-----BEGIN "):
			key = plan.PublicKey{PEM: file}
		case file == "" || len(file) > maxPath || strings.Contains(file, "\n"):
			item.Problem("write the path of a public key, as cosign.pub, or the key itself", "%s is no path", strictyaml.Quote(file))
		}
		if len(file) > maxKey {
			item.Problem("write the path of its file", "a key of %d bytes; at most %d", len(file), maxKey)
		}
		keys, at = append(keys, key), append(at, item.Pos())
	})
	return keys, at
}

func (d *decoder) kinds(n strictyaml.Node) []string {
	var out []string
	n.List(func(_ int, item strictyaml.Node) {
		if d.over(item, len(out)+1, maxKinds, "kinds") {
			return
		}
		before := d.report.Count()
		kind := item.Str()
		if d.report.Count() == before && !d.matches(`[A-Z][A-Za-z0-9]{0,62}`, kind) {
			item.Problem("write it as in the objects, as Deployment", "%s is not a kind", strictyaml.Quote(kind))
		}
		out = append(out, kind)
	})
	if n.IsList() && len(out) == 0 {
		n.Problem("leave match away for all kinds", "no kinds: no object would match")
	}
	return out
}
