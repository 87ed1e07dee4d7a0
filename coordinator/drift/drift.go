// Package drift has clusters compared with what was released to them, and brought back, where targets.yaml asks for that.
//
// It decides nothing: when something is to be done, and how often an object is brought back, is package project's business, and what
// has to outlive a coordinator is in the journal, with the runs that compare and restore. What is kept here is when deployers last
// saw a change. A coordinator that takes a partition over does not know that, and has everything compared once.
package drift

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/submit"
)

const (
	// By is who asks for the runs.
	By = "drift"

	every      = time.Second      // how often it is asked whether anything is to be done
	fresh      = 10 * time.Second // how long targets.yaml is believed
	patience   = time.Minute      // for one run to begin
	again      = 30 * time.Second // after one could not
	atOnce     = 4                // runs that begin side by side
	maxLogged  = 20               // objects of one comparison that are logged
	maxNoticed = 10_000           // environments
	answerable = 5 * time.Second  // for a partition to say what it knows
)

// Config of a Keeper.
type Config struct {
	Partitions *partition.Set
	// Targets of a project, as they are now; nil: it has none.
	Targets func(project string) (*pipeline.Targets, error)
	// Begin begins a run that is made of the one that find answers: Submitter.Back.
	Begin func(ctx context.Context, req submit.BackRequest, what submit.Of, find func() (*run.Run, error)) (id string, err error)
	Log   *slog.Logger
	Now   func() time.Time
}

// Keeper asks for comparisons and restores. Notice may be called from anywhere.
type Keeper struct {
	cfg     Config
	objects *prometheus.GaugeVec

	mu      sync.Mutex
	noticed map[place]time.Time

	policies map[string]policies // by project
	seen     map[place]*seen
}

type place struct{ project, environment string }

type policies struct {
	at  time.Time
	all map[string]project.DriftPolicy // by environment; none: nobody is to look
}

// seen is what was told of an environment.
type seen struct {
	drift project.Drift
	spent string    // the comparison after which nothing was brought back
	later time.Time // nothing is begun before
}

// New makes a Keeper, whose metrics are registered.
func New(cfg Config, registry prometheus.Registerer) *Keeper {
	k := &Keeper{
		cfg: cfg, noticed: map[place]time.Time{}, policies: map[string]policies{}, seen: map[place]*seen{},
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "slipway_drifted_objects", Help: "Objects that are not as they were released, where targets.yaml asks to look for them.",
		}, []string{"project", "environment", "cluster"}),
	}
	registry.MustRegister(k.objects)
	return k
}

// Notice says that somebody changed something in an environment.
func (k *Keeper) Notice(name, environment string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := (place{name, environment}); len(k.noticed) < maxNoticed || !k.noticed[at].IsZero() {
		k.noticed[at] = k.cfg.Now()
	}
}

// Run looks until the context ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		k.Look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Look asks once whether anything is to be done in the environments of this coordinator, and does it. Run calls it every second.
func (k *Keeper) Look(ctx context.Context) {
	begin, _ := errgroup.WithContext(ctx)
	begin.SetLimit(atOnce)
	here := map[place]bool{}
	for _, p := range k.cfg.Partitions.All() {
		if !p.Here() {
			continue
		}
		for name, environments := range k.known(ctx, p) {
			for _, e := range environments {
				if policy, ok := k.policies[name].all[e.Name]; ok {
					here[place{name, e.Name}] = true
					if do := k.consider(ctx, p, name, e, policy); do != nil {
						begin.Go(do)
					}
				}
			}
		}
	}
	_ = begin.Wait() // each has said itself what went wrong
	for at := range k.seen {
		if !here[at] { // another coordinator looks after it, or nobody is to
			delete(k.seen, at)
			k.objects.DeletePartialMatch(prometheus.Labels{"project": at.project, "environment": at.environment})
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.noticed, func(at place, when time.Time) bool { return !here[at] && k.cfg.Now().After(when.Add(time.Minute)) })
}

// known are the environments of the projects of a partition for which targets.yaml asks to look.
func (k *Keeper) known(ctx context.Context, p *partition.Partition) map[string][]project.Environment {
	ctx, cancel := context.WithTimeout(ctx, answerable)
	defer cancel()
	var names []string
	if err := p.Do(ctx, func(tx *partition.Tx) error { names = tx.State().Names(); return nil }); err != nil {
		return nil // it is asked again
	}
	names = slices.DeleteFunc(names, func(name string) bool { return len(k.of(ctx, name)) == 0 })
	if len(names) == 0 {
		return nil
	}
	out := map[string][]project.Environment{}
	err := p.Do(ctx, func(tx *partition.Tx) error {
		for _, name := range names {
			out[name] = tx.Environments(name)
		}
		return nil
	})
	if err != nil {
		return nil
	}
	return out
}

// of are the policies of a project.
func (k *Keeper) of(ctx context.Context, name string) map[string]project.DriftPolicy {
	known, ok := k.policies[name]
	now := k.cfg.Now()
	if ok && now.Before(known.at.Add(fresh)) {
		return known.all
	}
	t, err := k.cfg.Targets(name)
	if err != nil { // whoever submits a run is told; until it is mended the old word holds
		k.cfg.Log.WarnContext(ctx, "targets are not read, so that drift is looked after as before", "project", name, "err", err)
		k.policies[name] = policies{now, known.all}
		return known.all
	}
	all := map[string]project.DriftPolicy{}
	if t != nil && t.Project == name {
		for _, e := range t.Environments {
			if e.Drift != pipeline.DriftNone {
				all[e.Name] = project.DriftPolicy{Restore: e.Drift == pipeline.DriftRestore, Every: e.Every}
			}
		}
	}
	k.policies[name] = policies{now, all}
	return all
}

// consider answers what is to be done about an environment; nil: nothing.
func (k *Keeper) consider(ctx context.Context, p *partition.Partition, name string, e project.Environment, policy project.DriftPolicy) func() error {
	at, now := place{name, e.Name}, k.cfg.Now()
	s := k.tell(ctx, at, e.Drift)
	if now.Before(s.later) {
		return nil
	}
	k.mu.Lock()
	noticed := k.noticed[at]
	k.mu.Unlock()
	req := submit.BackRequest{Project: name, Environment: e.Name, By: By}
	var what submit.Of
	step, objects := e.Next(policy, noticed, now)
	switch step {
	case project.DriftWait:
		return nil
	case project.DriftCompare:
		req.What, req.Key, what = "compare", fmt.Sprintf("drift in %s at %d", e.Name, now.UnixNano()), submit.Comparing
	case project.DriftRestore:
		// By that key once after each comparison.
		req.What, req.Key, what = "restore", fmt.Sprintf("drift in %s after %s", e.Name, e.Drift.Run), submit.TakingBack(ids(objects))
	case project.DriftSpent:
		if s.spent != e.Drift.Run {
			s.spent = e.Drift.Run
			for _, o := range objects {
				k.cfg.Log.ErrorContext(ctx, "drift is left as it is: restored as often as may be within an hour, and changed again; talk to who does it",
					append(describe(at, o), "restored", project.MaxRestores)...)
			}
		}
		return nil
	}
	return func() error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		id, err := k.cfg.Begin(ctx, req, what, func() (old *run.Run, err error) {
			err = p.Do(ctx, func(tx *partition.Tx) (err error) { old, err = tx.Serving(name, e.Name); return err })
			return old, err
		})
		switch {
		case errors.Is(err, partition.ErrNothing):
			s.later = k.cfg.Now().Add(again) // no release is known any more, or none yet
		case err != nil:
			s.later = k.cfg.Now().Add(again)
			k.cfg.Log.WarnContext(ctx, "drift: no run begins yet", "to", req.What, "project", name, "environment", e.Name, "err", err)
		case step == project.DriftRestore:
			k.cfg.Log.WarnContext(ctx, "drift is taken back", "project", name, "environment", e.Name, "run", id, "objects", strings.Join(ids(objects), " "))
		}
		return nil
	}
}

// tell logs what a comparison found that was not known, and counts it.
func (k *Keeper) tell(ctx context.Context, at place, d project.Drift) *seen {
	s, ok := k.seen[at]
	if !ok {
		s = &seen{drift: d} // told by the coordinator before, who may have heard of more
		k.Notice(at.project, at.environment)
		k.seen[at] = s
		k.count(at, nil, d)
	}
	if s.drift.Run == d.Run {
		s.drift = d
		return s
	}
	before := s.drift
	s.drift = d
	k.count(at, before.Objects, d)
	if d.Problem != "" && d.Problem != before.Problem {
		k.cfg.Log.WarnContext(ctx, "drift is not known everywhere", "project", at.project, "environment", at.environment, "run", d.Run, "err", d.Problem)
	}
	told := 0
	for _, o := range d.Objects {
		if slices.ContainsFunc(before.Objects, o.Same) {
			continue
		}
		if told++; told > maxLogged {
			k.cfg.Log.WarnContext(ctx, "and more drifted", "project", at.project, "environment", at.environment, "run", d.Run, "objects", len(d.Objects))
			return s
		}
		k.cfg.Log.WarnContext(ctx, "drifted", describe(at, o)...)
	}
	if len(d.Objects) == 0 && len(before.Objects) > 0 {
		k.cfg.Log.InfoContext(ctx, "no drift any more", "project", at.project, "environment", at.environment, "run", d.Run)
	}
	return s
}

func (k *Keeper) count(at place, before []project.Drifted, d project.Drift) {
	n := map[string]int{}
	for _, o := range before {
		n[o.Cluster] = 0
	}
	for _, o := range d.Objects {
		n[o.Cluster]++
	}
	for cluster, n := range n {
		k.objects.WithLabelValues(at.project, at.environment, cluster).Set(float64(n))
	}
}

func ids(objects []project.Drifted) []string {
	out := make([]string, 0, len(objects))
	for _, o := range objects {
		out = append(out, o.ID())
	}
	return out
}

func describe(at place, o project.Drifted) []any {
	out := []any{"project", at.project, "environment", at.environment, "cluster", o.Cluster, "service", o.Service, "object", o.Object, "fields", strings.Join(o.Fields, " ")}
	if o.By != "" {
		out = append(out, "by", o.By)
	}
	if !o.Changed.IsZero() {
		out = append(out, "changed", o.Changed)
	}
	return out
}
