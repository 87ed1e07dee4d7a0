package partition

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/placement"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/planted"
)

// emit applies an event and adds it to the batch.
func (o *owner) emit(events ...run.Event) {
	for _, e := range events {
		if o.broken != nil {
			return
		}
		if err := o.st.Apply(e, o.at); err != nil {
			o.broken = fmt.Errorf("event does not fit the state: %w; this is a defect: please report it", err)
			return
		}
		if _, again := e.(run.TaskRetried); !again || !planted.RetryNotJournalled.On() {
			o.events = append(o.events, e)
		}
		o.size += weight(e)
		id := e.RunID()
		o.dirty[id] = true
		task := ""
		switch e := e.(type) {
		case run.AttemptStarted:
			o.touch(id, e.Task)
			continue
		case run.LogsArchived: // nobody is shown it: the run is as it was
			continue
		case run.AttemptFinished:
			task = e.Task
		case run.TaskFinished:
			task = e.Task
			o.finished(id, task)
		case run.TaskRetried:
			task = e.Task
		case run.RolloutLeft:
			o.left = append(o.left, e)
		case run.Accepted:
			o.bound(id)
		case run.Finished:
			delete(o.overdue, id)
		default:
		}
		o.moved[id] = true
		o.touch(id, task)
	}
}

// settle says what follows, until nothing does.
func (o *owner) settle() {
	for again := true; again && o.broken == nil; {
		dirty := o.dirty
		o.dirty = map[string]bool{}
		for _, r := range o.oldestFirst(dirty) {
			o.settleRun(r)
		}
		left := o.left
		o.left = nil
		for _, l := range left {
			if planted.NobodyUnblocked.On() {
				break
			}
			o.keepOut(l)
			o.unblock(l)
		}
		caught := o.caught
		o.caught = nil
		for _, w := range caught {
			o.letIn(w.r.Project, w.t.Spec.Target.Environment)
		}
		ended := o.ended
		o.ended = nil
		for _, w := range ended {
			o.emit(o.st.Project(w.r.Project).Judge(w.r, w.t, o.at)...)
			o.judged(w.r, w.t)
		}
		over := o.over
		o.over = nil
		for _, x := range over {
			o.conclude(x)
		}
		o.unkeep()
		again = len(o.dirty) > 0 || len(o.left) > 0 || len(o.over) > 0 || len(o.caught) > 0
	}
	o.regrouped()
}

// oldestFirst: of runs that may go on in the same moment, the older one is asked first.
func (o *owner) oldestFirst(ids map[string]bool) []*run.Run {
	runs := make([]*run.Run, 0, len(ids))
	for id := range ids {
		if r, ok := o.st.Run(id); ok {
			runs = append(runs, r)
		}
	}
	slices.SortFunc(runs, func(a, b *run.Run) int { return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.ID, b.ID)) })
	return runs
}

func (o *owner) settleRun(r *run.Run) {
	for events := r.Next(); len(events) > 0 && o.broken == nil; events = r.Next() {
		o.emit(events...)
	}
	for _, t := range r.TakeReady() {
		o.touch(r.ID, t.Spec.ID)
		o.ready(r, t)
	}
	for _, t := range r.TakeRevoked() {
		if l, ok := o.leases[o.token(r, t)]; ok {
			o.after = append(o.after, func() { l.revoke(r.Message) })
		}
	}
}

// token names a task on the wire, unique over runs.
func (o *owner) token(r *run.Run, t *run.Task) string {
	return strconv.Itoa(o.cfg.Number) + "_" + r.ID + "_" + strconv.Itoa(t.Index)
}

// Home is the partition that a token belongs to.
func Home(token string) (int, error) {
	head, _, ok := strings.Cut(token, "_")
	n, err := strconv.Atoi(head)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("token %q: %w", token, ErrNotFound)
	}
	return n, nil
}

func (o *owner) find(token string) (*run.Run, *run.Task, error) {
	parts := strings.Split(token, "_")
	if len(parts) == 3 {
		if r, ok := o.st.Run(parts[1]); ok {
			if i, err := strconv.Atoi(parts[2]); err == nil && i >= 0 && i < len(r.Tasks) {
				return r, r.Tasks[i], nil
			}
		}
	}
	return nil, nil, fmt.Errorf("task %q: %w", token, ErrNotFound)
}

// ready does what a task that became ready needs: nothing but its result, the
// coordinator's own work, or a worker.
func (o *owner) ready(r *run.Run, t *run.Task) {
	switch {
	case t.Spec.Reuse != nil:
		o.emit(r.Complete(t, run.TaskReused, "", run.ClassNone, t.Spec.Reuse.Result)...)
	case t.Spec.Can == plan.CapabilityCoordinator:
		o.coordinate(r, t)
	case o.stands(r, t):
		o.emit(r.Complete(t, run.TaskSucceeded, "nothing is on trial: what serves there has the same manifests", run.ClassNone, plan.Result{})...)
	case t.Spec.Kind == plan.KindRollback && o.oneWay(r, t) != "":
		o.emit(r.Complete(t, run.TaskSkipped, o.oneWay(r, t), run.ClassNone, plan.Result{})...)
	case r.State == run.Stopping && t.Spec.Kind != plan.KindRollback: // it was kept for others, and its attempt brought nothing
		o.emit(r.Complete(t, run.TaskCanceled, r.Message, run.ClassNone, plan.Result{})...)
	case t.NotBefore.After(o.at) || o.somebodys(t) || o.paused(r, t):
		o.delayed[o.token(r, t)] = &waiting{r, t}
	default:
		o.release(r, t)
	}
}

// somebodys: the owner before may have given the lease of the task away, and nobody has
// said so yet. It could not of a task that became ready since.
func (o *owner) somebodys(t *run.Task) bool {
	return !t.ReadyAt.After(o.claimed) && o.cfg.Now().Before(o.quiet)
}

func (o *owner) release(r *run.Run, t *run.Task) {
	if o.joins(r, t) || o.queues(r, t) {
		return
	}
	token := o.token(r, t)
	quota := r.Plan.Quota(t.Spec.Team)
	p := Priority{
		Team: quota.Name, Share: quota.Share, Running: quota.Running,
		Project: r.Project, Run: r.ID, Since: uint64(r.AcceptedAt.UnixNano()), Index: t.Index, Bottom: r.Bottom(t), Class: r.Plan.ClassOf(t.Spec),
		Needs: placement.Needs(r.Project, t.Spec),
	}
	o.after = append(o.after, func() { o.cfg.Dispatch.Ready(t.Spec.Can, token, p) })
}

// finished: nobody is to take a task that has ended, and those that waited for it go on.
func (o *owner) finished(id, task string) {
	r, ok := o.st.Run(id)
	if !ok {
		return
	}
	if t, ok := r.Find(task); ok {
		o.forget(r, t)
		o.parted(r, t)
		if t.Spec.Kind == plan.KindTest || t.Spec.Kind == plan.KindGather {
			o.ended = append(o.ended, &waiting{r, t})
		}
		if t.Spec.Kind == plan.KindCatchUp {
			o.caughtUp(r, t)
			o.caught = append(o.caught, &waiting{r, t})
		}
	}
}

// forget takes back what was said about a task that is taken or will not run.
func (o *owner) forget(r *run.Run, t *run.Task) {
	if t.Spec.Can != plan.CapabilityCoordinator {
		token := o.token(r, t)
		o.regroups(r, t)
		o.after = append(o.after, func() { o.cfg.Dispatch.Gone(t.Spec.Can, token) })
	}
}

// coordinate carries out a task of the coordinator's.
func (o *owner) coordinate(r *run.Run, t *run.Task) {
	switch t.Spec.Kind {
	case plan.KindCheckout:
		o.effect(r, t, func(ctx context.Context) (plan.Result, string, error) {
			return plan.Result{}, "", o.cfg.Effects.Pin(ctx, r.Repository, r.Commit, r.ID)
		})
	case plan.KindRelease:
		if said := moved(r); said != "" {
			o.emit(r.Complete(t, run.TaskFailed, said, run.ClassUser, plan.Result{})...)
			return
		}
		doc := release(r)
		o.effect(r, t, func(ctx context.Context) (plan.Result, string, error) {
			digest, err := o.cfg.Effects.PutBlob(ctx, r.ID, doc)
			return plan.Result{Release: digest}, "", err
		})
	case plan.KindApprove:
		o.asks(r, t)
	case plan.KindRollout:
		o.enter(r, t)
	case plan.KindPromote:
		o.promote(r, t)
	case plan.KindGather:
		o.emit(r.Gather(t)...)
	case plan.KindFindings:
		in := o.found(r, t)
		o.effect(r, t, func(ctx context.Context) (plan.Result, string, error) {
			sum, message, err := o.cfg.Effects.Judge(ctx, r.ID, in)
			return plan.Result{Findings: &sum}, message, err
		})
	case plan.KindSign:
		built, err := signable(r, t)
		if err != nil {
			o.emit(r.Complete(t, run.TaskErrored, err.Error(), run.ClassInfra, plan.Result{})...)
			return
		}
		o.effect(r, t, func(ctx context.Context) (plan.Result, string, error) {
			message, err := o.cfg.Effects.Sign(ctx, r.ID, t.Spec.Key, built)
			return plan.Result{Image: built.Image, Key: t.Spec.Key}, message, err
		})
	case plan.KindStep, plan.KindWave, plan.KindVerified:
		o.pass(r, t)
	case plan.KindBuild, plan.KindTest, plan.KindScan, plan.KindRender, plan.KindDiff, plan.KindApply, plan.KindShift, plan.KindAnalyze, plan.KindRollback, plan.KindCatchUp:
		o.emit(r.Complete(t, run.TaskErrored, "no program can carry out "+string(t.Spec.Kind)+" without a capability", run.ClassInfra, plan.Result{})...)
	}
}

// enter begins the rollout to an environment, or waits for the run that is there.
func (o *owner) enter(r *run.Run, t *run.Task) {
	if o.tooSoon(r, t) {
		return
	}
	env := t.Spec.Target.Environment
	switch e, by := o.st.Project(r.Project).MayEnter(r, env); e {
	case project.EnterNow:
		if o.overtake(r, env) {
			return // the end of what catches up asks again
		}
		o.emit(run.RolloutEntered{Run: r.ID, Environment: env})
		o.emit(r.Complete(t, run.TaskSucceeded, "", run.ClassNone, plan.Result{})...)
	case project.EnterSuperseded:
		o.emit(r.Complete(t, run.TaskCanceled, superseded(by, env), run.ClassNone, plan.Result{})...)
	case project.EnterWait, project.EnterHeld:
		// RolloutLeft of the run in the way asks again, or who frees the environment.
	}
}

func (o *owner) promote(r *run.Run, t *run.Task) {
	for _, need := range t.Spec.Needs {
		a, ok := r.Find(need)
		if ok && a.Spec.Kind == plan.KindApply && a.State != run.TaskUnreachable {
			o.promoted(r, a)
		}
	}
	o.emit(r.Complete(t, run.TaskSucceeded, "", run.ClassNone, plan.Result{})...)
}

// promoted says that what a task applied is stable on its target.
func (o *owner) promoted(r *run.Run, t *run.Task) {
	w := o.work(r, t)
	o.emit(run.Promoted{
		Run: r.ID, Environment: t.Spec.Target.Environment, Cluster: t.Spec.Target.Cluster, Service: t.Spec.Service,
		Manifests: w.Manifests, Release: w.Release,
	})
}

// release is the canonical document whose digest is the release's hash.
func release(r *run.Run) []byte {
	type item struct {
		Service     string `json:"service"`
		Image       string `json:"image,omitempty"`
		Environment string `json:"environment,omitempty"`
		Cluster     string `json:"cluster,omitempty"`
		Namespace   string `json:"namespace,omitempty"`
		Manifests   string `json:"manifests,omitempty"`
	}
	doc := struct {
		Version int    `json:"version"`
		Project string `json:"project"`
		Commit  string `json:"commit"`
		Items   []item `json:"items"`
	}{Version: 1, Project: r.Project, Commit: r.Commit}
	for _, t := range r.Tasks {
		switch t.Spec.Kind {
		case plan.KindBuild:
			doc.Items = append(doc.Items, item{Service: t.Spec.Service, Image: t.Result.Image})
		case plan.KindRender:
			doc.Items = append(doc.Items, item{
				Service: t.Spec.Service, Environment: t.Spec.Target.Environment, Cluster: t.Spec.Target.Cluster,
				Namespace: t.Spec.Target.Namespace, Manifests: t.Result.Manifests,
			})
		default:
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic("a release of strings cannot be encoded: " + err.Error())
	}
	return b
}

// expire ends leases whose time is over, and releases what waited for a time.
func (o *owner) expire() {
	o.complete()
	now := o.cfg.Now()
	for _, token := range slices.Sorted(maps.Keys(o.leases)) { // in one order, so that a simulation replays
		l := o.leases[token]
		if planted.InheritedNeverExpire.On() && l.ref.Fence.Epoch < o.epoch {
			continue
		}
		if now.After(l.deadline) {
			o.lost(token, l)
		}
	}
	if !o.at.Before(o.up.quarantine) {
		o.up.quarantine = o.at.Add(upkeepEvery)
		o.emit(o.st.Expired(o.at)...)
	}
	for _, r := range o.overdue {
		if events := r.Overdue(o.at); len(events) > 0 {
			o.touch(r.ID, "")
			o.halt(r, events)
		}
	}
	o.undelay()
}

// undelay releases what waited for a time that is over, or for somebody who paused it.
func (o *owner) undelay() {
	for _, token := range slices.Sorted(maps.Keys(o.delayed)) {
		w := o.delayed[token]
		switch {
		case w.t.State != run.TaskReady || planted.BackOffForgotten.On():
			delete(o.delayed, token)
		case w.t.Spec.Can == plan.CapabilityCoordinator:
			switch {
			case w.t.Spec.Kind == plan.KindApprove:
				o.asks(w.r, w.t)
			case o.early(w.r, w.t):
			case w.t.Spec.Kind == plan.KindRollout:
				delete(o.delayed, token)
				o.letIn(w.r.Project, w.t.Spec.Target.Environment) // others may have waited for the same
			default:
				delete(o.delayed, token)
				o.coordinate(w.r, w.t)
			}
		case !w.t.NotBefore.After(o.at) && !o.somebodys(w.t) && !o.paused(w.r, w.t):
			delete(o.delayed, token)
			o.release(w.r, w.t)
		}
	}
}

func (o *owner) lost(token string, l *lease) {
	o.drop(token)
	a := l.t.Current()
	if a == nil {
		return
	}
	end := *a
	end.Outcome, end.Class, end.FinishedAt = run.OutcomeLost, run.ClassInfra, o.at
	end.Message = fmt.Sprintf("worker %s was not heard of for %s", a.Worker, o.cfg.TTL)
	o.cfg.Log.WarnContext(o.ctx, "lease ran out", "run", l.r.ID, "task", l.t.Spec.ID, "attempt", a.Number, "worker", a.Worker)
	o.emit(l.r.Finish(l.t, run.Report{Attempt: end}, o.at)...)
	failpoint.Hit(failpoint.LeaseLost)
}

// inherit takes over what the owner before left: attempts that may still go on, and
// ready tasks whose lease may have been given without being journalled. Both wait one
// TTL, or for the worker to say that it still has them. An owner that left in order has given
// nothing away that was not journalled. The one before gives nothing away since this one has
// the lease of the partition, which was before it read the journal.
func (o *owner) inherit(left bool, leased time.Time) {
	if !planted.NoQuietPeriod.On() {
		o.quiet = leased.Add(o.cfg.TTL + o.cfg.TTL/10) // clocks do not run alike
	}
	o.at = o.j.Now()
	if !left {
		o.claimed = o.at
	}
	for _, r := range o.st.Runs("", 1<<30) {
		r.TakeRevoked()
		if o.cfg.Inherited != nil && (!r.State.Ended() || o.at.Sub(r.FinishedAt) < lately) {
			o.cfg.Inherited(r.Snapshot())
		}
		if r.State.Ended() {
			r.TakeReady()
			continue
		}
		for _, t := range r.Tasks {
			if a := t.Current(); a != nil {
				token := o.token(r, t)
				o.take(&lease{r: r, t: t, ref: Ref{Token: token, Attempt: a.Number, Fence: a.Fence}, worker: Worker{Name: a.Worker}, deadline: o.quiet})
				o.leads(r, t)
				if r.State == run.Stopping && !t.Revoked {
					o.keeping[r.ID] = true
				}
			}
		}
		o.bound(r.ID)
		o.touch(r.ID, "")
		o.dirty[r.ID] = true
	}
	o.settle()
}
