package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Waterfall shows where the time of a run went: one bar per task on a common axis,
// waiting in the queue light, work dark, the longest steps below their task, and the
// critical path marked. steps is how many steps a task shows at most.
func (s Style) Waterfall(r *pb.Run, steps int, now time.Time) string {
	begin := r.GetAcceptedAt().AsTime()
	total := RunTook(r, now)
	for _, t := range r.GetTasks() {
		if t.GetFinishedAt() != nil {
			total = max(total, t.GetFinishedAt().AsTime().Sub(begin))
		}
	}
	total = max(total, time.Millisecond)
	critical := CriticalPath(r.GetTasks())
	w := waterfall{style: s, begin: begin, total: total, now: now, steps: steps, critical: map[string]bool{}}
	for _, t := range critical {
		w.critical[t.GetId()] = true
	}
	list := slices.Clone(r.GetTasks())
	slices.SortStableFunc(list, func(a, b *pb.Task) int { return cmp.Compare(w.start(a), w.start(b)) })
	for _, t := range list {
		w.task(t)
	}
	return w.text(r, critical)
}

// CriticalPath is the chain of tasks that decided when the run ended: the task that
// finished last, before it the need that it waited for last, and so on, oldest first.
func CriticalPath(tasks []*pb.Task) []*pb.Task {
	by := map[string]*pb.Task{}
	var last *pb.Task
	later := func(a, b *pb.Task) bool {
		return a.GetFinishedAt() != nil && (b == nil || a.GetFinishedAt().AsTime().After(b.GetFinishedAt().AsTime()))
	}
	for _, t := range tasks {
		by[t.GetId()] = t
		if t.GetState() != pb.TaskState_TASK_STATE_SKIPPED && later(t, last) {
			last = t
		}
	}
	var path []*pb.Task
	seen := map[*pb.Task]bool{} // answers come from outside: no chain is followed twice
	for last != nil && !seen[last] {
		seen[last] = true
		path = append(path, last)
		var before *pb.Task
		for _, need := range last.GetNeeds() {
			if t := by[need]; t != nil && later(t, before) {
				before = t
			}
		}
		last = before
	}
	slices.Reverse(path)
	return path
}

type waterfall struct {
	style    Style
	begin    time.Time
	total    time.Duration
	now      time.Time
	steps    int
	critical map[string]bool
	lines    []bar
}

// bar is a line of the chart. Times are since the run was accepted.
type bar struct {
	name       string
	note       string
	spans      []piece
	start, end time.Duration
	critical   bool
	color      Color
	step       bool
}

type piece struct {
	start, end time.Duration
	mark       rune
}

func (w *waterfall) at(ts *timestamppb.Timestamp) time.Duration {
	if ts == nil {
		return max(0, w.now.Sub(w.begin))
	}
	return max(0, ts.AsTime().Sub(w.begin))
}

func (w *waterfall) start(t *pb.Task) time.Duration {
	switch {
	case t.GetReadyAt() != nil:
		return w.at(t.GetReadyAt())
	case len(t.GetAttempts()) > 0:
		return w.at(t.GetAttempts()[0].GetLeasedAt())
	}
	return w.at(t.GetFinishedAt())
}

func (w *waterfall) task(t *pb.Task) {
	if t.GetState() == pb.TaskState_TASK_STATE_PENDING || t.GetState() == pb.TaskState_TASK_STATE_SKIPPED {
		return
	}
	b := bar{name: t.GetId(), critical: w.critical[t.GetId()], color: TaskColor(t.GetState()), start: w.start(t)}
	since, queued := b.start, time.Duration(0)
	for _, a := range t.GetAttempts() {
		leased := max(since, w.at(a.GetLeasedAt()))
		ended := max(leased, w.at(a.GetFinishedAt()))
		b.spans = append(b.spans, piece{since, leased, '░'}, piece{leased, ended, '█'})
		queued += leased - since
		since = ended
	}
	b.end = since
	if len(t.GetAttempts()) == 0 && t.GetFinishedAt() != nil {
		// The coordinator's own tasks, timers and reused ones have no attempt.
		b.end = max(b.start, w.at(t.GetFinishedAt()))
		b.spans = append(b.spans, piece{b.start, b.end, '▒'})
	}
	var notes []string
	if queued >= 100*time.Millisecond {
		notes = append(notes, "queued "+Duration(queued))
	}
	if n := len(t.GetAttempts()); n > 1 {
		notes = append(notes, fmt.Sprintf("%d attempts", n))
	}
	if t.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
		notes = append(notes, TaskState(t.GetState()))
	}
	b.note = strings.Join(notes, ", ")
	w.lines = append(w.lines, b)
	if n := len(t.GetAttempts()); n > 0 {
		w.stepsOf(t.GetAttempts()[n-1].GetSteps())
	}
}

// stepsOf shows the longest steps in the order of their beginnings.
func (w *waterfall) stepsOf(all []*pb.Step) {
	length := func(s *pb.Step) time.Duration { return w.at(s.GetFinishedAt()) - w.at(s.GetStartedAt()) }
	list := slices.DeleteFunc(slices.Clone(all), func(s *pb.Step) bool { return s.GetStartedAt() == nil || s.GetFinishedAt() == nil })
	slices.SortStableFunc(list, func(a, b *pb.Step) int { return cmp.Compare(length(b), length(a)) })
	list = list[:min(len(list), max(0, w.steps))]
	slices.SortStableFunc(list, func(a, b *pb.Step) int {
		return cmp.Compare(w.at(a.GetStartedAt()), w.at(b.GetStartedAt()))
	})
	for _, s := range list {
		b := bar{name: s.GetName(), step: true, color: Dim, start: w.at(s.GetStartedAt()), end: w.at(s.GetFinishedAt())}
		b.spans = []piece{{b.start, b.end, '▪'}}
		if s.GetCached() {
			b.note = "cached"
		}
		if s.GetError() != "" {
			b.note, b.color = "failed", Red
		}
		w.lines = append(w.lines, b)
	}
}

// text lays the chart out: mark, name, bar, length, note.
func (w *waterfall) text(r *pb.Run, critical []*pb.Task) string {
	width := w.style.Width
	if width <= 0 {
		width = 120
	}
	names := 12
	for _, b := range w.lines {
		indent := 0
		if b.step {
			indent = 2
		}
		names = max(names, utf8.RuneCountInString(Line(b.name))+indent)
	}
	names = min(names, max(12, (width-30)/2))
	const numbers = 8 // "12m34s" and a gap
	const room = 24   // of notes, with their gap
	chart := max(10, width-names-numbers-room-3)
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", w.style.Paint(Bold, "run "+Line(r.GetId())), w.style.Paint(RunColor(r.GetState()), RunState(r.GetState())), Duration(RunTook(r, w.now)))
	b.WriteString("  " + pad("", names+1) + w.axis(chart) + "\n")
	for _, l := range w.lines {
		mark, name := "  ", Line(l.name)
		if l.critical {
			mark = w.style.Paint(Yellow, "* ")
		}
		if l.step {
			name = "  " + name
		}
		color := l.color
		if l.critical && color == Green {
			color = Yellow
		}
		line := mark + pad(Cut(name, names), names+1) + w.style.Paint(color, w.draw(l, chart)) + fmt.Sprintf("%*s", numbers, Duration(l.end-l.start))
		if l.note != "" {
			line += "  " + w.style.Paint(Dim, Cut(l.note, room-2))
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("\n" + w.style.Paint(Yellow, "*") + " critical path, " + w.pathText(critical) + "\n")
	b.WriteString("  ░ waiting in the queue  █ work  ▪ step  ▒ done without a worker\n")
	fmt.Fprintf(&b, "  trace id %s\n", Line(r.GetTraceId()))
	return b.String()
}

func (w *waterfall) pathText(path []*pb.Task) string {
	var queued, worked, other time.Duration
	for _, t := range path {
		since := w.start(t)
		for _, a := range t.GetAttempts() {
			leased := max(since, w.at(a.GetLeasedAt()))
			ended := max(leased, w.at(a.GetFinishedAt()))
			queued, worked, since = queued+leased-since, worked+ended-leased, ended
		}
		if len(t.GetAttempts()) == 0 && t.GetFinishedAt() != nil {
			other += w.at(t.GetFinishedAt()) - since
		}
	}
	out := fmt.Sprintf("%d tasks: %s work, %s queued", len(path), Duration(worked), Duration(queued))
	if other >= 100*time.Millisecond {
		out += ", " + Duration(other) + " coordinator"
	}
	return out
}

// axis has the total at its end and a few round marks before.
func (w *waterfall) axis(chart int) string {
	line := []rune(strings.Repeat(" ", chart))
	put := func(at int, text string) {
		if at+len(text) <= len(line) {
			copy(line[at:], []rune(text))
		}
	}
	for i := range 4 {
		put(chart*i/4, "│"+Duration(w.total*time.Duration(i)/4))
	}
	return w.style.Paint(Dim, string(line))
}

// draw paints a bar: every piece that has a length has at least one mark.
func (w *waterfall) draw(l bar, chart int) string {
	line := []rune(strings.Repeat(" ", chart))
	for _, p := range l.spans {
		if p.end <= p.start && p.mark == '░' {
			continue
		}
		from := min(chart-1, int(int64(p.start)*int64(chart)/int64(w.total)))
		to := min(chart, max(from+1, int((int64(p.end)*int64(chart)+int64(w.total)-1)/int64(w.total))))
		for i := from; i < to; i++ {
			line[i] = p.mark
		}
	}
	return string(line)
}
