package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/run"
)

// desk is what one webhook's host has to be told. Hosts do not wait for each other.
type desk struct {
	name  string // of the webhook
	hook  Hook
	wake  chan struct{}
	dirty map[*item]bool
	until time.Time // the host wants to be left alone
	swept time.Time // when what nobody looks at any more was forgotten last
}

// item is a commit and the newest run of each of its refs.
type item struct {
	at     Commit
	runs   map[string]known
	told   string    // what the host was told, as Memory has it
	next   time.Time // not before
	tries  int
	doubt  time.Time // until then the host may still do what it did not answer; zero: no doubt
	behind bool      // told since, so it is told once more when there is no doubt
}

type known struct {
	id, project        string
	refused            string // why there is no run; then there is no id either
	number             uint64
	accepted, finished time.Time
	begun, ended       bool
}

// with takes in what a run has become. What was told of it is never taken back.
func (k known) with(r *run.Run, working bool) known {
	k.begun, k.ended = k.begun || working, k.ended || r.State.Ended()
	if k.ended {
		k.finished = r.FinishedAt
	}
	return k
}

// newer: of one project numbers tell; runs of one moment may have the same time.
func (k known) newer(r *run.Run) bool {
	if k.project == r.Project {
		return k.number > r.Number
	}
	return k.accepted.After(r.AcceptedAt)
}

// wanted names what the host is to know: it changes when the status changes.
func (it *item) wanted() string { return knowing(it.runs) }

func knowing(runs map[string]known) string {
	var b strings.Builder
	for _, ref := range slices.Sorted(maps.Keys(runs)) {
		switch k := runs[ref]; {
		case k.refused != "":
			fmt.Fprintf(&b, "refused %q\n", k.refused)
		case k.ended:
			b.WriteString(k.phase("ended"))
		case k.begun:
			b.WriteString(k.phase(Running))
		default:
			b.WriteString(k.phase(Pending))
		}
	}
	return b.String()
}

func (k known) phase(s State) string { return fmt.Sprintf("%s %s\n", k.id, s) }

// over tells whether nothing about the commit can change any more, but for a new run.
func (it *item) over(before time.Time) bool {
	for _, k := range it.runs {
		if !k.ended || k.finished.After(before) {
			return false
		}
	}
	return true
}
