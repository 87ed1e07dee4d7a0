package web

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// mark is a state as it is shown: never by its color alone.
type mark struct {
	Word  string
	Sign  string
	Class string // good, bad, busy, idle
}

func runMark(s pb.RunState) mark {
	word := strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATE_"))
	switch s {
	case pb.RunState_RUN_STATE_SUCCEEDED:
		return mark{word, "✓", "good"}
	case pb.RunState_RUN_STATE_FAILED:
		return mark{word, "✗", "bad"}
	case pb.RunState_RUN_STATE_RUNNING, pb.RunState_RUN_STATE_STOPPING:
		return mark{word, "▶", "busy"}
	default:
		return mark{word, "–", "idle"}
	}
}

func taskMark(s pb.TaskState) mark {
	word := strings.ToLower(strings.TrimPrefix(s.String(), "TASK_STATE_"))
	switch s {
	case pb.TaskState_TASK_STATE_SUCCEEDED:
		return mark{word, "✓", "good"}
	case pb.TaskState_TASK_STATE_REUSED:
		return mark{word, "↺", "good"}
	case pb.TaskState_TASK_STATE_FAILED, pb.TaskState_TASK_STATE_ERRORED:
		return mark{word, "✗", "bad"}
	case pb.TaskState_TASK_STATE_RUNNING, pb.TaskState_TASK_STATE_LEASED:
		return mark{word, "▶", "busy"}
	case pb.TaskState_TASK_STATE_UNREACHABLE:
		return mark{word, "⚠", "bad"}
	case pb.TaskState_TASK_STATE_READY:
		return mark{"waits for a worker", "…", "busy"}
	default:
		return mark{word, "–", "idle"}
	}
}

// moment is a time for people and for machines.
type moment struct{ Age, Exact string }

func momentOf(at *timestamppb.Timestamp, now time.Time) moment {
	if at == nil {
		return moment{}
	}
	t := at.AsTime()
	return moment{Age: age(now.Sub(t)), Exact: t.UTC().Format("2006-01-02 15:04:05 UTC")}
}

func age(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// span is how long something took, or has taken until now.
func span(from, to *timestamppb.Timestamp, now time.Time) string {
	if from == nil {
		return ""
	}
	end := now
	if to != nil {
		end = to.AsTime()
	}
	return length(end.Sub(from.AsTime()))
}

func length(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
}

func short(s string, n int) string { return s[:min(len(s), n)] }

// digest is the part of "repository@sha256:…" that tells two images apart.
func digest(image string) string {
	_, d, ok := strings.Cut(image, "sha256:")
	if !ok {
		return ""
	}
	return short(d, 12)
}
