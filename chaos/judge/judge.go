// Package judge says what is wrong with what a farm did: its journals, read to the end once
// every coordinator is gone, are compared with what clients were told, with what was served
// last, and with the effects that the witness saw.
package judge

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/slipway-build/slipway/chaos/load"
	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Evidence of an experiment.
type Evidence struct {
	NATS       string
	Replicas   int
	Partitions int
	Told       []load.Told
	Served     map[string]*pb.Run // at the end, by id
	Entries    []witness.Entry
	Elsewhere  bool // deployers are real: what they do is on clusters, and the witness has not seen it
}

// Verdict is what came of it.
type Verdict struct {
	Wrong     []string       `json:"wrong,omitempty"`
	Runs      int            `json:"runs"`
	States    map[string]int `json:"states"` // how runs ended
	Attempts  int            `json:"attempts"`
	Lost      int            `json:"lost"`      // attempts whose lease ran out
	Owners    int            `json:"owners"`    // claims of partitions
	Effects   int            `json:"effects"`   // that the witness made
	Repeated  int            `json:"repeated"`  // of them: again, under a newer fence
	Refused   int            `json:"refused"`   // that it did not make: their fence was old
	Histories int            `json:"histories"` // of runs and leases, that were checked for an order
	Limited   int            `json:"limited"`   // attempts that counted for a limit of a team or a group
	Aborted   int            `json:"aborted"`   // ends of attempts that were answered ABORTED
}

// read is one partition's journal.
type read struct {
	records []journal.Record
	plans   map[string]*plan.Plan
	state   *project.State
}

// Judge reads the journals, whose owners must be gone: it becomes the last one.
func Judge(ctx context.Context, e Evidence) (*Verdict, error) {
	log := slog.New(slog.DiscardHandler)
	js, hangUp, err := queue.Connect(ctx, queue.Address{URL: e.NATS}, "judge", log)
	if err != nil {
		return nil, err
	}
	defer hangUp()
	blobs, err := queue.Asked(ctx, log, func(ctx context.Context) (*artifact.Store, error) { return artifact.Open(ctx, js, e.Replicas) })
	if err != nil {
		return nil, err
	}
	v := &Verdict{States: map[string]int{}}
	all := &facts{runs: map[string]*partitiontest.Past{}, ended: map[string]run.State{}, keys: map[string]string{}, plans: map[string]*plan.Plan{}, state: map[string]*run.Run{}}
	for n := range e.Partitions {
		r := &read{plans: map[string]*plan.Plan{}}
		r.state = project.New(func(hash string) (*plan.Plan, error) {
			p, err := blobs.Plan(ctx, hash)
			r.plans[hash] = p
			return p, err
		})
		j, err := queue.Asked(ctx, log, func(ctx context.Context) (*journal.Journal, error) {
			return journal.Open(ctx, js, journal.Config{Partition: n, Owner: "judge", Replicas: e.Replicas, Log: log, Now: time.Now})
		})
		if err != nil {
			return nil, err
		}
		if _, err := j.Claim(ctx, r.fold); err != nil {
			v.bad("I10: journal %d: %v", n, err)
			continue
		}
		v.Owners += int(r.records[len(r.records)-1].Epoch) - 1
		h := partitiontest.ReadHistory(r.records, r.plans)
		for _, w := range h.Wrong {
			v.bad("journal %d: %s", n, w)
		}
		all.add(h, r.state)
	}
	v.runs(all, e)
	v.effects(all, e.Entries, e.Elsewhere)
	v.limits(all, e.Entries)
	var wrong []string
	v.Histories, wrong = Linear(e.Told, e.Entries)
	v.Wrong = append(v.Wrong, wrong...)
	return v, nil
}

func (r *read) fold(rec journal.Record) error {
	r.records = append(r.records, rec)
	for _, e := range rec.Events {
		if err := r.state.Apply(e, rec.Time); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
	}
	return nil
}

func (v *Verdict) bad(format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Sprintf(format, args...))
}

// facts are what all journals say.
type facts struct {
	runs  map[string]*partitiontest.Past
	ended map[string]run.State
	keys  map[string]string // "project key" → run
	plans map[string]*plan.Plan
	state map[string]*run.Run
}

func (f *facts) add(h *partitiontest.History, s *project.State) {
	for id, p := range h.Runs {
		f.runs[id] = p
		if r, ok := s.Run(id); ok {
			f.state[id] = r
			f.plans[id] = r.Plan
		}
	}
	for id, s := range h.Ended {
		f.ended[id] = s
	}
	for k, id := range h.Keys {
		f.keys[k] = id
	}
}

// runs: I1, I2, I3, and I9.
func (v *Verdict) runs(f *facts, e Evidence) {
	v.Runs = len(f.runs)
	for id, p := range f.runs {
		s, ok := f.ended[id]
		if !ok {
			v.bad("I2: run %s has not ended", id)
		}
		v.States[string(s)]++
		for _, list := range p.Attempts {
			v.Attempts += len(list)
			for _, a := range list {
				if a.Outcome == run.OutcomeLost {
					v.Lost++
				}
			}
		}
	}
	codec := wire.NewCodec()
	for _, t := range e.Told {
		r, ok := f.state[t.Run]
		switch {
		case !ok:
			v.bad("I1: %s of %s was answered with run %s, which no journal has", t.Kind, t.Key, t.Run)
		case t.Kind == load.Submit && f.keys[r.Project+" "+t.Key] != t.Run:
			v.bad("I1: the key %s was answered with run %s, and the journal has %q", t.Key, t.Run, f.keys[r.Project+" "+t.Key])
		case t.Kind == load.Get && ended(t.State) && t.State != codec.Run(r).GetState():
			v.bad("I3: run %s was %s, and is %s in the journal", t.Run, t.State, r.State)
		}
	}
	for id, served := range e.Served {
		if r, ok := f.state[id]; ok {
			if d := cmp.Diff(served, codec.FullRun(r), protocmp.Transform()); d != "" {
				v.bad("I9: run %s as it was served, and as the journal adds up (-served +journal):\n%s", id, d)
			}
		}
	}
}

func ended(s pb.RunState) bool {
	return s == pb.RunState_RUN_STATE_SUCCEEDED || s == pb.RunState_RUN_STATE_FAILED || s == pb.RunState_RUN_STATE_CANCELED
}

// Add what came of another farm.
func (v *Verdict) Add(o *Verdict) {
	v.Wrong = append(v.Wrong, o.Wrong...)
	for s, n := range o.States {
		v.States[s] += n
	}
	v.Runs += o.Runs
	v.Attempts += o.Attempts
	v.Lost += o.Lost
	v.Owners += o.Owners
	v.Effects += o.Effects
	v.Repeated += o.Repeated
	v.Refused += o.Refused
	v.Aborted += o.Aborted
	v.Limited += o.Limited
	v.Histories += o.Histories
}
