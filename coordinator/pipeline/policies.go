package pipeline

import (
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
)

// Levels of a policy.
const (
	levelDeny = "deny"
	levelWarn = "warn"
)

func (d *decoder) policies(n strictyaml.Node) []plan.Policy {
	language, err := condition.New([]string{plan.PolicyObject}, plan.PolicyTexts())
	if err != nil {
		n.Problem("", "%v", err)
		return nil
	}
	var out []plan.Policy
	seen := map[string]bool{}
	n.List(func(_ int, item strictyaml.Node) {
		if d.over(item, len(out)+1, maxPolicies, "policies") {
			return
		}
		p := d.policy(item, language)
		if p.Name != "" && seen[p.Name] {
			item.Problem("give each a name of its own", "policy %s is there already", strictyaml.Quote(p.Name))
		}
		seen[p.Name] = true
		out = append(out, p)
	})
	return out
}

func (d *decoder) policy(n strictyaml.Node, language *condition.Language) plan.Policy {
	p := plan.Policy{At: n.Pos().String()}
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
		"level": func(n strictyaml.Node) { p.Warn = n.Enum(levelDeny, levelWarn) == levelWarn },
		"rego":  later,
	}, "name", "cel")
	return p
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
