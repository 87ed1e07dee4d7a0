package judge

import (
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

// story is what the witness saw of one object: the effect of one task.
type story struct {
	begun map[witness.Fence]int // by which process
	last  witness.Fence         // that began, or made an effect
	made  []witness.Fence       // effects, in order
	first int                   // place of the first begin
	done  int                   // place of the last effect
}

// effects: I4, I5 and I6, by what the witness saw and the journal says.
func (v *Verdict) effects(f *facts, entries []witness.Entry, elsewhere bool) {
	stories := map[string]*story{}
	for i, e := range entries {
		if e.Kind == witness.Taken || e.Kind == witness.Aborted {
			v.answer(f, e)
		}
		if e.Kind != witness.Begin && e.Kind != witness.Effect {
			continue
		}
		object := e.Attempt.Object()
		s := stories[object]
		if s == nil {
			s = &story{begun: map[witness.Fence]int{}, first: i}
			stories[object] = s
		}
		v.saw(s, e, i)
	}
	for id, r := range f.state {
		for _, t := range r.Tasks {
			s := stories[id+" "+t.Spec.ID]
			if !elsewhere || t.Spec.Target == nil || t.Spec.Kind == plan.KindRender {
				v.winner(id, t, s)
			}
			if s != nil {
				v.needs(r, t, s, stories)
			}
		}
	}
}

// answer: what a worker was told of the end of an attempt is what the journal says (I1, I3).
func (v *Verdict) answer(f *facts, e witness.Entry) {
	parts := strings.Split(e.Token, "_") // partition, run, index of the task
	if len(parts) != 3 {
		v.bad("the end of an attempt was answered with the token %q", e.Token)
		return
	}
	r, ok := f.state[parts[1]]
	i, err := strconv.Atoi(parts[2])
	if !ok || err != nil || i >= len(r.Tasks) {
		v.bad("I1: the end of attempt %v of %s was answered, and no journal has the task", e.Attempt.Fence, e.Token)
		return
	}
	fence := run.Fence{Epoch: e.Attempt.Fence.Epoch, Counter: e.Attempt.Fence.Counter}
	var outcome run.Outcome
	for _, a := range r.Tasks[i].Attempts {
		if a.Fence == fence {
			outcome = a.Outcome
		}
	}
	used := outcome != "" && outcome != run.OutcomeLost
	switch {
	case e.Kind == witness.Taken && !used:
		v.bad("I1: the end of attempt %v of %s of %s was acknowledged as durable, and the journal has %q", fence, r.Tasks[i].Spec.ID, r.ID, outcome)
	case e.Kind == witness.Aborted && used:
		v.bad("I3: the end of attempt %v of %s of %s was answered ABORTED, and the journal has %q", fence, r.Tasks[i].Spec.ID, r.ID, outcome)
	case e.Kind == witness.Aborted:
		v.Aborted++
	}
}

// saw takes one entry.
func (v *Verdict) saw(s *story, e witness.Entry, place int) {
	a := e.Attempt
	if e.Kind == witness.Begin {
		if by, ok := s.begun[a.Fence]; ok && by != e.Process {
			v.bad("I5: fence %v of %s was given to two processes, %d and %d", a.Fence, a.Object(), by, e.Process)
		}
		s.begun[a.Fence] = e.Process
	}
	late := a.Fence.Less(s.last)
	switch {
	case !e.Done:
		v.Refused++
		if !late && e.Kind == witness.Effect {
			v.bad("I6: the effect of the newest attempt of %s (%v) was refused", a.Object(), a.Fence)
		}
		return
	case late:
		v.bad("I6: %s of %s with fence %v after one with %v", e.Kind, a.Object(), a.Fence, s.last)
	default:
		s.last = a.Fence
	}
	if e.Kind == witness.Effect {
		v.Effects++
		if len(s.made) > 0 {
			v.Repeated++
		}
		s.made, s.done = append(s.made, a.Fence), place
	}
}

// winner: a task that succeeded has left the effect of the attempt that succeeded, once.
func (v *Verdict) winner(id string, t *run.Task, s *story) {
	if t.State != run.TaskSucceeded || len(t.Attempts) == 0 {
		return
	}
	w := t.Attempts[len(t.Attempts)-1]
	fence := witness.Fence{Epoch: w.Fence.Epoch, Counter: w.Fence.Counter}
	if s == nil || len(s.made) == 0 {
		v.bad("I6: %s of %s succeeded (%v) and has no effect", t.Spec.ID, id, fence)
		return
	}
	for i, made := range s.made {
		switch last := i == len(s.made)-1; {
		case last && made != fence:
			v.bad("I6: the last effect of %s of %s is of %v, and %v succeeded", t.Spec.ID, id, made, fence)
		case !last && made == fence:
			v.bad("I6: %s of %s has an effect after that of the attempt that succeeded (%v)", t.Spec.ID, id, fence)
		}
	}
}

// needs: I4, where the witness sees it.
func (v *Verdict) needs(r *run.Run, t *run.Task, s *story, stories map[string]*story) {
	if t.Spec.Kind == plan.KindRollback {
		return
	}
	for _, need := range t.Spec.Needs {
		n, ok := r.Find(need)
		if !ok || n.State != run.TaskSucceeded || len(n.Attempts) == 0 {
			continue
		}
		if o := stories[r.ID+" "+need]; o == nil || o.done > s.first {
			v.bad("I4: %s of %s begins before the last effect of %s, which it needs", t.Spec.ID, r.ID, need)
		}
	}
}
