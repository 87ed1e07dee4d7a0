// Package cordon remembers, by the names of workers, which of them are to be given no task,
// where every coordinator of the farm sees it. What a cordon keeps from a worker is the
// business of session; who may set one, of the API.
package cordon

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const bucket = "SLIPWAY_CORDONS"

const (
	// again is how often everything is read anew: nothing tells a silent bucket from one that
	// is not heard any more.
	again = time.Minute
	// pause is how long Run waits after an error.
	pause = time.Second
)

// Cordon of the workers of a name.
type Cordon struct {
	Name   string    `json:"name"`
	Reason string    `json:"reason,omitempty"` // for people
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
}

// Store is the cordons of a farm.
type Store struct {
	js       jetstream.JetStream
	replicas int
	log      *slog.Logger

	mu      sync.RWMutex
	kv      jetstream.KeyValue
	made    time.Time        // when the bucket was that known is of
	known   map[string]entry // by name
	changed chan struct{}    // closed and made anew at each change
}

// entry is what the bucket said last of a name.
type entry struct {
	cordon   Cordon
	set      bool // false: it was taken back
	revision uint64
}

// Open makes the bucket if it is not there, and reads it: nobody may be given a task before.
func Open(ctx context.Context, js jetstream.JetStream, replicas int, log *slog.Logger) (*Store, error) {
	s := &Store{js: js, replicas: replicas, log: log, known: map[string]entry{}, changed: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, s.read(ctx, func(<-chan jetstream.KeyValueEntry) error { return nil })
}

func (s *Store) open(ctx context.Context) error {
	kv, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucket, Description: "Workers that are given no task", Storage: jetstream.FileStorage, Replicas: max(1, s.replicas),
	})
	if err != nil {
		return fmt.Errorf("open the cordons of workers: %w", err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return fmt.Errorf("open the cordons of workers: %w", err)
	}
	var made time.Time
	if b, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		made = b.StreamInfo().Created
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kv = kv; !s.made.Equal(made) { // what was known is of a bucket that is lost
		s.made = made
		clear(s.known)
		s.news()
	}
	return nil
}

// Run follows what other coordinators write, until the context ends.
func (s *Store) Run(ctx context.Context) error {
	for {
		err := s.open(ctx)
		if err == nil {
			err = s.read(ctx, func(updates <-chan jetstream.KeyValueEntry) error { return s.follow(ctx, updates) })
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to stop, and that is what the error says
		}
		if err == nil {
			continue
		}
		s.log.WarnContext(ctx, "cordons of workers are not seen, looking again", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// ErrUnavailable: NATS does not answer. Whether a cordon was set is not known; ask again.
var ErrUnavailable = errors.New("the cordons of workers cannot be reached")

var errEnded = errors.New("the bucket is not heard any more")

// read takes everything that is there, and has then go on with what comes.
func (s *Store) read(ctx context.Context, then func(<-chan jetstream.KeyValueEntry) error) error {
	w, err := s.bucket().WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("read the cordons of workers: %w", err)
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return fmt.Errorf("read the cordons of workers: %w", errEnded)
			case e == nil: // everything that was there
				return then(w.Updates())
			}
			s.see(e)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Store) follow(ctx context.Context, updates <-chan jetstream.KeyValueEntry) error {
	enough := time.NewTimer(again)
	defer enough.Stop()
	for {
		select {
		case e, ok := <-updates:
			if !ok {
				return errEnded
			}
			if e != nil {
				s.see(e)
			}
		case <-enough.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// see takes what the bucket says of a key.
func (s *Store) see(e jetstream.KeyValueEntry) {
	name, err := nameOf(e.Key())
	if err != nil {
		s.log.Warn("cordon of a worker cannot be read", "key", e.Key(), "err", err)
		return
	}
	n := entry{set: e.Operation() == jetstream.KeyValuePut, revision: e.Revision()}
	if n.set {
		if err := json.Unmarshal(e.Value(), &n.cordon); err != nil {
			s.log.Warn("cordon of a worker cannot be read", "worker", name, "err", err)
		}
		n.cordon.Name = name // one that cannot be read is one still
	}
	s.take(name, n)
}

func (s *Store) take(name string, n entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.known[name]
	if old.revision >= n.revision {
		return
	}
	s.known[name] = n
	if old.set != n.set || n.set && old.cordon != n.cordon {
		s.news()
	}
}

// news wakes those who wait for a change; mu is held.
func (s *Store) news() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) bucket() jetstream.KeyValue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kv
}

// Of answers the cordon of the workers of a name; not ok: there is none.
func (s *Store) Of(name string) (Cordon, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.known[name]
	return e.cordon, e.set
}

// All cordons, by name.
func (s *Store) All() []Cordon {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Cordon
	for _, e := range s.known {
		if e.set {
			out = append(out, e.cordon)
		}
	}
	slices.SortFunc(out, func(a, b Cordon) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Changed is closed at the next change.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Set cordons the workers of a name, or gives their cordon another reason. It is durable, and
// holds here, when it answers.
func (s *Store) Set(ctx context.Context, c Cordon) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("cordon worker %s: %w", c.Name, err)
	}
	if _, err := s.bucket().Put(ctx, keyOf(c.Name), data); err != nil {
		return fmt.Errorf("cordon worker %s: %w: %w", c.Name, ErrUnavailable, err)
	}
	return s.Refresh(ctx, c.Name)
}

// Lift takes the cordon of a name back, if there is one.
func (s *Store) Lift(ctx context.Context, name string) error {
	if err := s.Refresh(ctx, name); err != nil { // another may have set it just now
		return err
	}
	if _, ok := s.Of(name); !ok {
		return nil
	}
	if err := s.bucket().Delete(ctx, keyOf(name)); err != nil {
		return fmt.Errorf("uncordon worker %s: %w: %w", name, ErrUnavailable, err)
	}
	return s.Refresh(ctx, name)
}

// Refresh reads what another coordinator may have written just now.
func (s *Store) Refresh(ctx context.Context, name string) error {
	history, err := s.bucket().History(ctx, keyOf(name)) // which has also that it was taken back
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the cordon of worker %s: %w: %w", name, ErrUnavailable, err)
	}
	for _, e := range history {
		s.see(e)
	}
	return nil
}

// keyOf a name, which may have any letter.
func keyOf(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

func nameOf(key string) (string, error) {
	name, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return "", fmt.Errorf("key %q: %w", key, err)
	}
	return string(name), nil
}
