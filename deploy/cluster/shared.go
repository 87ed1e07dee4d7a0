package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
)

const (
	// gather is how long a request waits for others to join it: rollouts that begin together ask together.
	gather = 5 * time.Millisecond
	// keepFor is how long an answer is kept for those who may have an earlier one.
	keepFor = 5 * time.Minute
)

// Shared lets rollouts that go on side by side share what they read of a cluster. Its zero value is ready.
type Shared struct {
	mu    sync.Mutex
	lines map[any]*line
	swept time.Time
	going sync.WaitGroup
}

// line is the requests for one thing: one goes on, one waits for it to end, and answers are kept by what they are about.
type line struct {
	running, next *request
	kept          map[string]*request
}

type request struct {
	began  time.Time
	about  []string
	read   func(context.Context, []string) (any, error)
	done   chan struct{}
	value  any
	err    error
	passed bool // what was read has changed since
}

// since reports an answer that is of that moment or later.
func (r *request) since(t time.Time) bool { return r != nil && !r.passed && !r.began.Before(t) }

// Read answers what read does, which began at the given moment or later. Those who ask meanwhile are answered together by one
// request. The answer belongs to all: nobody may change it. Read ends when ctx does, and the request goes on.
func Read[T any](ctx context.Context, s *Shared, key any, since time.Time, read func(context.Context) (T, error)) (T, error) {
	return ReadAbout(ctx, s, key, "", since, func(ctx context.Context, _ []string) (T, error) { return read(ctx) })
}

// ReadAbout is Read of something that is about many: read is told what all those asked about who are answered together.
func ReadAbout[T any](ctx context.Context, s *Shared, key any, about string, since time.Time, read func(ctx context.Context, about []string) (T, error)) (value T, err error) {
	r := s.join(ctx, key, about, since, func(ctx context.Context, about []string) (any, error) { return read(ctx, about) })
	select {
	case <-r.done:
	case <-ctx.Done():
		return value, fmt.Errorf("wait for the cluster's answer: %w", context.Cause(ctx))
	}
	if r.err == nil {
		value, _ = r.value.(T)
	}
	return value, r.err
}

func (s *Shared) join(ctx context.Context, key any, about string, since time.Time, read func(context.Context, []string) (any, error)) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	l := s.lines[key]
	if l == nil {
		l = &line{kept: map[string]*request{}}
		s.lines[key] = l
	}
	if r := l.kept[about]; r.since(since) {
		return r
	}
	switch r := l.running; {
	case r == nil:
		l.running = &request{about: []string{about}, read: read, done: make(chan struct{})}
		s.start(context.WithoutCancel(ctx), l)
		return l.running
	case slices.Contains(r.about, about) && !r.began.IsZero() && r.since(since):
		return r
	case r.began.IsZero(): // it still waits for others
		if !slices.Contains(r.about, about) {
			r.about = append(r.about, about)
		}
		return r
	case l.next == nil:
		l.next = &request{read: read, done: make(chan struct{})}
	}
	if !slices.Contains(l.next.about, about) {
		l.next.about = append(l.next.about, about)
	}
	return l.next
}

// start sends the request that runs, as soon as others had time to join; the lock is held. Who asked waits for it, and the
// client's timeout ends it.
func (s *Shared) start(ctx context.Context, l *line) {
	r := l.running
	s.going.Go(func() {
		<-time.After(gather)
		s.mu.Lock()
		r.began = time.Now()
		about := slices.Clone(r.about)
		s.mu.Unlock()
		r.value, r.err = r.read(ctx, about)
		s.mu.Lock()
		defer s.mu.Unlock()
		close(r.done)
		if r.err == nil {
			for _, each := range r.about {
				l.kept[each] = r
			}
		}
		if l.running, l.next = l.next, nil; l.running != nil {
			s.start(ctx, l)
		}
	})
}

// sweep drops answers that are too old for anybody; the lock is held.
func (s *Shared) sweep() {
	if s.lines == nil {
		s.lines = map[any]*line{}
	}
	if time.Since(s.swept) < time.Minute {
		return
	}
	s.swept = time.Now()
	for key, l := range s.lines {
		for about, r := range l.kept {
			if time.Since(r.began) > keepFor {
				delete(l.kept, about)
			}
		}
		if len(l.kept) == 0 && l.running == nil {
			delete(s.lines, key)
		}
	}
}

// Forget says that what was read under some keys may have changed.
func (s *Shared) Forget(which func(key any) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.lines {
		if !which(key) {
			continue
		}
		if clear(l.kept); l.running != nil {
			l.running.passed = !l.running.began.IsZero()
		}
	}
}

type metas struct {
	resource                  schema.GroupVersionResource
	namespace, selector, each string
}

// Labeled says which objects: those with certain labels, of which one, the label Each, has the value Value.
type Labeled struct {
	Labels      labels.Set
	Each, Value string
}

// Metas lists objects of a namespace without their content, as they stand at the given moment or later. Others who ask for another
// value meanwhile may be answered together, and the answer then has theirs too. It must not be changed.
func (c *Cluster) Metas(ctx context.Context, resource schema.GroupVersionResource, namespace string, which Labeled, since time.Time) ([]metav1.PartialObjectMetadata, error) {
	base := labels.SelectorFromSet(which.Labels)
	about := metas{resource, namespace, base.String(), which.Each}
	return ReadAbout(ctx, &c.Reads, about, which.Value, since, func(ctx context.Context, values []string) ([]metav1.PartialObjectMetadata, error) {
		one, err := labels.NewRequirement(which.Each, selection.In, values)
		if err != nil {
			return nil, fmt.Errorf("label %s: %w", which.Each, err)
		}
		list, err := c.Metadata.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: base.Add(*one).String()})
		if err != nil {
			return nil, err //nolint:wrapcheck // who asked tells what it means
		}
		return list.Items, nil
	})
}
