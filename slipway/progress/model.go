// Package progress is what a follower of a run sees: lines for what has happened and
// a frame for what happens now.
//
// It is pure: answers of RunService.Watch in, text out. It survives a broken stream:
// the snapshot that begins the next one says nothing twice. Drawing on a terminal,
// clocks and connections are the caller's.
package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/render"
)

// stepWorthALine is how long a step must have taken to be told where nothing is redrawn.
const stepWorthALine = time.Second

// Model is a run as far as it is known.
type Model struct {
	style render.Style
	live  bool // a frame shows what runs, so that lines are only for what ended
	run   *pb.Run
	index map[string]int
	tasks map[string]*view
	names int                    // width of the column of names
	waits map[pb.WaitReason]bool // that were told
}

// view is what was said about a task.
type view struct {
	state   pb.TaskState
	attempt int
	undone  int // up to which attempt was told what came to nothing
	steps   []*pb.ProgressStep
	told    map[string]bool // steps
	over    bool            // its end was told, or is not worth a line
}

// New makes an empty model. With live, the caller draws Frame.
func New(style render.Style, live bool) *Model {
	return &Model{style: style, live: live, index: map[string]int{}, tasks: map[string]*view{}, names: 20, waits: map[pb.WaitReason]bool{}}
}

// Run is the run with its tasks; nil before the first answer.
func (m *Model) Run() *pb.Run { return m.run }

// Ended says that nothing will change any more.
func (m *Model) Ended() bool { return m.run != nil && render.RunEnded(m.run.GetState()) }

// Apply takes an answer and returns the lines that it is worth.
func (m *Model) Apply(res *pb.WatchResponse) []string {
	switch c := res.GetChange().(type) {
	case *pb.WatchResponse_Snapshot:
		return m.snapshot(c.Snapshot)
	case *pb.WatchResponse_Run:
		return m.changed(c.Run)
	case *pb.WatchResponse_Task:
		return m.task(c.Task)
	case *pb.WatchResponse_Progress:
		return m.progress(c.Progress)
	}
	return nil
}

func (m *Model) snapshot(r *pb.Run) []string {
	var out []string
	if m.run == nil {
		ref := render.Short(r.GetCommit())
		if r.GetRef() != "" && r.GetRef() != r.GetCommit() {
			ref += " (" + render.Line(r.GetRef()) + ")"
		}
		out = append(out, fmt.Sprintf("%s  commit %s  %d tasks", m.style.Paint(render.Bold, "run "+render.Line(r.GetId())), ref, len(r.GetTasks())))
	}
	tasks := r.GetTasks()
	m.run = proto.CloneOf(r)
	m.run.Tasks = nil
	m.index = map[string]int{}
	for _, t := range tasks {
		m.names = max(m.names, min(len(t.GetId()), 40))
	}
	for _, t := range tasks {
		out = append(out, m.task(t)...)
	}
	return out
}

func (m *Model) changed(r *pb.Run) []string {
	if m.run == nil {
		return nil
	}
	was := m.run.GetState()
	tasks, services := m.run.Tasks, m.run.Services
	m.run = proto.CloneOf(r)
	m.run.Tasks = tasks
	if len(r.GetServices()) == 0 {
		m.run.Services = services
	}
	if r.GetState() == was || r.GetState() != pb.RunState_RUN_STATE_STOPPING {
		return nil
	}
	line := "stopping"
	if r.GetMessage() != "" {
		line += ": " + render.Line(r.GetMessage())
	}
	return []string{m.style.Paint(render.Yellow, line)}
}

func (m *Model) task(t *pb.Task) []string {
	if m.run == nil {
		return nil
	}
	if i, ok := m.index[t.GetId()]; ok {
		m.run.Tasks[i] = t
	} else {
		m.index[t.GetId()] = len(m.run.Tasks)
		m.run.Tasks = append(m.run.Tasks, t)
	}
	v := m.tasks[t.GetId()]
	if v == nil {
		v = &view{told: map[string]bool{}}
		m.tasks[t.GetId()] = v
	}
	wasAttempt := v.attempt
	// A stream that was opened again may begin a little behind: what was told stays told.
	v.state, v.attempt = t.GetState(), max(wasAttempt, len(t.GetAttempts()))
	if v.attempt != wasAttempt {
		clear(m.waits)
	}
	if v.attempt != wasAttempt || render.Ended(v.state) {
		v.steps = nil
	}
	if render.Ended(v.state) {
		if v.over || quiet(t) {
			return nil
		}
		v.over = true
		return append(m.undone(t, v), m.ended(t))
	}
	out := m.undone(t, v)
	if v.attempt > wasAttempt && wasAttempt > 0 {
		out = append(out, m.line(t.GetId(), render.Yellow, "again", "", fmt.Sprintf("attempt %d on %s", v.attempt, worker(t))))
	} else if !m.live && v.attempt > wasAttempt {
		out = append(out, m.line(t.GetId(), render.Blue, "started", "", "on "+worker(t)))
	}
	return out
}

// undone tells of attempts that came to nothing and did not end the task: lost with their
// worker, or to be tried again.
func (m *Model) undone(t *pb.Task, v *view) []string {
	attempts := t.GetAttempts()
	if render.Ended(t.GetState()) && len(attempts) > 0 {
		attempts = attempts[:len(attempts)-1]
	}
	var out []string
	for i, a := range attempts {
		if i < v.undone || a.GetOutcome() == pb.Outcome_OUTCOME_UNSPECIFIED {
			continue
		}
		v.undone = i + 1
		out = append(out, m.line(t.GetId(), render.Yellow, outcome(a), "", fmt.Sprintf("attempt %d on %s: %s", a.GetNumber(), render.Line(a.GetWorker()), reason(a))))
	}
	return out
}

func outcome(a *pb.Attempt) string {
	return strings.ToLower(strings.TrimPrefix(a.GetOutcome().String(), "OUTCOME_"))
}

func worker(t *pb.Task) string {
	a := t.GetAttempts()
	if len(a) == 0 {
		return "?"
	}
	return render.Line(a[len(a)-1].GetWorker())
}

func reason(a *pb.Attempt) string {
	if a.GetMessage() != "" {
		return render.Line(a.GetMessage())
	}
	return "to be tried again"
}

// quiet are the ends that nobody waits for.
func quiet(t *pb.Task) bool {
	if t.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED && t.GetState() != pb.TaskState_TASK_STATE_SKIPPED {
		return false
	}
	switch t.GetKind() {
	case "checkout", "rollout", "promote":
		return true
	}
	return false
}

func (m *Model) ended(t *pb.Task) string {
	took := ""
	if len(t.GetAttempts()) > 0 {
		took = render.Duration(render.Took(t, t.GetFinishedAt().AsTime()))
	}
	return m.line(t.GetId(), render.TaskColor(t.GetState()), render.TaskState(t.GetState()), took, render.What(t))
}

// line aligns name, word, time and text.
func (m *Model) line(name string, color render.Color, word, took, text string) string {
	line := fmt.Sprintf("%-*s  %s%s  %7s  %s", m.names, render.Line(name), m.style.Paint(color, word), strings.Repeat(" ", max(0, 9-len(word))), took, text)
	return strings.TrimRight(line, " ")
}

func (m *Model) progress(p *pb.Progress) []string {
	v := m.tasks[p.GetTaskId()]
	if v == nil || render.Ended(v.state) || int(p.GetAttempt()) < v.attempt {
		return nil
	}
	var out []string
	for _, s := range p.GetSteps() {
		i := slices.IndexFunc(v.steps, func(old *pb.ProgressStep) bool { return old.GetId() == s.GetId() })
		if i < 0 {
			v.steps = append(v.steps, s)
		} else {
			v.steps[i] = s
		}
		if m.live || s.GetFinishedAt() == nil || v.told[s.GetId()] {
			continue
		}
		took := s.GetFinishedAt().AsTime().Sub(s.GetStartedAt().AsTime())
		if took < stepWorthALine && s.GetError() == "" {
			continue
		}
		v.told[s.GetId()] = true
		text := render.Line(s.GetName())
		if s.GetError() != "" {
			text += ": " + render.Line(s.GetError())
		}
		out = append(out, m.line(p.GetTaskId(), "", "", render.Duration(took), text))
	}
	return out
}
