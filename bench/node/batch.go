package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/bench/graph"
	"github.com/slipway-build/slipway/bench/invariant"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/trace"
)

// Batch is runs that are submitted at once, and waited for.
type Batch struct {
	Runs     int    `json:"runs"`
	Layers   int    `json:"layers"`
	Width    int    `json:"width"`
	Projects int    `json:"projects"` // that the runs belong to by turns
	Seed     uint64 `json:"seed"`
	// Submitters at once; 0: 16.
	Submitters int `json:"submitters,omitempty"`
}

// Report says what became of a batch.
type Report struct {
	Tasks   int           `json:"tasks"`
	Elapsed time.Duration `json:"elapsed"` // first submit → last run durably terminal
	Broken  []string      `json:"broken,omitempty"`
}

// ends waits for runs to end.
type ends struct {
	mu   sync.Mutex
	gone map[string]bool
	more chan struct{} // closed and made anew at each
}

func newEnds() *ends { return &ends{gone: map[string]bool{}, more: make(chan struct{})} }

func (e *ends) ended(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.gone[id] {
		e.gone[id] = true
		close(e.more)
		e.more = make(chan struct{})
	}
}

// all waits until every one of the runs has ended.
func (e *ends) all(ctx context.Context, ids []string) error {
	for i := 0; i < len(ids); {
		e.mu.Lock()
		ok, more := e.gone[ids[i]], e.more
		e.mu.Unlock()
		if ok {
			i++
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("wait for run %s (%d of %d): %w", ids[i], i+1, len(ids), context.Cause(ctx))
		}
	}
	return nil
}

func (p *parts) ops() Ops {
	return Ops{
		"batch":  Handle(p.batch),
		"hops":   Handle(p.hops),
		"timed":  Handle(p.timed),
		"live":   Handle(p.live),
		"write":  Handle(p.write),
		"wrote":  Handle(p.wrote),
		"digest": Handle(func(ctx context.Context, _ struct{}) (any, error) { return p.digest(ctx) }),
		"served": Handle(func(ctx context.Context, _ struct{}) (any, error) { return nil, p.served(ctx) }),
		"flush":  Handle(func(ctx context.Context, _ struct{}) (any, error) { return nil, p.tracing.Flush(ctx) }),
		"heap":   Handle(func(context.Context, struct{}) (any, error) { return heap(), nil }),
		"settle": Handle(settle),
		"there":  Handle(p.there),
		"right":  Handle(p.right),
	}
}

// settle gives memory that nothing uses back to the system, so that what is resident is
// what the process needs.
func settle(context.Context, struct{}) (any, error) {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // the first may only have found what the second frees: finalizers, pools
	return nil, nil
}

// there waits until workers with so many slots together are connected.
func (p *parts) there(ctx context.Context, slots int) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return nil, until(ctx, func() bool {
		n := p.dispatch.Place(plan.CapabilityBuild).Slots
		return n == slots
	})
}

// until looks again and again.
func until(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// submit stores a plan, then accepts it, as coordinator/submit does.
func (p *parts) submit(ctx context.Context, pl plan.Plan, key string) (string, error) {
	data, err := plan.Encode(pl)
	if err != nil {
		return "", err
	}
	hash, err := p.blobs.Put(ctx, data)
	if err != nil {
		return "", err
	}
	home, err := p.set.Home(ctx, pl.Project)
	if err != nil {
		return "", err
	}
	var id string
	err = home.Do(ctx, func(tx *partition.Tx) error {
		var err error
		id, _, err = tx.Accept(partition.Submission{
			Plan: &pl, PlanHash: hash, SubmittedBy: "bench", Key: key, RequestHash: hash,
			TraceID: func(id string) string { return trace.ID(pl.Project, pl.Commit, id) },
		})
		return err
	})
	return id, err
}

func (p *parts) submitAll(ctx context.Context, plans []plan.Plan, submitters int) ([]string, error) {
	if submitters == 0 {
		submitters = 16
	}
	ids := make([]string, len(plans))
	stamp := time.Now().UnixNano()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(submitters)
	for i := range plans {
		g.Go(func() (err error) {
			ids[i], err = p.submit(ctx, plans[i], fmt.Sprintf("%d-%d", stamp, i))
			return err
		})
	}
	return ids, g.Wait()
}

func (p *parts) batch(ctx context.Context, b Batch) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	plans := make([]plan.Plan, b.Runs)
	for i := range plans {
		plans[i] = graph.Layered(fmt.Sprintf("bench%d", i%max(1, b.Projects)), b.Layers, b.Width, b.Seed*1000+uint64(i))
	}
	runtime.GC() // what the plans left behind is not the batch's
	start := time.Now()
	ids, err := p.submitAll(ctx, plans, b.Submitters)
	if err != nil {
		return nil, err
	}
	if err := p.ends.all(ctx, ids); err != nil {
		return nil, err
	}
	rep := Report{Elapsed: time.Since(start), Tasks: b.Runs * b.Layers * b.Width}
	runs, err := p.runs(ctx, ids)
	if err != nil {
		return nil, err
	}
	rep.Broken = invariant.Check(runs)
	return rep, nil
}

// runs answers copies of runs.
func (p *parts) runs(ctx context.Context, ids []string) ([]*run.Run, error) {
	out := make([]*run.Run, 0, len(ids))
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	for _, part := range p.set.All() {
		err := part.Do(ctx, func(tx *partition.Tx) error {
			for _, r := range tx.Runs("", 1<<30) {
				if !want[r.ID] {
					continue
				}
				c, err := tx.Run(r.ID)
				if err != nil {
					return err
				}
				out = append(out, c)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(out) != len(ids) {
		return out, fmt.Errorf("%d runs are there, %d were accepted", len(out), len(ids))
	}
	return out, nil
}

// digest is a hash over everything that is served of every run: equal after the state was
// built again from the journal.
func (p *parts) digest(ctx context.Context) (string, error) {
	var lines []string
	for _, part := range p.set.All() {
		err := part.Do(ctx, func(tx *partition.Tx) error {
			for _, r := range tx.Runs("", 1<<30) {
				c, err := tx.Run(r.ID)
				if err != nil {
					return err
				}
				c.Plan = nil
				for _, t := range c.Tasks {
					t.Spec = nil
				}
				b, err := json.Marshal(c)
				if err != nil {
					return fmt.Errorf("encode run: %w", err)
				}
				sum := sha256.Sum256(b)
				lines = append(lines, r.ID+" "+hex.EncodeToString(sum[:]))
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return fmt.Sprintf("%d runs %s", len(lines), hex.EncodeToString(sum[:])), nil
}
