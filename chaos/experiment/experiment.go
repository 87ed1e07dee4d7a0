// Package experiment has the fault experiments of docs/reliability.md. Each hurts a farm of
// real processes while clients use it, and has a control: the same with a mistake in it,
// which must be caught, or the experiment shows nothing.
package experiment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/judge"
	"github.com/slipway-build/slipway/chaos/load"
	"github.com/slipway-build/slipway/chaos/node"
)

// ErrNotYet: the experiment is not there yet.
var ErrNotYet = errors.New("not supported yet: issue 4")

// Form of an experiment: how often it hurts.
type Form int

// The forms.
const (
	Seconds Form = iota // a part of make test
	Short
	Full // the counts of docs/reliability.md
)

// Env is what experiments are given.
type Env struct {
	Form    Form
	Program string // slipway-coordinator
	Dir     string // of what farms keep; on the disk
	Out     io.Writer
	Rand    *rand.Rand
	// ControlOnly leaves the experiment itself out.
	ControlOnly bool

	broken string
}

// Broken is slipway-coordinator with failpoints and planted mistakes, built when it is first
// wanted.
func (e *Env) Broken(ctx context.Context) (program string, err error) {
	if e.broken == "" {
		e.broken, err = farm.Build(ctx, e.Dir, "./coordinator", "coordinator-broken", "chaos,planted")
	}
	return e.broken, err
}

// Experiment is one of them.
type Experiment struct {
	Name   string
	What   string // is counted
	Counts [3]int // by form
	// PerFarm is how often one farm is hurt at most, before the next one is: what a farm has
	// to read again grows with its age.
	PerFarm int
	// Run hurts a farm so often, and judges it.
	Run func(ctx context.Context, e *Env, n int) (*Outcome, error)
	// Control is Run with a mistake; what is wrong must be found.
	Control func(ctx context.Context, e *Env) (*Outcome, error)
	Mistake string // of the control
}

// Outcome of an experiment.
type Outcome struct {
	Verdict *judge.Verdict `json:"verdict"`
	Figures map[string]any `json:"figures,omitempty"`
	dir     string
	times   map[string]*times // that become figures
}

// All of them, in order. Those without Run are not there yet.
func All() []Experiment {
	return []Experiment{
		r1(), r2(), r3(), r4(), r6(), r11(), r12(),
	}
}

// trial is a farm with clients.
type trial struct {
	*farm.Farm

	env  *Env
	load *load.Load
	// before is what is judged once every run has ended, while the farm still serves. May be nil.
	before func(context.Context) []string

	patience time.Duration // instead of the usual one

	mu      sync.Mutex
	stopped map[*farm.Proc]bool
}

// config is a farm of three coordinators as most experiments want it.
func config(e *Env, name string) farm.Config {
	return farm.Config{
		Dir: filepath.Join(e.Dir, name), Program: e.Program, Coordinators: 3, NATS: 1, Workers: 4, Partitions: 6, Projects: 6, TTL: time.Second,
		Worker: node.Worker{Slots: 6, Hold: 300 * time.Millisecond, LogLines: 3},
	}
}

// begin starts a farm and clients that keep runs going, and waits until one has ended.
func begin(ctx context.Context, e *Env, cfg farm.Config, runs int) (*trial, error) {
	return beginWith(ctx, e, cfg, runs, func(*load.Load) {})
}

func beginWith(ctx context.Context, e *Env, cfg farm.Config, runs int, change func(*load.Load)) (*trial, error) {
	f, err := farm.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t := &trial{Farm: f, env: e, stopped: map[*farm.Proc]bool{}}
	if t.load, err = load.Start(ctx, f, runs, change); err != nil {
		t.Stop()
		return nil, err
	}
	for t.load.Ended() == 0 {
		if err := wait(ctx, 50*time.Millisecond); err != nil || len(t.load.Wrong()) > 0 {
			t.Stop()
			return nil, fmt.Errorf("the farm does not do its work: %v: %w", t.load.Wrong(), errors.Join(err, errIdle))
		}
	}
	return t, nil
}

var errIdle = errors.New("no run has ended")

// patience is how long a farm may take to end every run once nothing hurts it any more.
const patience = 2 * time.Minute

// end stops submitting, waits for every run, and judges. It ends the farm.
func (t *trial) end(ctx context.Context, figures map[string]any) (*Outcome, error) {
	defer t.Stop()
	defer t.load.Close()
	wctx, cancel := context.WithTimeout(ctx, cmp.Or(t.patience, patience))
	defer cancel()
	var wrong []string
	if err := t.load.Finish(wctx); err != nil {
		wrong = append(wrong, err.Error())
	}
	served, err := t.load.Served(wctx)
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	if t.before != nil {
		wrong = append(wrong, t.before(ctx)...)
	}
	t.StopPrograms()
	replicas := 1
	if len(t.NATS) > 1 {
		replicas = 3
	}
	jctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	v, err := judge.Judge(jctx, judge.Evidence{
		NATS: t.NATSURL(-1), Replicas: replicas, Partitions: t.Partitions, Told: t.load.Told(), Served: served, Entries: t.Book.Entries(),
		Elsewhere: t.Deployer != "",
	})
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	v.Wrong = append(append(wrong, t.load.Wrong()...), v.Wrong...)
	return &Outcome{Verdict: v, Figures: figures, dir: t.Dir, times: map[string]*times{}}, nil
}

// wait for a time.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// between two times, at random.
func (e *Env) between(a, b time.Duration) time.Duration {
	return a + time.Duration(e.Rand.Int64N(int64(b-a)))
}

// inFarms hurts one farm after the other, until n is reached or something is wrong.
func inFarms(ctx context.Context, e *Env, x Experiment, n int) (*Outcome, error) {
	all := &Outcome{Verdict: &judge.Verdict{States: map[string]int{}}, Figures: map[string]any{}, times: map[string]*times{}}
	for n > 0 && len(all.Verdict.Wrong) == 0 {
		k := min(n, x.PerFarm)
		o, err := x.Run(ctx, e, k)
		if err != nil {
			return nil, err
		}
		all.add(o)
		if n -= k; n > 0 {
			fmt.Fprintf(e.Out, "%s: %d more %s to go, %d violations so far\n", x.Name, n, x.What, len(all.Verdict.Wrong))
		}
	}
	for name, t := range all.times {
		t.into(all.Figures, name)
	}
	return all, nil
}

// add what came of another farm.
func (o *Outcome) add(more *Outcome) {
	o.dir = more.dir
	o.Verdict.Add(more.Verdict)
	for k, v := range more.Figures {
		a, _ := o.Figures[k].(int)
		if b, ok := v.(int); ok {
			o.Figures[k] = a + b
		}
	}
	for k, t := range more.times {
		if o.times[k] == nil {
			o.times[k] = &times{}
		}
		for _, d := range t.all {
			o.times[k].add(d)
		}
	}
}

// Do runs an experiment and its control, and says what came of it. It answers the outcome,
// and whether all is well.
func Do(ctx context.Context, e *Env, x Experiment) (*Outcome, bool, error) {
	n := x.Counts[e.Form]
	start := time.Now()
	if e.ControlOnly {
		n = 0
	}
	o, err := inFarms(ctx, e, x, n)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", x.Name, err)
	}
	v := o.Verdict
	fmt.Fprintf(e.Out, "%s violations: %d of %d %s (%d runs %v, %d attempts, %d lost, %d owners; effects: %d, %d again, %d refused; %d ends aborted; %d histories in order; %s)\n",
		x.Name, len(v.Wrong), n, x.What, v.Runs, v.States, v.Attempts, v.Lost, v.Owners, v.Effects, v.Repeated, v.Refused, v.Aborted, v.Histories, time.Since(start).Round(time.Second))
	for k, f := range o.Figures {
		fmt.Fprintf(e.Out, "%s %s: %v\n", x.Name, k, f)
	}
	for _, w := range v.Wrong[:min(len(v.Wrong), 10)] {
		fmt.Fprintf(e.Out, "%s WRONG: %s\n", x.Name, w)
	}
	ok := len(v.Wrong) == 0
	if ok && n > 0 {
		_ = os.RemoveAll(o.dir)
	} else if n > 0 {
		fmt.Fprintf(e.Out, "%s: what it left is in %s\n", x.Name, o.dir)
	}
	c, err := x.Control(ctx, e)
	if err != nil {
		return nil, false, fmt.Errorf("%s control: %w", x.Name, err)
	}
	if len(c.Verdict.Wrong) == 0 {
		fmt.Fprintf(e.Out, "%s control: NOT caught: %s\n", x.Name, x.Mistake)
		return o, false, nil
	}
	fmt.Fprintf(e.Out, "%s control: caught (%s): %.300s\n", x.Name, x.Mistake, c.Verdict.Wrong[0])
	return o, ok, os.RemoveAll(c.dir)
}
