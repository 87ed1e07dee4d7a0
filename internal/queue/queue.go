// Package queue is the wire on which ready tasks become known: one message per task,
// that carries nothing but a token, on a memory stream (DESIGN D2). It is a hint.
// What it loses is published again; what it says too much is refused when the lease
// is asked for. It knows neither tasks nor leases.
package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	stream = "SLIPWAY_TASKS"
	prefix = "tasks"
	group  = "workers"

	// MaxHints bounds the stream: an owner releases little more than the free capacity.
	MaxHints = 1_000_000
	// MaxWaiting is how many pulls of one capability may wait: the server's default
	// drops the 513th without a word.
	MaxWaiting = 16384
	// MaxAckPending is how many hints of one capability may be out and not answered.
	MaxAckPending = 65536
	// ackWait is how long a hint is with a worker that does not say what became of it, before
	// another may have it: one that died with it, or whose last pull it answered. That two ask
	// for a lease is harmless; that nobody does is not, for the sweeper cannot help.
	ackWait = 3 * time.Second
	// nakWait is how long one is with nobody that was given back with NakLater.
	nakWait = time.Second
)

// ErrGone: the stream or consumer is not there (the server lost its memory, or nobody
// has opened it yet). Open and EnsureConsumer make it again.
var ErrGone = errors.New("task queue is gone")

// Queue is the owner's end.
type Queue struct {
	js jetstream.JetStream
}

// Open makes the stream if it is not there.
func Open(ctx context.Context, js jetstream.JetStream, replicas int) (*Queue, error) {
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: stream, Description: "Hints: one per ready task. Losing them is harmless.",
		Subjects: []string{prefix + ".*.*"}, Storage: jetstream.MemoryStorage, Replicas: max(1, replicas), Retention: jetstream.WorkQueuePolicy,
		MaxMsgs: MaxHints, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgSize: 1024,
		Duplicates: 100 * time.Millisecond, // a republish is wanted, never a duplicate
	})
	if err != nil {
		return nil, fmt.Errorf("open task queue: %w", err)
	}
	return &Queue{js: js}, nil
}

// EnsureConsumer makes the pull consumer that all workers of a capability share.
func (q *Queue) EnsureConsumer(ctx context.Context, capability string) error {
	_, err := q.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: capability, FilterSubject: prefix + "." + capability + ".*", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		MaxWaiting: MaxWaiting, MaxAckPending: MaxAckPending, MaxDeliver: -1,
		PriorityPolicy: jetstream.PriorityPolicyPrioritized, PriorityGroups: []string{group},
	})
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", capability, gone(err))
	}
	return nil
}

// Drop forgets the queue, with every hint and consumer. Everybody who uses it is told ErrGone.
func (q *Queue) Drop(ctx context.Context) error {
	if err := gone(q.js.DeleteStream(ctx, stream)); err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("drop task queue: %w", err)
	}
	return nil
}

// Publish makes tasks of a capability known, many at once. That one is known already is
// success. The server answers for the last one alone, after it has taken all of them: what
// it did not take of the others is published again like any hint that is lost.
func (q *Queue) Publish(ctx context.Context, capability string, tokens ...string) error {
	if len(tokens) == 0 {
		return nil
	}
	last := len(tokens) - 1
	for _, t := range tokens[:last] {
		if err := q.js.Conn().Publish(subject(capability, t), nil); err != nil {
			return fmt.Errorf("publish %s to %s: %w", t, capability, err)
		}
	}
	_, err := q.js.Publish(ctx, subject(capability, tokens[last]), nil)
	var api *jetstream.APIError
	if err == nil || errors.As(err, &api) && strings.Contains(api.Description, "maximum messages per subject exceeded") {
		return nil
	}
	return fmt.Errorf("publish %s to %s: %w", tokens[last], capability, gone(err))
}

func subject(capability, token string) string { return prefix + "." + capability + "." + token }

// Hint names a task that was ready when it was published.
type Hint struct {
	Token string
	msg   Settler
}

// Settler is where a hint came from, which is told what has become of it.
type Settler interface {
	Ack() error
	Nak() error
	NakWithDelay(d time.Duration) error
}

// NewHint makes a hint of what came from elsewhere than this package's queue.
func NewHint(token string, from Settler) Hint { return Hint{token, from} }

// Ack says that the lease was asked for and answered, either way.
func (h Hint) Ack() error { return h.msg.Ack() }

// Nak gives the hint to somebody else.
func (h Hint) Nak() error { return h.msg.Nak() }

// NakLater gives the hint to somebody after a while: who gives it back may be the next to get it.
func (h Hint) NakLater() error { return h.msg.NakWithDelay(nakWait) }

// Puller is a worker's end for one capability.
type Puller struct {
	js         jetstream.JetStream
	capability string
	cons       jetstream.Consumer
}

// NewPuller pulls hints of one capability. The consumer may be made later.
func NewPuller(js jetstream.JetStream, capability string) *Puller {
	return &Puller{js: js, capability: capability}
}

// Fetch calls each for hints as they arrive, at most maximum times, until wait is over
// or the context ends. Each must be answered by Ack or Nak. No hints is no error.
func (p *Puller) Fetch(ctx context.Context, maximum int, wait time.Duration, each func(Hint)) error {
	if p.cons == nil {
		c, err := p.js.Consumer(ctx, stream, p.capability)
		if err != nil {
			return fmt.Errorf("find consumer %s: %w", p.capability, gone(err))
		}
		p.cons = c
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	batch, err := p.cons.Fetch(maximum, jetstream.FetchContext(ctx), jetstream.FetchPrioritized(0), jetstream.FetchPriorityGroup(group))
	if err != nil {
		return p.failed(err)
	}
	for m := range batch.Messages() {
		each(Hint{Token: strings.TrimPrefix(m.Subject(), prefix+"."+p.capability+"."), msg: m})
	}
	if err := batch.Error(); err != nil {
		return p.failed(err)
	}
	return nil
}

func (p *Puller) failed(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, jetstream.ErrNoMessages) {
		return nil
	}
	p.cons = nil
	return fmt.Errorf("fetch from %s: %w", p.capability, gone(err))
}

func gone(err error) error {
	for _, e := range []error{jetstream.ErrStreamNotFound, jetstream.ErrConsumerNotFound, jetstream.ErrNoStreamResponse, jetstream.ErrConsumerDeleted} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrGone, err)
		}
	}
	return err
}
