package partition

import (
	"context"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

const (
	// window is how many records are read before the first of them is folded: while they are
	// read, the plans that they name are fetched.
	window = 64
	// fetches is how many plans are fetched at the same time.
	fetches = 4
)

// ahead reads a journal ahead of what is made of it. Most of the time of a takeover goes into
// plans, each of which is a blob to fetch and to decode.
type ahead struct {
	find    func(ctx context.Context, hash string) (*plan.Plan, error)
	slots   chan struct{}
	records []journal.Record
	plans   map[string]<-chan found
}

type found struct {
	plan *plan.Plan
	err  error
}

func newAhead(find func(ctx context.Context, hash string) (*plan.Plan, error)) *ahead {
	return &ahead{find: find, slots: make(chan struct{}, fetches), plans: map[string]<-chan found{}}
}

// forget what was read: the reading begins again elsewhere.
func (a *ahead) forget() {
	a.records = nil
	clear(a.plans)
}

// add takes a record, and folds the oldest when there are many.
func (a *ahead) add(ctx context.Context, rec journal.Record, fold func(journal.Record) error) error {
	for _, e := range rec.Events {
		if e, ok := e.(run.Accepted); ok {
			a.fetch(ctx, e.PlanHash)
		}
	}
	a.records = append(a.records, rec)
	if len(a.records) <= window {
		return nil
	}
	return a.pop(fold)
}

// flush folds the rest.
func (a *ahead) flush(fold func(journal.Record) error) error {
	for len(a.records) > 0 {
		if err := a.pop(fold); err != nil {
			return err
		}
	}
	return nil
}

func (a *ahead) pop(fold func(journal.Record) error) error {
	rec := a.records[0]
	a.records = a.records[1:]
	err := fold(rec)
	for _, e := range rec.Events {
		if e, ok := e.(run.Accepted); ok {
			delete(a.plans, e.PlanHash)
		}
	}
	return err
}

// fetch begins to.
func (a *ahead) fetch(ctx context.Context, hash string) {
	if a.plans[hash] != nil {
		return
	}
	c := make(chan found, 1)
	a.plans[hash] = c
	go func() {
		a.slots <- struct{}{}
		defer func() { <-a.slots }()
		p, err := a.find(ctx, hash)
		c <- found{p, err}
	}()
}

// plan answers what was fetched, or fetches it.
func (a *ahead) plan(ctx context.Context, hash string) (*plan.Plan, error) {
	c := a.plans[hash]
	if c == nil {
		return a.find(ctx, hash)
	}
	delete(a.plans, hash) // it comes once
	f := <-c
	return f.plan, f.err
}
