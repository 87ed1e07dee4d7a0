package render

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/condition"
	"github.com/slipway-build/slipway/worker/runner"
)

// Limits of the policies of one render task.
const (
	policyTime  = 20 * time.Second // for all objects together
	maxRefusals = 50               // that are listed
)

// answerTo holds objects and their images against the policies. What one refuses is refused whatever a registry did not tell.
func answerTo(ctx context.Context, objects []object, service string, work runner.Render, registries Registries) (held, error) {
	out, unmet := require(ctx, objects, work, registries)
	more, err := judge(ctx, objects, service, work)
	if out.warnings = append(out.warnings, more...); err != nil && errors.Is(unmet, ErrRegistry) {
		return out, err
	}
	return out, errors.Join(unmet, err)
}

// judge holds every object against the policies. The error has a line for each that is refused: its file, its name, the field, the rule
// and where that is said.
func judge(ctx context.Context, objects []object, service string, work runner.Render) (warnings []string, err error) {
	if len(work.Policies) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, policyTime)
	defer cancel()
	language, err := condition.New([]string{"object"}, []string{"cluster", "environment", "service"})
	if err != nil {
		return nil, err
	}
	var refused []error
	for _, p := range work.Policies {
		if len(p.Require) > 0 {
			continue
		}
		rule, err := language.Compile(p.CEL)
		if err != nil {
			return nil, fmt.Errorf("policy %s (%s): not a condition in CEL: %w", p.Name, p.At, err)
		}
		for _, o := range objects {
			if len(p.Kinds) > 0 && !slices.Contains(p.Kinds, o.kind()) {
				continue
			}
			said := hold(ctx, rule, o, map[string]any{
				"object": o.fields, "cluster": work.Cluster, "environment": work.Environment, "service": service,
			}, p)
			switch {
			case said == "":
			case p.Warn:
				warnings = append(warnings, said)
			default:
				refused = append(refused, errors.New(said))
			}
		}
	}
	if more := len(refused) - maxRefusals; more > 0 {
		refused = append(refused[:maxRefusals], fmt.Errorf("and %d more", more))
	}
	return warnings, errors.Join(refused...)
}

// hold says what is wrong with an object; empty: nothing.
func hold(ctx context.Context, rule *condition.Condition, o object, values map[string]any, p runner.Policy) string {
	ok, err := rule.Holds(ctx, values)
	if ok {
		return ""
	}
	what := p.Message
	if what == "" {
		what = "it does not hold that " + p.CEL
	}
	if err != nil {
		what += fmt.Sprintf(" [the policy cannot tell: %v]", err)
	}
	return verdict(o, rule.Field(ctx, "object", values), what, p)
}

// verdict is what a policy says of an object: its file, its name, the field if there is one, what is wrong, the rule and where that is said.
func verdict(o object, field, what string, p runner.Policy) string {
	parts := []string{o.at, o.kind() + " " + o.fullName()}
	if field != "" {
		parts = append(parts, field)
	}
	return strings.Join(append(parts, what), ": ") + fmt.Sprintf(" (policy %s, %s)", p.Name, p.At)
}

// fullName is "namespace/name", or the name of what has no namespace.
func (o object) fullName() string {
	if ns, _ := o.meta()["namespace"].(string); ns != "" {
		return ns + "/" + o.name()
	}
	return o.name()
}
