package bake

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// left are keys of a target that are only noted: whoever reads them decides.
func left() []string {
	return []string{
		"annotations", "cache-from", "cache-to", "call", "entitlements", "extra-hosts", "labels", "network", "no-cache",
		"no-cache-filter", "output", "policy", "pull", "resources", "shm-size", "ssh", "ulimits",
	}
}

// keys are all that a target may have.
func keys() []string {
	return append(left(), "args", "attest", "context", "contexts", "description", "dockerfile", "dockerfile-inline", "inherits", "matrix", "name", "platforms", "secret", "tags", "target")
}

// expand makes targets of a block: one, or as many as its matrix has.
func (d *reader) expand(b *hcl.Block) {
	label, at := b.Labels[0], d.pos(b.DefRange)
	if b.Type == "group" {
		content, diags := b.Body.Content(schema("targets", "description"))
		d.diagnose(diags)
		g := &group{at: at}
		if a := content.Attributes["targets"]; a != nil {
			g.members = d.list(a.Expr, nil)
		}
		d.groups[label] = g
		return
	}
	content, diags := b.Body.Content(schema(keys()...))
	if d.diagnose(diags); diags.HasErrors() {
		return
	}
	name, matrix := content.Attributes["name"], content.Attributes["matrix"]
	if matrix == nil {
		if name != nil {
			d.report.Add(d.pos(name.NameRange), "remove it, or add a matrix", "the name of a target is that of its block; name is for a matrix")
		}
		d.named(label, &part{name: label, at: at, attrs: content.Attributes}, b.LabelRanges[0])
		return
	}
	rows := d.combinations(matrix)
	if name == nil && len(rows) > 1 {
		d.report.Add(d.pos(matrix.NameRange), "add name, with the variables of the matrix in it", "a matrix of %d targets that all have one name", len(rows))
		return
	}
	seen := map[string]bool{}
	for _, row := range rows {
		p := &part{name: label, at: at, attrs: content.Attributes, local: row}
		where := b.LabelRanges[0]
		if name != nil {
			where = name.Expr.Range()
			text, ok := d.text(name.Expr, row)
			if !ok {
				return
			}
			p.name = text
		}
		if seen[p.name] {
			d.report.Add(d.pos(where), "use every variable of the matrix in it", "two targets of the matrix have the name %s", strictyaml.Quote(p.name))
			return
		}
		seen[p.name] = true
		d.named(label, p, where)
	}
}

// named adds a block of a target, which label means too.
func (d *reader) named(label string, p *part, at hcl.Range) {
	if !regexp.MustCompile(`^[a-zA-Z0-9_-]+$`).MatchString(p.name) {
		d.report.Add(d.pos(at), "use letters, digits, _ and -", "%s is no name of a target", strictyaml.Quote(p.name))
		return
	}
	if len(d.order) >= maxTargets {
		d.report.Add(d.pos(at), "", "more than %d targets", maxTargets)
		return
	}
	d.labels[label] = append(d.labels[label], p.name)
	d.add(p)
}

// combinations are the rows of a matrix.
func (d *reader) combinations(a *hcl.Attribute) []map[string]cty.Value {
	rows := []map[string]cty.Value{{}}
	for _, e := range d.entries(a.Expr, nil) {
		if t := e.value.Type(); e.value.IsNull() || !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
			d.report.Add(d.pos(e.at), "", "want a list of values for %s", strictyaml.Quote(e.key))
			return nil
		}
		values := e.value.AsValueSlice()
		if len(rows)*len(values) > maxTargets {
			d.report.Add(d.pos(a.NameRange), "", "a matrix of more than %d targets", maxTargets)
			return nil
		}
		var next []map[string]cty.Value
		for _, row := range rows {
			for _, v := range values {
				r := maps.Clone(row)
				r[e.key] = v
				next = append(next, r)
			}
		}
		rows = next
	}
	return rows
}

// settle answers a target with all that it inherits.
func (d *reader) settle(name string, at strictyaml.Pos) Target {
	out := Target{Name: name, Provenance: true, Args: map[string]string{}}
	out.Contexts = d.apply(&out, Value{name, at}, nil)
	if t := d.targets[name]; t != nil {
		out.At = t.parts[len(t.parts)-1].at
	}
	if out.Context == "" {
		out.Context = "."
	}
	if out.Dockerfile == "" {
		out.Dockerfile = "Dockerfile"
	}
	return out
}

// apply puts what a target inherits, and then what it says itself, on top of what is there. It answers the contexts:
// an empty one takes away what the target inherits, and not what others do.
func (d *reader) apply(out *Target, name Value, chain []string) map[string]Value {
	t := d.targets[name.Text]
	d.steps++
	switch {
	case t == nil:
		d.report.Add(name.At, d.expected(name.Text), "there is no target %s", strictyaml.Quote(name.Text))
		return nil
	case slices.Contains(chain, name.Text):
		d.report.Add(name.At, "", "the target %s inherits from itself", strictyaml.Quote(name.Text))
		return nil
	case d.steps > 100*maxTargets:
		d.report.Add(name.At, "", "targets inherit from each other more than %d times", 100*maxTargets)
		return nil
	}
	contexts := map[string]Value{}
	chain = append(slices.Clone(chain), name.Text)
	for _, p := range t.parts {
		if a := p.attrs["inherits"]; a != nil {
			for _, parent := range d.list(a.Expr, p.local) {
				maps.Copy(contexts, d.apply(out, parent, chain))
			}
		}
	}
	for _, p := range t.parts {
		if p.base != nil {
			out.Context, out.Dockerfile, out.Stage = p.base.Context, p.base.Dockerfile, p.base.Stage
			maps.Copy(out.Args, p.base.Args)
			continue
		}
		d.put(out, p)
		if a := p.attrs["contexts"]; a != nil {
			for _, e := range d.entries(a.Expr, p.local) {
				if text, ok := d.asText(e.value, e.at); ok {
					contexts[e.key] = Value{text, d.pos(e.at)}
				}
			}
		}
	}
	maps.DeleteFunc(contexts, func(_ string, v Value) bool { return v.Text == "" })
	return contexts
}

// expected says which names there are.
func (d *reader) expected(wrong string) string {
	names := slices.Clone(d.order)
	if s := strictyaml.Suggest(wrong, names); s != "" {
		return s
	}
	if len(names) > 10 {
		names = append(names[:10], "…")
	}
	return "there are: " + strings.Join(names, ", ")
}

// put sets what a block says.
func (d *reader) put(out *Target, p *part) {
	for key, to := range map[string]*string{"context": &out.Context, "dockerfile": &out.Dockerfile, "target": &out.Stage} {
		if a := p.attrs[key]; a != nil {
			if text, ok := d.text(a.Expr, p.local); ok {
				*to = text
			}
		}
	}
	each := func(key string, list func(hcl.Expression, map[string]cty.Value) []element, do func(e element)) {
		if a := p.attrs[key]; a != nil {
			for _, e := range list(a.Expr, p.local) {
				do(e)
			}
		}
	}
	each("args", d.entries, func(e element) {
		if text, ok := d.asText(e.value, e.at); ok {
			out.Args[e.key] = text
		}
	})
	each("secret", d.elements, func(e element) { d.secret(out, e) })
	each("attest", d.elements, func(e element) { d.attest(out, e) })
	if a := p.attrs["platforms"]; a != nil {
		out.Platforms = d.list(a.Expr, p.local)
	}
	if a := p.attrs["tags"]; a != nil {
		out.Tags = d.quietly(func() []Value { return d.list(a.Expr, p.local) })
		out.leave("tags", d.pos(a.NameRange))
	}
	if a := p.attrs["dockerfile-inline"]; a != nil {
		d.report.Add(d.pos(a.NameRange), "write it into a file, and name that with dockerfile", "a Dockerfile inside of a bake file is not built: %s has one", p.name)
	}
	for _, key := range left() {
		if a := p.attrs[key]; a != nil {
			out.leave(key, d.pos(a.NameRange))
		}
	}
}

// leave notes that a key is set, where it was written last.
func (t *Target) leave(key string, at strictyaml.Pos) {
	t.Left = slices.DeleteFunc(t.Left, func(v Value) bool { return v.Text == key })
	t.Left = append(t.Left, Value{key, at})
}

// quietly evaluates what may be left out if it cannot be: a tag with the time in it.
func (d *reader) quietly(read func() []Value) []string {
	report := d.report
	d.report = strictyaml.NewReporter(maxProblems)
	var out []string
	for _, v := range read() {
		out = append(out, v.Text)
	}
	d.report = report
	return out
}

func (d *reader) secret(out *Target, e element) {
	fields := d.fields(e)
	if fields == nil {
		return
	}
	id := fields["id"]
	if id == "" {
		d.report.Add(d.pos(e.at), "write id=NAME", "a secret without an id")
		return
	}
	secret := Secret{ID: id, Env: fields["env"], File: cmp.Or(fields["src"], fields["source"]), At: d.pos(e.at)}
	if fields["type"] == "env" && secret.Env == "" {
		secret.Env, secret.File = secret.File, ""
	}
	out.Secrets = slices.DeleteFunc(out.Secrets, func(s Secret) bool { return s.ID == id })
	out.Secrets = append(out.Secrets, secret)
}

func (d *reader) attest(out *Target, e element) {
	fields := d.fields(e)
	if fields == nil {
		return
	}
	on := fields["disabled"] == "" || fields["disabled"] == "false"
	switch fields["type"] {
	case "sbom":
		out.SBOM = on
	case "provenance":
		out.Provenance = on
	}
}

// fields of "key=value,key=value", or of a mapping.
func (d *reader) fields(e element) map[string]string {
	out := map[string]string{}
	if t := e.value.Type(); t.IsObjectType() || t.IsMapType() {
		for it := e.value.ElementIterator(); it.Next(); {
			k, v := it.Element()
			if text, ok := d.asText(v, e.at); ok {
				out[k.AsString()] = text
			}
		}
		return out
	}
	text, ok := d.asText(e.value, e.at)
	if !ok {
		return nil
	}
	for field := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(field, "=")
		if !ok {
			d.report.Add(d.pos(e.at), "", "want key=value, got %s", strictyaml.Quote(fmt.Sprintf("%.40s", field)))
			return nil
		}
		out[strings.ToLower(k)] = v
	}
	return out
}
