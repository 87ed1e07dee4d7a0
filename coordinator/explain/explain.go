// Package explain says of each task of a run why it does not run: the one reason that
// would have to go away for it to go on. It is pure: what partition and dispatch know in,
// reasons out.
package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/calendar"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Reason why a task does not run; the protocol's WaitReason.
type Reason int

// The reasons.
const (
	None        Reason = iota + 1 // it runs, or a worker has taken it
	Ended                         // it has ended
	Dependency                    // tasks that it needs have not succeeded yet
	Environment                   // another run rolls out to its environment
	BackOff                       // its next attempt has a time
	NoWorker                      // nobody that is connected can carry it out
	Queue                         // all slots are taken
	Offered                       // a worker with a free slot is about to take it
	Coordinator                   // the coordinator carries it out itself
	Takeover                      // the coordinator was replaced, and a worker may still have it
	TeamQuota                     // as many tasks of its team run as may
	Shared                        // another run does the same work
	Group                         // as many tasks of its group run, or are about to, as may
	Held                          // its environment is held or paused
	Approval                      // people have not approved yet
	Window                        // outside the windows of its environment
	Soak                          // a time that the platform wants between two parts of a rollout is not over
)

// Wait is the answer for one task.
type Wait struct {
	Task      string
	Reason    Reason
	Message   string        // for people
	On        []string      // tasks of the run, or the run that is in the way
	NotBefore time.Time     // zero: unknown
	Position  int           // among the tasks that wait for the same workers, from 1; 0: in no queue
	Slots     int           // of those workers
	ReadyAt   time.Time     // zero: its needs are not done
	Estimate  time.Duration // how long it still waits; 0: unknown
}

// Lane is what waits for the workers of one capability.
type Lane struct {
	Slots    int // of the workers that are connected
	Taken    int // of those
	Others   int // tasks that wait for them at other coordinators, and take turns with these
	Position map[int]int
	Full     map[string]Quota // teams of which no more tasks may run
	// HeldBack says of workers that are connected and take no task why they do not. Slots has
	// none of theirs.
	HeldBack []string
}

// Quota is how many tasks of a team run, of how many may, and how many may of what the
// coordinator has to do with.
type Quota struct{ Running, Limit, May int }

// Facts are what the engine knows of a run.
type Facts struct {
	Run *run.Run // with its tasks
	At  time.Time
	// Quiet is until when a new owner gives nothing away that may be somebody's: what was
	// ready when it claimed the partition.
	Quiet, Claimed time.Time
	// Orphans are tasks whose worker has not spoken to the new owner: until when it may, by index.
	Orphans map[int]time.Time
	// InTheWay is the run that holds an environment, by environment.
	InTheWay map[string]string
	// Held are the environments that are held, by name.
	Held map[string]*project.Hold
	// Took is how long tasks of a kind ran lately in this project, in the mean.
	Took map[plan.Kind]time.Duration
	// Groups are those that tasks wait for, by index of the task.
	Groups map[int]InGroup
	// Shared are the runs that do the same work as tasks that wait for it, by index.
	Shared map[int]string
	// Kept are the runs that wait for what a task of this one makes, by index.
	Kept map[int][]string
	// Lanes by capability. Position in them by the index of a task of this run.
	Lanes map[string]Lane
}

// say who held an environment, and why.
func say(h *project.Hold, env string) string {
	text := env + " is held"
	if h.Pause {
		text = env + " is paused"
	}
	switch {
	case h.By != "":
		text += " by " + h.By
	case h.Run != "":
		text += " since the rollout of run " + h.Run + " failed"
	}
	text += " (" + h.At.UTC().Format("2006-01-02 15:04 MST") + ")"
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text + ". slipway rollout resume " + env + " lets it go on"
}

// InGroup is what a task of a group waits behind.
type InGroup struct {
	Room     int      // how many may run at once
	In       []string // those that do, or are about to, and their runs
	Position int      // among those that wait, from 1
}

// Waits says it of every task, in the order of the run.
func Waits(f Facts) []Wait {
	out := make([]Wait, 0, len(f.Run.Tasks))
	for _, t := range f.Run.Tasks {
		w := f.wait(t)
		w.Task, w.ReadyAt = t.Spec.ID, t.ReadyAt
		if w.Estimate == 0 && w.NotBefore.After(f.At) {
			w.Estimate = w.NotBefore.Sub(f.At)
		}
		out = append(out, w)
	}
	return out
}

func (f Facts) wait(t *run.Task) Wait {
	if t.State.Ended() {
		return Wait{Reason: Ended, Message: "it has ended: " + string(t.State)}
	}
	if a := t.Current(); a != nil {
		if until, ok := f.Orphans[t.Index]; ok {
			return Wait{Reason: Takeover, NotBefore: until, Message: fmt.Sprintf("the coordinator was replaced while %s had it; if that is not heard of, it is given to another worker", a.Worker)}
		}
		w := Wait{Reason: None, Message: fmt.Sprintf("%s carries it out, attempt %d", a.Worker, a.Number)}
		if by := f.Kept[t.Index]; len(by) > 0 && f.Run.State == run.Stopping {
			w.Message += "; it goes on though the run was canceled, for others wait for the same: " + some(by)
		}
		return w
	}
	if t.State != run.TaskReady {
		return f.needs(t)
	}
	return f.ready(t)
}

// needs names what is not done before a task, and what that is doing.
func (f Facts) needs(t *run.Task) Wait {
	w := Wait{Reason: Dependency}
	var states []string
	for _, id := range t.Spec.Needs {
		n, ok := f.Run.Find(id)
		if !ok || n.State.Good() {
			continue
		}
		w.On = append(w.On, id)
		states = append(states, id+" is "+string(n.State))
	}
	w.Message = "tasks that it needs are not done: " + some(states)
	return w
}

// some of a list, for people.
func some(list []string) string {
	const shown = 3
	if more := len(list) - shown; more > 0 {
		list = append(list[:shown:shown], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

func (f Facts) ready(t *run.Task) Wait {
	if h, ok := f.held(t); ok {
		return Wait{Reason: Held, Message: say(h, t.Spec.Target.Environment)}
	}
	if t.Spec.Can == plan.CapabilityCoordinator {
		if t.Spec.Kind == plan.KindApprove {
			return f.approval(t)
		}
		if at := f.Run.Passes(t); at.After(f.At) {
			return Wait{Reason: Soak, NotBefore: at, Message: "it waits until " + at.UTC().Format("15:04:05 MST") + ", as its environment is configured"}
		}
		if next, closed := calendar.Next(t.Spec.Windows, f.At); len(closed) > 0 {
			return Wait{Reason: Window, NotBefore: next, Message: fmt.Sprintf("%s is closed (%s); it opens at %s", t.Spec.Target.Environment, strings.Join(closed, ", "), opening(next))}
		}
		if t.Spec.Kind == plan.KindRollout {
			env := t.Spec.Target.Environment
			if by := f.InTheWay[env]; by != "" && by != f.Run.ID {
				return Wait{Reason: Environment, On: []string{by}, Message: fmt.Sprintf("run %s rolls out to %s; one run at a time does. slipway get %s shows how far it is", by, env, by)}
			}
		}
		return Wait{Reason: Coordinator, Message: "the coordinator carries it out itself"}
	}
	if t.NotBefore.After(f.At) {
		return Wait{Reason: BackOff, NotBefore: t.NotBefore, Message: "its last attempt failed" + because(t) + "; the next one is not before " + t.NotBefore.UTC().Format("15:04:05 MST")}
	}
	if f.Quiet.After(f.At) && !t.ReadyAt.After(f.Claimed) {
		return Wait{Reason: Takeover, NotBefore: f.Quiet, Message: "the coordinator was replaced, and a worker may have it that has not spoken yet"}
	}
	if by, ok := f.Shared[t.Index]; ok {
		return Wait{Reason: Shared, On: []string{by}, Message: fmt.Sprintf("run %s does the same work, and its result is taken. slipway explain %s says how far it is", by, by)}
	}
	if g, ok := f.Groups[t.Index]; ok {
		w := Wait{Reason: Group, Position: g.Position, Slots: g.Room, On: g.In, Message: fmt.Sprintf("group %s has room for %d at once, and in it are: %s", t.Spec.Group, g.Room, some(g.In))}
		if n := g.Position - 1; n > 0 {
			w.Message += fmt.Sprintf("; %s before it", count(n, "task"))
		}
		return w
	}
	return f.queued(t)
}

// approval says who may approve, and how.
func (f Facts) approval(t *run.Task) Wait {
	env, ask := t.Spec.Target.Environment, t.Spec.Approve
	text := fmt.Sprintf("%s needs %s of the group %s", env, count(ask.Min-len(t.Approvals), "approval"), ask.Team)
	if n := len(t.Approvals); n > 0 {
		text = fmt.Sprintf("%s needs %d more of the group %s, and has %d", env, ask.Min-n, ask.Team, n)
	}
	if !ask.Self {
		text += ", not of who asked for the run"
	}
	return Wait{Reason: Approval, Message: fmt.Sprintf("%s, until %s: slipway rollout approve %s %s", text, t.Asks().UTC().Format("2006-01-02 15:04 MST"), f.Run.ID, env)}
}

func opening(at time.Time) string {
	if at.IsZero() {
		return "no time within two years"
	}
	return at.UTC().Format("Mon 2006-01-02 15:04 MST")
}

// held says that somebody keeps a task from beginning.
func (f Facts) held(t *run.Task) (*project.Hold, bool) {
	switch t.Spec.Kind {
	case plan.KindRollout, plan.KindApply, plan.KindShift, plan.KindStep, plan.KindWave, plan.KindCatchUp:
		h := f.Held[t.Spec.Target.Environment]
		return h, h != nil && (h.Pause || t.Spec.Kind == plan.KindRollout)
	default:
		return nil, false
	}
}

// because says why the last attempt failed, in one line.
func because(t *run.Task) string {
	n := len(t.Attempts)
	if n == 0 || t.Attempts[n-1].Message == "" {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(t.Attempts[n-1].Message), "\n")
	return " (" + line + ")"
}

func (f Facts) queued(t *run.Task) Wait {
	l := f.Lanes[t.Spec.Can]
	w := Wait{Position: l.Position[t.Index], Slots: l.Slots}
	free := max(0, l.Slots-l.Taken)
	quota, full := l.Full[t.Spec.Team]
	switch {
	case l.Slots == 0 && len(l.HeldBack) > 0:
		w.Reason = NoWorker
		w.Message = fmt.Sprintf("every worker that is connected and can carry out %q is held back: %s", t.Spec.Can, some(l.HeldBack))
	case l.Slots == 0:
		w.Reason = NoWorker
		w.Message = fmt.Sprintf("no worker that is connected can carry out %q: start one with slots for it, or see why the ones there are cannot connect", t.Spec.Can)
	case full && f.Run.Plan.ClassOf(t.Spec) != plan.ClassUrgent:
		w.Reason = TeamQuota
		w.Message = fmt.Sprintf("quota of %s: %d of %s run", t.Spec.Team, quota.Running, count(quota.Limit, "task"))
		if quota.Running < quota.Limit {
			w.Message += fmt.Sprintf("; of those that may run, %d are this coordinator's to give now, and it asks the others for more", quota.May)
		}
	case free > 0 && w.Position <= free:
		w.Reason = Offered
		w.Message = "a worker with a free slot is about to take it"
	default:
		w.Reason = Queue
		w.Message = fmt.Sprintf("all %s for %q are taken", count(l.Slots, "slot"), t.Spec.Can)
		if n := w.Position - 1; n > 0 {
			w.Message += fmt.Sprintf(", and %s before it", count(n, "task"))
		}
		if l.Others > 0 {
			w.Message += fmt.Sprintf("; other coordinators have %s more that take turns with them", count(l.Others, "task"))
		}
		if len(l.HeldBack) > 0 {
			w.Message += "; held back: " + some(l.HeldBack)
		}
		if class := f.Run.Plan.ClassOf(t.Spec); class != plan.ClassNormal {
			w.Message += "; it is of the class " + class
		}
		// Slots become free one after the other, each once in the time of a task.
		w.Estimate = f.Took[t.Spec.Kind] * time.Duration(max(1, w.Position-free)) / time.Duration(l.Slots)
	}
	return w
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// Means are the mean times of the successful attempts of runs, by kind of task.
func Means(runs []*run.Run) map[plan.Kind]time.Duration {
	all := map[plan.Kind][]time.Duration{}
	for _, r := range runs {
		for _, t := range r.Tasks {
			i := slices.IndexFunc(t.Attempts, func(a run.Attempt) bool { return a.Outcome == run.OutcomeSucceeded })
			if i >= 0 {
				all[t.Spec.Kind] = append(all[t.Spec.Kind], t.Attempts[i].FinishedAt.Sub(t.Attempts[i].LeasedAt))
			}
		}
	}
	out := map[plan.Kind]time.Duration{}
	for kind, took := range all {
		var sum time.Duration
		for _, d := range took {
			sum += d
		}
		out[kind] = sum / time.Duration(len(took))
	}
	return out
}
