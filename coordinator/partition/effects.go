package partition

import (
	"cmp"
	"context"
	"errors"

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

// found is what the scans that a task judges have left. What one of them left nothing of is missing in what is judged,
// which says so.
func (o *owner) found(r *run.Run, t *run.Task) findings.Input {
	in := findings.Input{Base: o.st.Project(r.Project).Baseline(t.Spec.Findings.Onto, r.Ref, t.Spec.Service), Rule: *t.Spec.Findings, At: o.at}
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
