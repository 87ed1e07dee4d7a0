package partition

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// effect runs f outside the goroutine of the partition, and ends the task with it.
func (o *owner) effect(r *run.Run, t *run.Task, f func(context.Context) (res plan.Result, message string, err error)) {
	id, task := r.ID, t.Spec.ID
	o.after = append(o.after, func() {
		o.side.Go(func() {
			res, message, err := f(o.ctx)
			failpoint.Hit(failpoint.EffectDone)
			if o.ctx.Err() != nil {
				return
			}
			end := func(tx *Tx) error { return tx.endEffect(id, task, res, message, err) }
			if err := o.submit(o.ctx, end, func(error) {}); err != nil && !errors.Is(err, context.Canceled) {
				o.cfg.Log.ErrorContext(o.ctx, "end of a task was not taken", "run", id, "task", task, "err", err)
			}
		})
	})
}

func (tx *Tx) endEffect(id, task string, res plan.Result, message string, err error) error {
	r, ok := tx.o.st.Run(id)
	if !ok {
		return ErrNotFound
	}
	t, ok := r.Find(task)
	if !ok || t.State.Ended() {
		return nil
	}
	if err != nil {
		tx.o.emit(r.Complete(t, run.TaskErrored, err.Error(), run.ClassInfra, plan.Result{})...)
		return nil
	}
	if res.Findings != nil && res.Findings.Blocking > 0 {
		tx.o.emit(r.Complete(t, run.TaskFailed, message, run.ClassUser, res)...)
		return nil
	}
	tx.o.emit(r.Complete(t, run.TaskSucceeded, message, run.ClassNone, res)...)
	return nil
}

// signable is what a build left that may be signed: only what lies where the plan has it pushed, whatever a worker says.
func signable(r *run.Run, t *run.Task) (plan.Result, error) {
	b, ok := r.Find(plan.BuildID(t.Spec.Service))
	if !ok || b.Spec.Build == nil {
		return plan.Result{}, fmt.Errorf("the plan has no build of %s that could be signed; this is a defect: please report it", t.Spec.Service)
	}
	for _, ref := range []string{b.Result.Image, b.Result.Index} {
		if ref != "" && !strings.HasPrefix(ref, b.Spec.Build.Push+"@sha256:") {
			return plan.Result{}, fmt.Errorf("%s is said to be the image of %s, which is pushed to %s: it is not signed", ref, t.Spec.Service, b.Spec.Build.Push)
		}
	}
	return b.Result, nil
}

// found is what the scans that a task judges have left. What one of them left nothing of is missing in what is judged,
// which says so.
func (o *owner) found(r *run.Run, t *run.Task) findings.Input {
	rule := plan.Findings{} // by which all that is new blocks
	if r.Plan.Findings != nil {
		rule = r.Plan.Findings.Of(t.Spec.Service)
	}
	in := findings.Input{Base: o.st.Project(r.Project).Baseline(rule.Onto, r.Ref, t.Spec.Service), Rule: rule, At: o.at}
	for _, id := range t.Spec.Needs {
		scan, ok := r.Find(id)
		if !ok || scan.Spec.Scan == nil {
			continue
		}
		left := findings.Scan{Name: cmp.Or(scan.Spec.Scan.Using, scan.Spec.Scan.Name)}
		if scan.Result.Scan != nil {
			left.Report = scan.Result.Scan.Report
		}
		in.Scans = append(in.Scans, left)
	}
	return in
}

// moved says which tag the renders of a run found to mean different images; empty: none. A release has one meaning of each in all clusters.
func moved(r *run.Run) string {
	type meaning struct{ digest, task string }
	means := map[string]meaning{}
	for _, t := range r.Tasks {
		for _, tag := range slices.Sorted(maps.Keys(t.Result.Resolved)) {
			digest := t.Result.Resolved[tag]
			if was, ok := means[tag]; ok && was.digest != digest {
				return fmt.Sprintf("the tag %s moved while the run went on: it was %s in %s, and %s in %s; run the commit anew", tag, was.digest, was.task, digest, t.Spec.ID)
			}
			means[tag] = meaning{digest, t.Spec.ID}
		}
	}
	return ""
}
