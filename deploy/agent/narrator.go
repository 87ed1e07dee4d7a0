package agent

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/rolling"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// narrator tells the log and the progress of an attempt what a rollout does.
type narrator struct {
	to attempt

	mu    sync.Mutex
	began map[string]time.Time // by step id
}

func newNarrator(to attempt) *narrator { return &narrator{to: to, began: map[string]time.Time{}} }

func (n *narrator) started() { n.to.Progress(true) }

func (n *narrator) say(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	if text != "" {
		_, _ = n.to.Write([]byte(text + "\n"))
	}
}

func (n *narrator) listener() rolling.Listener {
	return rolling.Listener{Changed: n.changed, Progress: n.progress, Step: n.step}
}

func (n *narrator) changed(change apply.Change) {
	reason := ""
	if change.Reason != "" {
		reason = " (" + change.Reason + ")"
	}
	n.say("%s %s%s", change.Action, change.Ref, reason)
	for _, f := range change.Fields {
		n.say("  %s: %s → %s", f.Path, cmp.Or(f.From, "nothing"), cmp.Or(f.To, "nothing"))
	}
}

func (n *narrator) progress(p health.Progress) {
	id := "object/" + p.Object.Key()
	n.mu.Lock()
	began, known := n.began[id]
	if !known {
		began = time.Now()
		n.began[id] = began
	}
	n.mu.Unlock()
	step := &pb.ProgressStep{
		Id: id, Name: p.Object.String(), StartedAt: stamp(began), Current: int64(p.Ready), Total: int64(p.Desired),
		Detail: fmt.Sprintf("%d/%d ready", p.Ready, p.Desired),
	}
	if p.Done {
		step.FinishedAt = stamp(time.Now())
	}
	n.to.Progress(true, step)
	n.say("%s", p)
}

func (n *narrator) step(s rolling.Step) {
	n.to.Progress(true, &pb.ProgressStep{Id: "step/" + s.Name, Name: s.Name, StartedAt: stamp(s.Began), FinishedAt: stamp(s.End)})
}
