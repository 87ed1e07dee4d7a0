package pipeline

import (
	"cmp"
	"slices"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// maxSidecars is how many containers may stand beside one test.
const maxSidecars = 8

// sidecars reads the containers that tests may want beside them.
func (d *decoder) sidecars(n strictyaml.Node) []*Sidecar {
	var out []*Sidecar
	n.Entries("sidecars", func(key strictyaml.Key, v strictyaml.Node) {
		if d.over(v, len(out)+1, maxList, "sidecars") {
			return
		}
		d.checkName(key.Text, key.Pos)
		s := &Sidecar{Name: key.Text, Pos: key.Pos}
		out = append(out, s)
		v.Fields("sidecar "+strictyaml.Quote(key.Text), strictyaml.Fields{
			"image": func(n strictyaml.Node) { s.Image = d.image(n) },
			"run":   func(n strictyaml.Node) { s.Run = d.command(n) },
			"env":   func(n strictyaml.Node) { s.Env = d.env(n, "environment variables", nil, &s.Secrets) },
			"ready": func(n strictyaml.Node) { s.Ready = d.command(n) },
		}, "image")
	})
	slices.SortFunc(out, func(a, b *Sidecar) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// image reads the name of an image as docker pull takes it.
func (d *decoder) image(n strictyaml.Node) string {
	s := n.Str()
	if d.notEmpty(n, s); s == "" || d.secretLiteral(n, "", s) {
		return s
	}
	const component = `[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*`
	const name = `(?:[a-zA-Z0-9.-]+(?::[0-9]{1,5})?/)?` + component + `(?:/` + component + `)*`
	if !d.matches(name+`(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?`, s) || len(s) > 400 {
		n.Problem("write it as for docker pull, for example redis:7", "%s is no name of an image", strictyaml.Quote(s))
	}
	return s
}

func (d *decoder) sidecarRefs(n strictyaml.Node) []SidecarRef {
	var out []SidecarRef
	n.List(func(i int, item strictyaml.Node) {
		if d.over(item, i+1, maxSidecars, "sidecars of one test") {
			return
		}
		name := item.Str()
		if name == "" {
			return
		}
		if slices.ContainsFunc(out, func(r SidecarRef) bool { return r.Name == name }) {
			item.Problem("remove one of them", "sidecar %s is there twice", strictyaml.Quote(name))
			return
		}
		out = append(out, SidecarRef{Name: name, Pos: item.Pos()})
	})
	return out
}

// checkSidecars looks for those that tests name.
func (d *decoder) checkSidecars(p *Pipeline) {
	known := make([]string, len(p.Sidecars))
	for i, s := range p.Sidecars {
		known[i] = s.Name
	}
	for _, s := range p.Services {
		for _, t := range s.Tests {
			for _, ref := range t.Sidecars {
				if _, ok := p.Sidecar(ref.Name); !ok {
					suggestion := strictyaml.Suggest(ref.Name, known)
					if suggestion == "" {
						suggestion = "define it below sidecars: in " + File
					}
					d.report.Add(ref.Pos, suggestion, "there is no sidecar %s", strictyaml.Quote(ref.Name))
				}
			}
		}
	}
}
