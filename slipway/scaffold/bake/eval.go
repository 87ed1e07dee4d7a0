package bake

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// variable is one of a file: a block, or an attribute at its top.
type variable struct {
	value    hcl.Expression // nil: none
	kind     hcl.Expression // nil: not said
	settable bool           // by the environment
	at       strictyaml.Pos
	open     bool // it is being evaluated
	known    *cty.Value
}

func (d *reader) variable(name string, b *hcl.Block) {
	content, _, diags := b.Body.PartialContent(schema("default", "type", "description"))
	d.diagnose(diags)
	v := &variable{settable: true, at: d.pos(b.DefRange)}
	if a := content.Attributes["default"]; a != nil {
		v.value = a.Expr
	}
	if a := content.Attributes["type"]; a != nil {
		v.kind = a.Expr
	}
	d.variables[name] = v
}

// value evaluates an expression; false: it said why not. local are values of a matrix.
func (d *reader) value(expr hcl.Expression, local map[string]cty.Value) (cty.Value, bool) {
	before := d.report.Count()
	vars := map[string]cty.Value{}
	referred := map[string]map[string]cty.Value{} // target → key → value
	for _, tr := range expr.Variables() {
		name := tr.RootName()
		if v, ok := local[name]; ok {
			vars[name] = v
			continue
		}
		if name == "target" && len(tr) > 2 {
			d.refer(tr, referred)
			continue
		}
		if v, ok := d.variables[name]; ok {
			value, ok := d.resolve(name, v, tr)
			if !ok {
				return cty.NilVal, false
			}
			vars[name] = value
		}
	}
	if len(referred) > 0 {
		targets := map[string]cty.Value{}
		for name, keys := range referred {
			targets[name] = cty.ObjectVal(keys)
		}
		vars["target"] = cty.ObjectVal(targets)
	}
	if d.report.Count() > before {
		return cty.NilVal, false
	}
	v, diags := expr.Value(&hcl.EvalContext{Variables: vars, Functions: functions()})
	d.diagnose(diags)
	return v, !diags.HasErrors() && d.report.Count() == before && v.IsWhollyKnown()
}

// refer finds what target.NAME.KEY means: what the last block of that target says itself, as with bake.
func (d *reader) refer(tr hcl.Traversal, into map[string]map[string]cty.Value) {
	name, key := step(tr[1]), step(tr[2])
	t := d.targets[name]
	if t == nil {
		d.report.Add(d.pos(tr.SourceRange()), d.expected(name), "there is no target %s", strictyaml.Quote(name))
		return
	}
	if into[name] == nil {
		into[name] = map[string]cty.Value{}
	}
	p := t.parts[len(t.parts)-1]
	a := p.attrs[key]
	switch {
	case !slices.Contains(keys(), key):
		return // which the library says
	case a == nil:
		into[name][key] = cty.NullVal(cty.DynamicPseudoType)
		return
	case slices.Contains(d.open, a):
		d.report.Add(d.pos(tr.SourceRange()), "", "target.%s.%s refers to itself", name, key)
		return
	}
	d.open = append(d.open, a)
	if v, ok := d.value(a.Expr, p.local); ok {
		into[name][key] = v
	}
	d.open = d.open[:len(d.open)-1]
}

func step(t hcl.Traverser) string {
	switch t := t.(type) {
	case hcl.TraverseAttr:
		return t.Name
	case hcl.TraverseIndex:
		if t.Key.Type() == cty.String && t.Key.IsKnown() && !t.Key.IsNull() {
			return t.Key.AsString()
		}
	}
	return ""
}

// resolve evaluates a variable.
func (d *reader) resolve(name string, v *variable, used hcl.Traversal) (cty.Value, bool) {
	if v.known != nil {
		return *v.known, v.known.IsWhollyKnown()
	}
	if v.open {
		d.report.Add(d.pos(used.SourceRange()), "", "the variable %s refers to itself", strictyaml.Quote(name))
		return cty.NilVal, false
	}
	v.open = true
	value, ok := d.settled(name, v)
	if !ok {
		value = cty.DynamicVal // it was said why
	}
	v.known, v.open = &value, false
	return value, ok
}

// settled is the value of the environment, or the one that is written.
func (d *reader) settled(name string, v *variable) (cty.Value, bool) {
	kind, value := cty.DynamicPseudoType, cty.StringVal("")
	if v.kind != nil {
		t, diags := typeexpr.TypeConstraint(v.kind)
		if d.diagnose(diags); diags.HasErrors() {
			return cty.NilVal, false
		}
		kind, value = t, cty.NullVal(t)
	}
	if v.value != nil {
		got, ok := d.value(v.value, nil)
		if !ok {
			return cty.NilVal, false
		}
		var err error
		if value, err = convert.Convert(got, kind); err != nil {
			d.report.Add(d.pos(v.value.Range()), "", "the default of %s is no %s: %v", strictyaml.Quote(name), kind.FriendlyName(), err)
			return cty.NilVal, false
		}
	}
	text, set := d.fromEnvironment(name, v)
	if !set {
		return value, true
	}
	if v.kind == nil {
		kind = value.Type()
	}
	if kind == cty.DynamicPseudoType || v.kind == nil && v.value == nil {
		kind = cty.String
	}
	out, err := convert.Convert(cty.StringVal(text), kind)
	if n, isBool := strconv.ParseBool(text); kind == cty.Bool && isBool == nil {
		out, err = cty.BoolVal(n), nil
	}
	if err != nil {
		d.report.Add(v.at, "unset it, or "+printHint, "the environment has %s=%s, and a %s is wanted", name, strictyaml.Quote(text), kind.FriendlyName())
		return cty.NilVal, false
	}
	return out, true
}

// fromEnvironment answers what the environment has for a variable, unless it looks like a
// secret: what is read here is written into a file.
func (d *reader) fromEnvironment(name string, v *variable) (string, bool) {
	if !v.settable || d.env == nil {
		return "", false
	}
	text, set := d.env(name)
	if set && regexp.MustCompile(`(?i)passw|token|secret|key|credential`).MatchString(name) {
		d.kept = append(d.kept, name)
		return "", false
	}
	if set {
		d.fromEnv = append(d.fromEnv, name)
	}
	return text, set
}

// text evaluates what is to be a text; false when it is none, or null.
func (d *reader) text(expr hcl.Expression, local map[string]cty.Value) (string, bool) {
	v, ok := d.value(expr, local)
	if !ok {
		return "", false
	}
	return d.asText(v, expr.Range())
}

func (d *reader) asText(v cty.Value, at hcl.Range) (string, bool) {
	if v.IsNull() {
		return "", false
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() {
		d.report.Add(d.pos(at), "", "want a text, got %s", v.Type().FriendlyName())
		return "", false
	}
	return s.AsString(), true
}

// list evaluates a list of texts.
func (d *reader) list(expr hcl.Expression, local map[string]cty.Value) []Value {
	var out []Value
	for _, e := range d.elements(expr, local) {
		if text, ok := d.asText(e.value, e.at); ok {
			out = append(out, Value{text, d.pos(e.at)})
		}
	}
	return out
}

// element is one of a list or a mapping.
type element struct {
	key   string
	value cty.Value
	at    hcl.Range
}

// elements are those of a list, with the place where each is written, if it is one that is written out.
func (d *reader) elements(expr hcl.Expression, local map[string]cty.Value) []element {
	v, ok := d.value(expr, local)
	if !ok || v.IsNull() {
		return nil
	}
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		d.report.Add(d.pos(expr.Range()), "", "want a list, got %s", t.FriendlyName())
		return nil
	}
	exprs, _ := hcl.ExprList(expr)
	var out []element
	values := v.AsValueSlice()
	for i, v := range values {
		at := expr.Range()
		if len(exprs) == len(values) {
			at = exprs[i].Range()
		}
		out = append(out, element{value: v, at: at})
	}
	return out
}

// entries are those of a mapping, by key.
func (d *reader) entries(expr hcl.Expression, local map[string]cty.Value) []element {
	v, ok := d.value(expr, local)
	if !ok || v.IsNull() {
		return nil
	}
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		d.report.Add(d.pos(expr.Range()), "write { NAME = value }", "want a mapping, got %s", t.FriendlyName())
		return nil
	}
	places := map[string]hcl.Range{}
	pairs, _ := hcl.ExprMap(expr)
	for _, p := range pairs {
		if k, diags := p.Key.Value(nil); !diags.HasErrors() && k.Type() == cty.String && k.IsKnown() && !k.IsNull() {
			places[k.AsString()] = p.Key.Range()
		}
	}
	var out []element
	for it := v.ElementIterator(); it.Next(); {
		k, value := it.Element()
		at, ok := places[k.AsString()]
		if !ok {
			at = expr.Range()
		}
		out = append(out, element{key: k.AsString(), value: value, at: at})
	}
	return out
}
