package partition

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/run"
)

// Set is all partitions of a farm, and the map of projects to their homes.
type Set struct {
	parts []*Partition
	homes jetstream.KeyValue
}

// NewSet makes n partitions that serve when Run runs.
func NewSet(ctx context.Context, n int, cfg Config) (*Set, error) {
	homes, err := cfg.JS.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "SLIPWAY_HOMES", Description: "Project to its home partition", Storage: jetstream.FileStorage, Replicas: max(1, cfg.Replicas),
	})
	if err != nil {
		return nil, fmt.Errorf("open the map of projects: %w", err)
	}
	s := &Set{homes: homes}
	for i := range n {
		c := cfg
		c.Number = i
		s.parts = append(s.parts, New(c))
	}
	return s, nil
}

// Run serves all partitions until the context ends or one of them cannot go on.
func (s *Set) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range s.parts {
		g.Go(func() error { return p.Run(ctx) })
	}
	return g.Wait()
}

// All partitions, in the order of their numbers.
func (s *Set) All() []*Partition { return s.parts }

// Home is the partition of a project; a new project is given one for good.
func (s *Set) Home(ctx context.Context, project string) (*Partition, error) {
	e, err := s.homes.Get(ctx, project)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(project))
		n := int(h.Sum32() % uint32(len(s.parts)))
		_, err = s.homes.Create(ctx, project, []byte(strconv.Itoa(n)))
		if err == nil {
			return s.parts[n], nil
		}
		if errors.Is(err, jetstream.ErrKeyExists) { // somebody else was faster
			e, err = s.homes.Get(ctx, project)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find the home of project %s: %w", project, err)
	}
	return s.number(string(e.Value()))
}

func (s *Set) number(text string) (*Partition, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n >= len(s.parts) {
		return nil, fmt.Errorf("partition %q: %w: there are %d", text, ErrNotFound, len(s.parts))
	}
	return s.parts[n], nil
}

// Of is the partition of a task's token.
func (s *Set) Of(token string) (*Partition, error) {
	n, err := Home(token)
	if err != nil {
		return nil, err
	}
	return s.number(strconv.Itoa(n))
}

// Find runs a command on the partition that has the run, with the run's copy.
func (s *Set) Find(ctx context.Context, name string, do func(*Tx, *run.Run) error) error {
	var newest *run.Run
	var home *Partition
	for _, p := range s.parts {
		err := p.Do(ctx, func(tx *Tx) error {
			r, err := tx.Run(name)
			if err != nil {
				return err
			}
			if newest == nil || r.AcceptedAt.After(newest.AcceptedAt) {
				newest, home = r, p
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if home == nil {
		return fmt.Errorf("run %q: %w", name, ErrNotFound)
	}
	return home.Do(ctx, func(tx *Tx) error {
		r, err := tx.Run(newest.ID)
		if err != nil {
			return err
		}
		return do(tx, r)
	})
}

// List answers runs without tasks of one project or all, newest first.
func (s *Set) List(ctx context.Context, project string, limit int) ([]*run.Run, error) {
	var out []*run.Run
	for _, p := range s.parts {
		err := p.Do(ctx, func(tx *Tx) error {
			out = append(out, tx.Runs(project, limit)...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b *run.Run) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	return out[:min(len(out), limit)], nil
}
