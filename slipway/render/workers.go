package render

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// WorkerState is the state of a worker as a word.
func WorkerState(s pb.WorkerState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "WORKER_STATE_"))
}

func workerColor(s pb.WorkerState) Color {
	switch s {
	case pb.WorkerState_WORKER_STATE_READY:
		return Green
	case pb.WorkerState_WORKER_STATE_CORDONED, pb.WorkerState_WORKER_STATE_DRAINING, pb.WorkerState_WORKER_STATE_PRESSED:
		return Yellow
	case pb.WorkerState_WORKER_STATE_AWAY:
		return Red
	case pb.WorkerState_WORKER_STATE_UNSPECIFIED:
	}
	return ""
}

// Workers is the table of `slipway workers`.
func (s Style) Workers(list []*pb.Worker, now time.Time) string {
	rows := make([][]Cell, 0, len(list))
	for _, w := range list {
		state := WorkerState(w.GetState())
		why := []string{}
		if w.GetReason() != "" {
			why = append(why, Line(w.GetReason()))
		}
		if c := w.GetCordon(); c != nil {
			if w.GetState() != pb.WorkerState_WORKER_STATE_CORDONED {
				state += ", cordoned"
				if c.GetReason() != "" {
					why = append(why, Line(c.GetReason()))
				}
			}
			why = append(why, fmt.Sprintf("cordoned by %s %s ago", Line(c.GetBy()), Duration(now.Sub(c.GetAt().AsTime()))))
		}
		since := ""
		if w.GetSince() != nil {
			since = Duration(now.Sub(w.GetSince().AsTime())) + " ago"
		}
		slots := make([]string, 0, len(w.GetSlots()))
		for _, c := range w.GetSlots() {
			slots = append(slots, fmt.Sprintf("%s %d/%d", Line(c.GetCapability()), c.GetTaken(), c.GetSlots()))
		}
		rows = append(rows, []Cell{
			{Text: Line(w.GetName())}, {state, workerColor(w.GetState())}, {Text: fmt.Sprint(Carries(w))}, {Text: strings.Join(slots, ", ")},
			{Text: Line(w.GetVersion())}, {Text: since}, {Text: strings.Join(why, "; ")},
		})
	}
	return s.Table([]string{"WORKER", "STATE", "RUNNING", "SLOTS TAKEN", "VERSION", "CONNECTED", "WHY"}, rows)
}

// Carries is how many attempts a worker carries out, as far as anybody knows: the farm, or it.
func Carries(w *pb.Worker) int { return max(len(w.GetAttempts()), int(w.GetHeld())) }

// Attempts are what workers carry out, one on a line.
func Attempts(list []*pb.Worker, now time.Time) []string {
	var out []string
	for _, w := range list {
		for _, a := range w.GetAttempts() {
			out = append(out, fmt.Sprintf("%s %s, for %s", Line(a.GetRun()), Line(a.GetTask()), Duration(now.Sub(a.GetLeasedAt().AsTime()))))
		}
		if more := int(w.GetHeld()) - len(w.GetAttempts()); more > 0 {
			out = append(out, fmt.Sprintf("%d more that it says it has", more))
		}
	}
	return out
}
