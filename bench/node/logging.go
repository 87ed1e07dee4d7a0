package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/bench/invariant"
	"github.com/slipway-build/slipway/bench/lines"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/report"
	"github.com/slipway-build/slipway/worker/runner"
)

// Log names the argument of a build that says what it writes.
const Log = "LOG"

// ready is what a task writes first. Then it waits until it is let go.
const ready = "ready\n"

// piece is how much a task that does not keep to a pace writes at once: what a program that
// writes into a pipe through a buffer does. Lines are cut by it.
const piece = 4096

// beat is how often one that keeps to a pace writes.
const beat = 5 * time.Millisecond

// Logging is what a task writes.
type Logging struct {
	Log       int `json:"log"` // number of the log
	Lines     int `json:"lines"`
	PerSecond int `json:"per_second"` // lines; 0: as fast as it can
}

// gate lets those who wait go on, all at once.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

// release lets go who waits, and answers when, in nanoseconds.
func (g *gate) release(context.Context, struct{}) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := time.Now().UnixNano()
	close(g.open)
	g.open = make(chan struct{})
	return at, nil
}

func (g *gate) wait(ctx context.Context) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
	case <-ctx.Done():
	}
}

// logged carries out an attempt that writes, as the worker's agent does: the runner writes
// through the masker into the lease's log.
func (g *gate) logged(ctx context.Context, l *session.Lease) *pb.Completion {
	t := report.Task(l.Grant)
	begin := time.Now()
	write := runner.Func(func(ctx context.Context, _ runner.Task, r runner.Report) runner.Outcome {
		var w Logging
		if err := json.Unmarshal([]byte(l.Grant.GetBuild().GetArgs()[Log]), &w); err != nil {
			return runner.Err("what to write: %v", err)
		}
		_, _ = r.Write([]byte(ready))
		g.wait(ctx)
		w.Write(ctx, func(b []byte) { _, _ = r.Write(b) })
		return runner.Outcome{Kind: runner.Succeeded}
	})
	o := runner.Decorate(write, runner.Redact(lines.Secrets())).Run(ctx, t, report.NewSink(l, time.Now))
	return report.Completion(o, begin, time.Now())
}

// Write writes all lines. What is handed out is used again.
func (w Logging) Write(ctx context.Context, out func([]byte)) {
	if w.PerSecond > 0 {
		w.paced(ctx, out)
		return
	}
	m := lines.New(w.Log)
	buf := make([]byte, 0, piece+lines.Size)
	for n := range w.Lines {
		if buf = m.Append(buf, n, 0); len(buf) >= piece {
			out(buf[:piece])
			buf = buf[:copy(buf, buf[piece:])]
		}
		if n%piece == 0 && ctx.Err() != nil {
			return
		}
	}
	out(buf)
}

// paced writes the lines that are due, each with the time at which it is written.
func (w Logging) paced(ctx context.Context, out func([]byte)) {
	m := lines.New(w.Log)
	start := time.Now()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	var buf []byte
	for n := 0; n < w.Lines && ctx.Err() == nil; {
		<-tick.C
		now := time.Now()
		due := min(w.Lines, int(now.Sub(start).Seconds()*float64(w.PerSecond)))
		buf = buf[:0]
		for ; n < due; n++ {
			buf = m.Append(buf, n, now.UnixNano())
		}
		if len(buf) > 0 {
			out(buf)
		}
	}
}

// Logs is a run of tasks that write.
type Logs struct {
	Logs      int `json:"logs"`
	Lines     int `json:"lines"` // of each
	PerSecond int `json:"per_second"`
	Number    int `json:"number"` // of the run
}

// LogRun is the run and its tasks, in the order of their logs.
type LogRun struct {
	Run   string   `json:"run"`
	Tasks []string `json:"tasks"`
}

// write submits a run of tasks that write, and does not wait for it.
func (p *parts) write(ctx context.Context, l Logs) (any, error) {
	pl := graph.Layered("logs", 1, l.Logs, uint64(l.Number))
	out := LogRun{}
	for i := range pl.Tasks {
		arg, err := json.Marshal(Logging{Log: i, Lines: l.Lines, PerSecond: l.PerSecond})
		if err != nil {
			return nil, fmt.Errorf("say what to write: %w", err)
		}
		pl.Tasks[i].Build.Args = map[string]string{Log: string(arg)}
		out.Tasks = append(out.Tasks, pl.Tasks[i].ID)
	}
	ids, err := p.submitAll(ctx, []plan.Plan{pl}, 1)
	if err == nil {
		out.Run = ids[0]
	}
	return out, err
}

// wrote waits for the end of a run that writes, answers which invariants it broke, and takes
// its logs away.
func (p *parts) wrote(ctx context.Context, id string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := p.ends.all(ctx, []string{id}); err != nil {
		return nil, err
	}
	runs, err := p.runs(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	var keys []logstore.Key
	err = p.set.Find(ctx, id, func(tx *partition.Tx, _ *run.Run) error {
		for _, t := range runs[0].Tasks {
			for _, a := range t.Attempts {
				keys = append(keys, logstore.Key{Token: tx.Token(runs[0], t), Epoch: a.Fence.Epoch, Counter: a.Fence.Counter})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return invariant.Check(runs), p.logs.Purge(ctx, keys...)
}
