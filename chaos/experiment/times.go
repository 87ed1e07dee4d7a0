package experiment

import (
	"slices"
	"sync"
	"time"

	"github.com/slipway-build/slipway/chaos/witness"
)

// times are how long something took, each time.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d)
}

// into writes them as figures, in milliseconds.
func (t *times) into(figures map[string]any, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) == 0 {
		return
	}
	slices.Sort(t.all)
	at := func(q float64) int64 { return t.all[int(q*float64(len(t.all)-1))].Milliseconds() }
	figures[name+"_ms"] = map[string]any{"n": len(t.all), "p50": at(0.5), "p99": at(0.99), "max": at(1)}
}

// redispatched adds, for each time that processes died or were stopped with tasks at work,
// how long it took until somebody else began each of them.
func (t *times) redispatched(entries []witness.Entry, deaths []death) {
	begun := map[string][]int64{} // by object
	for _, e := range entries {
		if e.Kind == witness.Begin && e.Done {
			begun[e.Attempt.Object()] = append(begun[e.Attempt.Object()], e.Call)
		}
	}
	for _, d := range deaths {
		for _, o := range d.objects {
			for _, at := range begun[o] {
				if at > d.at {
					t.add(time.Duration(at - d.at))
					break
				}
			}
		}
	}
}

// death of a process, with what it worked at.
type death struct {
	at      int64 // by the machine's monotonic clock
	objects []string
}
