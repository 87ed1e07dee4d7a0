package project

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Bounds of what is done about drift.
const (
	// MaxRestores is how often within RestoresWithin the farm brings an object back by itself: who changes it again and again
	// means it, and is to be talked to.
	MaxRestores    = 5
	RestoresWithin = time.Hour
	// maxDrifted bounds the objects that are kept of an environment.
	maxDrifted = 200
	// driftSettles is how long after a change clusters are compared: changes come in groups.
	driftSettles = 2 * time.Second
	// driftPause is the least time between two comparisons, and driftLongest the most that it becomes while something differs: the
	// longer that is known, the less is to be said of it.
	driftPause   = 5 * time.Second
	driftLongest = 10 * time.Minute
)

// Drift is what somebody changed in an environment since its release, as far as it is known. The zero Drift: nobody has looked.
type Drift struct {
	At       time.Time     // what is known is newer than that: when the last comparison began
	Run      string        // that was
	Problem  string        // why that could not tell everything; empty: it could
	Objects  []Drifted     // sorted by cluster, service and object; the first 200
	Restored []Restoration // within the hour before the newest, oldest first
	Pending  string        // the run that compares or restores now; empty: none does
	Moved    time.Time     // when a rollout began or ended last
}

// Drifted is an object that is not as it was released.
type Drifted struct {
	Cluster, Service string
	Object           string    // "ConfigMap/settings"
	Action           string    // what would bring it back: created, changed, deleted, taken over
	Fields           []string  // paths, the first 30
	By               string    // who holds them; empty: nobody does
	Changed          time.Time // when they wrote last; zero: it is not known
	Since            time.Time // when it was seen first
}

// ID is the object among all of an environment.
func (d Drifted) ID() string { return d.Cluster + "/" + d.Service + "/" + d.Object }

// Same reports that nothing about it is new.
func (d Drifted) Same(o Drifted) bool {
	return d.ID() == o.ID() && d.Action == o.Action && d.By == o.By && d.Changed.Equal(o.Changed) && slices.Equal(d.Fields, o.Fields)
}

// Restoration is an object that the farm brought back by itself.
type Restoration struct {
	Object string // Drifted.ID
	At     time.Time
}

// DriftPolicy is the platform's word.
type DriftPolicy struct {
	Restore bool
	Every   time.Duration // clusters are compared at least that often
}

// DriftStep is what is to be done about drift.
type DriftStep int

// The answers of Environment.Next.
const (
	DriftWait    DriftStep = iota
	DriftCompare           // compare the clusters
	DriftRestore           // bring back all that differs
	DriftSpent             // nothing, since somebody undoes what is brought back
)

// Next decides what is to be done now. noticed is when somebody last saw a change there; zero: nobody did. Of DriftRestore and DriftSpent objects are the ones it is about.
func (e Environment) Next(p DriftPolicy, noticed, at time.Time) (step DriftStep, objects []Drifted) {
	d := e.Drift
	switch {
	case e.Holder != "" || d.Pending != "" || len(e.Serving) == 0 || e.Hold != nil && (e.Hold.Run != "" || e.Hold.Pause):
		return DriftWait, nil
	case d.due(p, noticed, at):
		return DriftCompare, nil
	case !p.Restore || e.Hold != nil || len(d.Objects) == 0 || d.lastRestore().After(d.At):
		return DriftWait, nil
	}
	if spent := d.spent(at); len(spent) > 0 {
		return DriftSpent, spent
	}
	return DriftRestore, d.Objects
}

// due: somebody saw a change, what is known may be over, or it is long ago.
func (d Drift) due(p DriftPolicy, noticed, at time.Time) bool {
	if d.At.IsZero() {
		return true
	}
	changed := noticed.After(d.At) && !at.Before(noticed.Add(driftSettles)) && !at.Before(d.At.Add(d.pause()))
	moved := d.Moved.After(d.At) && (len(d.Objects) > 0 || d.lastRestore().After(d.At)) && !at.Before(d.At.Add(driftPause))
	return changed || moved || !at.Before(d.At.Add(p.Every))
}

// pause between the last comparison and one for a change that somebody saw.
func (d Drift) pause() time.Duration {
	pause := driftPause
	for _, o := range d.Objects {
		pause = max(pause, min(d.At.Sub(o.Since)/4, driftLongest))
	}
	return pause
}

func (d Drift) lastRestore() time.Time {
	if n := len(d.Restored); n > 0 {
		return d.Restored[n-1].At
	}
	return time.Time{}
}

// spent are the objects that were brought back as often as they may be.
func (d Drift) spent(at time.Time) []Drifted {
	count := map[string]int{}
	for _, r := range d.Restored {
		if r.At.Add(RestoresWithin).After(at) {
			count[r.Object]++
		}
	}
	var out []Drifted
	for _, o := range d.Objects {
		if count[o.ID()] >= MaxRestores {
			out = append(out, o)
		}
	}
	return out
}

// begins notes a run that compares or restores.
func (d *Drift) begins(a run.Accepted, restores []string, at time.Time) {
	d.Pending = a.Run
	if len(restores) == 0 {
		return
	}
	d.Restored = slices.DeleteFunc(slices.Clone(d.Restored), func(r Restoration) bool { return !r.At.Add(RestoresWithin).After(at) })
	for _, object := range restores {
		d.Restored = append(d.Restored, Restoration{object, at})
	}
}

// ends notes what a run found that has ended. What it could not ask stays as it was known. busy: a rollout goes on.
func (d *Drift) ends(r *run.Run, busy bool, at time.Time) {
	if d.Pending == r.ID {
		d.Pending = ""
	}
	switch {
	case len(r.Plan.Drift.Restores) > 0, r.AcceptedAt.Before(d.At):
		return // it changed something, or a newer one has looked
	case busy, !d.Moved.Before(r.AcceptedAt):
		return // a rollout was there meanwhile: it may have seen half of that
	}
	known := d.Objects
	d.At, d.Run, d.Problem, d.Objects = r.AcceptedAt, r.ID, "", nil
	for _, t := range r.Tasks {
		if t.Spec.Kind != plan.KindDiff {
			continue
		}
		if t.State != run.TaskSucceeded || t.Result.Diff == nil {
			first, _, _ := strings.Cut(t.Message, "\n")
			d.Problem = cmp.Or(d.Problem, t.Spec.ID+": "+cmp.Or(first, string(t.State)))
			for _, o := range known {
				if o.Cluster == t.Spec.Target.Cluster && o.Service == t.Spec.Service {
					d.Objects = append(d.Objects, o)
				}
			}
			continue
		}
		d.Objects = append(d.Objects, differing(t, known, at)...)
	}
	slices.SortFunc(d.Objects, func(a, b Drifted) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Object, b.Object))
	})
	d.Objects = d.Objects[:min(len(d.Objects), maxDrifted)]
}

// differing are the objects that a comparison found, with since when they are known.
func differing(t *run.Task, known []Drifted, at time.Time) []Drifted {
	var out []Drifted
	for _, o := range t.Result.Diff.Objects {
		if !o.Drifted() {
			continue
		}
		found := Drifted{Cluster: t.Spec.Target.Cluster, Service: t.Spec.Service, Object: o.Object, Action: o.Action, By: o.By, Changed: o.At, Since: at}
		for _, f := range o.Fields {
			found.Fields = append(found.Fields, f.Path)
		}
		if i := slices.IndexFunc(known, func(k Drifted) bool { return k.ID() == found.ID() }); i >= 0 {
			found.Since = known[i].Since
		}
		out = append(out, found)
	}
	return out
}
