// Package readmodel keeps in Redis what lists of runs show, so that looking at lists
// costs the partitions nothing (DESIGN D6).
//
// Everything in it can be lost: it is built from the partitions at the start, and again
// whenever Redis was away, was flushed, or holds something that this program did not
// write. Until then it answers nothing, and the caller asks the partitions. It decides
// nothing, and what it answers may be a moment old; it says from when.
package readmodel

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	// Keep is how many runs the model holds by default, the newest.
	Keep = 2000
	// backlog bounds the runs whose change was not written yet.
	backlog = 4096
	// patience is how long Redis may take: the partitions can answer as well.
	patience = 500 * time.Millisecond
	// look is how often the marker is looked for when nothing changes.
	look = 2 * time.Second
)

// Config of a model.
type Config struct {
	Address  string // of Redis, "host:port"
	Password string
	// Key authenticates what is written; see OpenKey.
	Key Key
	// Keep bounds the runs that are held; 0: Keep.
	Keep int
	Log  *slog.Logger
	Now  func() time.Time
}

// Source answers the newest runs of all projects, strictly.
type Source func(ctx context.Context, limit int) ([]*run.Run, error)

// Model is written by Run and may be read at any time.
type Model struct {
	cfg    Config
	codec  *wire.Codec
	client *redis.Client
	wake   chan struct{}
	index  index // of the goroutine in Run

	mu         sync.Mutex
	pending    map[string]*run.Run // newest state of runs that changed
	since      time.Time           // when the oldest pending change came
	generation string              // of what is in Redis; empty: incomplete
}

// New makes a model that answers nothing before Run has built it.
func New(cfg Config) *Model {
	if cfg.Keep == 0 {
		cfg.Keep = Keep
	}
	return &Model{
		cfg: cfg, codec: wire.NewCodec(), wake: make(chan struct{}, 1), pending: map[string]*run.Run{},
		client: redis.NewClient(&redis.Options{
			Addr: cfg.Address, Password: cfg.Password, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, PoolSize: 8,
			DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, ContextTimeoutEnabled: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}),
	}
}

// Changed takes a committed change. It never blocks: beyond the backlog changes are
// dropped and the model is built again.
func (m *Model) Changed(r *run.Run) {
	m.mu.Lock()
	if _, ok := m.pending[r.ID]; !ok && len(m.pending) >= backlog {
		m.generation = ""
		clear(m.pending)
	} else {
		if len(m.pending) == 0 {
			m.since = m.cfg.Now()
		}
		m.pending[r.ID] = r
	}
	m.mu.Unlock()
	m.signal()
}

// Forget makes the model answer nothing until it was built again: the source has other
// runs than before.
func (m *Model) Forget() { m.distrust("what this coordinator owns has changed", nil) }

// distrust makes the model answer nothing until it was built again.
func (m *Model) distrust(why string, err error) {
	m.mu.Lock()
	had := m.generation != ""
	m.generation = ""
	m.mu.Unlock()
	if had {
		m.cfg.Log.Warn("read model is incomplete, lists come from the partitions until it is built again", "why", why, "err", err)
	}
	m.signal()
}

func (m *Model) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run writes what changes until the context ends.
func (m *Model) Run(ctx context.Context, source Source) error {
	defer m.client.Close()
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 5*time.Second
	for ctx.Err() == nil {
		if m.current() != "" {
			m.step(ctx)
			continue
		}
		err := m.rebuild(ctx, source)
		if err == nil {
			b.Reset()
			continue
		}
		wait := b.NextBackOff()
		if ctx.Err() == nil {
			m.cfg.Log.WarnContext(ctx, "read model cannot be built, lists come from the partitions", "redis", m.cfg.Address, "err", err, "wait", wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return nil
}

func (m *Model) current() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation
}

// step waits for changes and writes them, or looks whether Redis still has the model.
func (m *Model) step(ctx context.Context) {
	idle := time.NewTimer(look)
	defer idle.Stop()
	select {
	case <-m.wake:
	case <-idle.C:
	case <-ctx.Done():
		return
	}
	m.mu.Lock()
	generation := m.generation
	batch := make([]*run.Run, 0, len(m.pending))
	for _, r := range m.pending {
		batch = append(batch, r)
	}
	m.mu.Unlock()
	if generation == "" {
		return
	}
	if err := m.write(ctx, generation, batch); err != nil {
		if ctx.Err() == nil {
			m.distrust("a change was not written", err)
		}
		return
	}
	m.written(batch)
}

// written takes a batch off what is pending, but for runs that changed again.
func (m *Model) written(batch []*run.Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range batch {
		if m.pending[r.ID] == r {
			delete(m.pending, r.ID)
		}
	}
	if len(m.pending) > 0 {
		m.since = m.cfg.Now() // later than the truth by one write at most
	}
}

// write stores changed rows, and the lists that they are new in. It fails when the
// marker of the generation is not there: then the rest is not there either.
func (m *Model) write(ctx context.Context, generation string, batch []*run.Run) error {
	s := sealer{m.cfg.Key, generation}
	pipe := m.client.TxPipeline()
	marker := pipe.Get(ctx, m.cfg.Key.name(markerName))
	lists := map[string]bool{}
	for _, r := range batch {
		added, dropped := m.index.put(entry{r.ID, r.Project, r.AcceptedAt}, m.cfg.Keep)
		if !m.index.has(r.ID) {
			continue
		}
		if err := m.row(ctx, pipe, s, r); err != nil {
			return err
		}
		if added { // perhaps the first of its project
			lists[allRuns], lists[ofProject(r.Project)], lists[markerName] = true, true, true
		}
		for _, e := range dropped {
			pipe.Unlink(ctx, m.cfg.Key.name(rowOf(e.id)))
			lists[ofProject(e.project)] = true
		}
	}
	for l := range lists {
		name := m.cfg.Key.name(l)
		pipe.Set(ctx, name, s.seal(name, m.index.encode(l)), 0)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("write to Redis: %w", err)
	}
	if _, ok := s.open(m.cfg.Key.name(markerName), marker.Val()); !ok {
		return fmt.Errorf("the marker is not of generation %s", generation)
	}
	return nil
}

func (m *Model) row(ctx context.Context, pipe redis.Pipeliner, s sealer, r *run.Run) error {
	data, err := encodeRun(m.codec.Run(r))
	if err != nil {
		return fmt.Errorf("encode run %s: %w", r.ID, err)
	}
	name := m.cfg.Key.name(rowOf(r.ID))
	pipe.Set(ctx, name, s.seal(name, data), 0)
	return nil
}

// rebuild replaces everything by what the partitions say, in one transaction.
func (m *Model) rebuild(ctx context.Context, source Source) error {
	if err := m.client.Ping(ctx).Err(); err != nil { // the partitions are asked only if it is of use
		return fmt.Errorf("reach Redis: %w", err)
	}
	// What is pending is in the source's answer; what comes from now on is written after it.
	m.mu.Lock()
	clear(m.pending)
	m.mu.Unlock()
	runs, err := source(ctx, m.cfg.Keep)
	if err != nil {
		return fmt.Errorf("read runs: %w", err)
	}
	old, err := m.scan(ctx)
	if err != nil {
		return err
	}
	s := sealer{m.cfg.Key, rand.Text()}
	m.index = newIndex(len(runs) >= m.cfg.Keep)
	pipe := m.client.TxPipeline()
	if len(old) > 0 {
		pipe.Unlink(ctx, old...)
	}
	for _, r := range runs {
		m.index.put(entry{r.ID, r.Project, r.AcceptedAt}, m.cfg.Keep)
		if err := m.row(ctx, pipe, s, r); err != nil {
			return err
		}
	}
	for _, l := range append(m.index.names(), markerName) {
		name := m.cfg.Key.name(l)
		pipe.Set(ctx, name, s.seal(name, m.index.encode(l)), 0)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("write to Redis: %w", err)
	}
	m.mu.Lock()
	m.generation = s.generation
	m.mu.Unlock()
	m.signal()
	m.cfg.Log.InfoContext(ctx, "read model built", "runs", len(runs), "redis", m.cfg.Address)
	return nil
}

// scan finds the names that an earlier generation left.
func (m *Model) scan(ctx context.Context) ([]string, error) {
	var out []string
	it := m.client.Scan(ctx, 0, m.cfg.Key.name("*"), 1000).Iterator()
	for it.Next(ctx) {
		out = append(out, it.Val())
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("look what is in Redis: %w", err)
	}
	return out, nil
}

// List answers runs of a project or of all, newest first, with everything committed
// before asOf. Not ok: the model cannot tell; ask the partitions.
func (m *Model) List(ctx context.Context, project string, limit int) (runs []*pb.Run, asOf time.Time, ok bool) {
	m.mu.Lock()
	generation := m.generation
	asOf = m.cfg.Now()
	if len(m.pending) > 0 {
		asOf = m.since
	}
	m.mu.Unlock()
	if generation == "" {
		return nil, time.Time{}, false
	}
	runs, enough, err := m.read(ctx, sealer{m.cfg.Key, generation}, project, limit)
	if err != nil {
		// A list that was cut while it was read looks the same as a forged one: once more.
		runs, enough, err = m.read(ctx, sealer{m.cfg.Key, generation}, project, limit)
	}
	if err != nil && ctx.Err() == nil {
		m.distrust("a list could not be read", err)
	}
	return runs, asOf, err == nil && enough
}

func (m *Model) read(ctx context.Context, s sealer, project string, limit int) (runs []*pb.Run, enough bool, err error) {
	list := allRuns
	if project != "" {
		list = ofProject(project)
	}
	ids, enough, err := m.ids(ctx, s, list, limit)
	if err != nil || !enough || len(ids) == 0 {
		return nil, enough, err
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = m.cfg.Key.name(rowOf(id))
	}
	values, err := m.client.MGet(ctx, names...).Result()
	if err != nil {
		return nil, false, fmt.Errorf("read rows: %w", err)
	}
	for i, v := range values {
		text, _ := v.(string)
		data, ok := s.open(names[i], text)
		if !ok {
			return nil, false, fmt.Errorf("row %s is not what was written", ids[i])
		}
		r, err := decodeRun(data)
		if err != nil {
			return nil, false, fmt.Errorf("row %s: %w", ids[i], err)
		}
		runs = append(runs, r)
	}
	return runs, true, nil
}

// ids of a list. Not enough: older ones were cut off that the limit asks for.
func (m *Model) ids(ctx context.Context, s sealer, list string, limit int) (ids []string, enough bool, err error) {
	marker, name := m.cfg.Key.name(markerName), m.cfg.Key.name(list)
	values, err := m.client.MGet(ctx, marker, name).Result()
	if err != nil {
		return nil, false, fmt.Errorf("read list: %w", err)
	}
	mark, _ := values[0].(string)
	data, ok := s.open(marker, mark)
	if !ok {
		return nil, false, fmt.Errorf("the marker is not of generation %s", s.generation)
	}
	if !named(data, list) { // a project without runs
		return nil, complete(data), nil
	}
	text, _ := values[1].(string)
	data, ok = s.open(name, text)
	if !ok {
		return nil, false, fmt.Errorf("%s is not what was written", list)
	}
	ids = listed(data)
	return ids[:min(len(ids), limit)], len(ids) >= limit || complete(data), nil
}
