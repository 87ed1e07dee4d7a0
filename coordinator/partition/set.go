package partition

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/run"
)

// Set is all partitions of a farm, and the map of projects to their homes.
type Set struct {
	parts []*Partition
	homes jetstream.KeyValue

	mu    sync.Mutex
	cache map[string]*Partition // by project: a home is for good
}

// NewSet makes n partitions that serve when Run runs.
func NewSet(ctx context.Context, n int, cfg Config) (*Set, error) {
	homes, err := cfg.JS.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: "SLIPWAY_HOMES", Description: "Project to its home partition", Storage: jetstream.FileStorage, Replicas: max(1, cfg.Replicas),
	})
	if err != nil {
		return nil, fmt.Errorf("open the map of projects: %w", err)
	}
	s := &Set{homes: homes, cache: map[string]*Partition{}}
	for i := range n {
		c := cfg
		c.Number = i
		s.parts = append(s.parts, New(c))
	}
	return s, nil
}

// Serve serves one partition while the context lives, as its owner.
func (s *Set) Serve(ctx context.Context, number int, l Lease) error {
	return s.parts[number].Serve(ctx, l)
}

// Run serves all partitions until the context ends or one of them cannot go on: for a
// process that has no rival.
func (s *Set) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range s.parts {
		g.Go(func() error { return p.Serve(ctx, Always{}) })
	}
	return g.Wait()
}

// All partitions, in the order of their numbers.
func (s *Set) All() []*Partition { return s.parts }

// Has is the partition of a project that has one; else ErrNotFound.
func (s *Set) Has(ctx context.Context, project string) (*Partition, error) {
	p, err := s.known(ctx, project)
	if err == nil && p == nil {
		err = fmt.Errorf("project %q: %w: it has no runs", project, ErrNotFound)
	}
	return p, err
}

// Home is the partition of a project; a new project is given one for good.
func (s *Set) Home(ctx context.Context, project string) (*Partition, error) {
	if p, err := s.known(ctx, project); p != nil || err != nil {
		return p, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(project))
	n := int(h.Sum32() % uint32(len(s.parts)))
	_, err := s.homes.Create(ctx, project, []byte(strconv.Itoa(n)))
	switch {
	case err == nil:
		return s.parts[n], nil
	case !errors.Is(err, jetstream.ErrKeyExists):
		return nil, fmt.Errorf("find the home of project %s: %w: %w", project, ErrUnavailable, err)
	}
	p, err := s.known(ctx, project) // somebody else was faster
	if p == nil && err == nil {
		err = fmt.Errorf("find the home of project %s: %w: it is being made", project, ErrUnavailable)
	}
	return p, err
}

// known is the partition of a project; nil: it has none yet.
func (s *Set) known(ctx context.Context, project string) (*Partition, error) {
	s.mu.Lock()
	p, ok := s.cache[project]
	s.mu.Unlock()
	if ok {
		return p, nil
	}
	e, err := s.homes.Get(ctx, project)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey):
		return nil, nil //nolint:nilnil // no home is an answer
	case err != nil:
		return nil, fmt.Errorf("find the home of project %s: %w: %w", project, ErrUnavailable, err)
	}
	if p, err = s.number(string(e.Value())); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache[project] = p
	return p, nil
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

// Candidates are the partitions that may have a run of that name, the likeliest first:
// names of projects may look like names of runs.
func (s *Set) Candidates(ctx context.Context, name string) ([]*Partition, error) {
	if name == Latest {
		return s.parts, nil
	}
	var out []*Partition
	for _, project := range projects(name) {
		home, err := s.known(ctx, project)
		if err != nil {
			return nil, err
		}
		if home != nil && !slices.Contains(out, home) {
			out = append(out, home)
		}
	}
	return out, nil
}

// Latest is a name of the newest run of all.
const Latest = "latest"

// projects that a run of that name may belong to: it is "<project>-<number>-<suffix>", or
// "<project>-<number>".
func projects(name string) []string {
	parts := strings.Split(name, "-")
	var out []string
	for _, back := range []int{2, 1} {
		i := len(parts) - back
		if i < 1 {
			continue
		}
		if _, err := strconv.ParseUint(parts[i], 10, 64); err == nil {
			out = append(out, strings.Join(parts[:i], "-"))
		}
	}
	return out
}

// Find runs a command on the partition that has the run, with the run's copy. A partition
// that is not served here is left out; when the run is not found elsewhere, that is the
// answer: ErrElsewhere.
func (s *Set) Find(ctx context.Context, name string, do func(*Tx, *run.Run) error) error {
	parts, err := s.Candidates(ctx, name)
	if err != nil {
		return err
	}
	var newest *run.Run
	var home *Partition
	var missing error
	var gone *ArchivedError
	for _, p := range parts {
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
		switch {
		case errors.As(err, &gone):
			return p.with(ctx, gone.Run, do)
		case errors.Is(err, ErrElsewhere):
			missing = err
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		}
	}
	switch {
	case home == nil && missing != nil:
		return fmt.Errorf("run %q: %w", name, missing)
	case home == nil:
		return fmt.Errorf("run %q: %w", name, ErrNotFound)
	}
	return s.FindIn(ctx, home, newest.ID, do)
}

// FindIn is Find in one partition.
func (s *Set) FindIn(ctx context.Context, p *Partition, name string, do func(*Tx, *run.Run) error) error {
	return p.with(ctx, name, do)
}

// List answers runs without tasks of one project or all, newest first: those whose
// partitions are served here.
func (s *Set) List(ctx context.Context, project string, limit int) ([]*run.Run, error) {
	var out []*run.Run
	for _, p := range s.parts {
		err := p.Do(ctx, func(tx *Tx) error {
			out = append(out, tx.Runs(project, limit)...)
			return nil
		})
		if err != nil && !errors.Is(err, ErrElsewhere) {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b *run.Run) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	return out[:min(len(out), limit)], nil
}
