package progress

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/render"
)

// Frame is what happens now: one line about the run, then the running tasks with
// their current steps. It has at most height lines of at most width columns.
func (m *Model) Frame(now time.Time, width, height int) []string {
	if m.run == nil {
		return []string{render.Cut("waiting for the coordinator …", width)}
	}
	var running []*pb.Task
	done, waiting := 0, 0
	for _, t := range m.run.GetTasks() {
		switch s := t.GetState(); {
		case render.Ended(s):
			done++
		case s == pb.TaskState_TASK_STATE_LEASED || s == pb.TaskState_TASK_STATE_RUNNING:
			running = append(running, t)
		case s == pb.TaskState_TASK_STATE_READY:
			waiting++
		}
	}
	head := fmt.Sprintf("%s %s  %s  %d of %d tasks done", render.Line(m.run.GetId()), render.RunState(m.run.GetState()), render.Duration(render.RunTook(m.run, now)), done, len(m.run.GetTasks()))
	if waiting > 0 {
		head += fmt.Sprintf(", %d in the queue", waiting)
	}
	out := []string{m.style.Paint(render.Bold, render.Cut(head, width))}
	for i, t := range running {
		lines := m.running(t, now, width)
		left := height - len(out)
		more := len(running) - i
		switch {
		case left <= 0:
			return out
		case left == 1 && more > 1:
			return append(out, render.Cut(fmt.Sprintf("   … and %d more", more), width))
		case len(lines) > left-min(1, more-1):
			lines = lines[:max(1, left-min(1, more-1))]
		}
		out = append(out, lines...)
	}
	return out
}

// running is a task and the steps that it is at.
func (m *Model) running(t *pb.Task, now time.Time, width int) []string {
	since := now.Sub(started(t, now))
	word := ""
	if t.GetState() == pb.TaskState_TASK_STATE_LEASED {
		word = "preparing"
	}
	out := []string{m.timed(" → "+render.Line(t.GetId()), word, since, width, render.Blue)}
	v := m.tasks[t.GetId()]
	if v == nil {
		return out
	}
	shown := 0
	for _, s := range v.steps {
		if s.GetStartedAt() == nil || s.GetFinishedAt() != nil {
			continue
		}
		if shown++; shown > 3 {
			break
		}
		out = append(out, m.timed("     "+render.Line(s.GetName()), detail(s), now.Sub(s.GetStartedAt().AsTime()), width, render.Dim))
	}
	return out
}

func detail(s *pb.ProgressStep) string {
	out := render.Line(s.GetDetail())
	if s.GetTotal() > 0 {
		out = strings.TrimSpace(fmt.Sprintf("%s %d/%d", out, s.GetCurrent(), s.GetTotal()))
	}
	return out
}

// timed has its time at the right edge.
func (m *Model) timed(text, note string, took time.Duration, width int, color render.Color) string {
	clock := render.Duration(took)
	if note != "" {
		text += "  " + note
	}
	room := max(1, width-len(clock)-1)
	text = render.Cut(text, room)
	return m.style.Paint(color, text) + strings.Repeat(" ", max(0, room-utf8.RuneCountInString(text))+1) + clock
}

func started(t *pb.Task, now time.Time) time.Time {
	if a := t.GetAttempts(); len(a) > 0 && a[len(a)-1].GetLeasedAt() != nil {
		return a[len(a)-1].GetLeasedAt().AsTime()
	}
	return now
}
