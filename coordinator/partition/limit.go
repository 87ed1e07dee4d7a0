package partition

import "github.com/slipway-build/slipway/coordinator/plan"

// bound notes that a run must end by a time, if it must.
func (o *owner) bound(id string) {
	if r, ok := o.st.Run(id); ok {
		if _, due := r.Due(); due {
			o.overdue[id] = r
		}
	}
}

// supersede ends the older runs of the line that a new run is of, as its plan says.
func (o *owner) supersede(p *plan.Plan, by string) {
	if p.Supersede == "" || p.Line == "" {
		return
	}
	for _, id := range append([]string(nil), o.st.Project(p.Project).Line(p.Line)...) {
		if r, ok := o.st.Run(id); ok && id != by {
			o.touch(id, "")
			o.halt(r, r.Supersede(by, p.Supersede == plan.SupersedeRunning))
		}
	}
}
