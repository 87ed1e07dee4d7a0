// Package artifact stores what the journal names by digest: plans, rendered manifests,
// releases. They are small; images live in a registry, logs in logstore.
//
// A blob is one message, or a few: the first part, which says how many there are, is
// stored after the others, so that a blob is there as a whole or not at all. A part is
// never replaced, whoever stores the same again: the server refuses it, and that is
// success.
package artifact

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/plan"
)

const (
	stream = "SLIPWAY_BLOBS"
	prefix = "blobs"
	// MaxBlob bounds one blob, in bytes.
	MaxBlob = 64 << 20
	// part is how much of a blob is in one message: the server takes 1 MiB.
	part = 512 << 10
	// parts is the header of the first message that says how many there are.
	parts = "Slipway-Parts"
	// atOnce is how many parts are on their way at the same time.
	atOnce = 8
)

// Errors of this package.
var (
	ErrNotFound = errors.New("no such blob")
	ErrCorrupt  = errors.New("blob is corrupt")
	// ErrUnavailable: the server did not answer, or not with what was asked for. Ask again.
	ErrUnavailable = errors.New("the store of blobs is not available")
	ErrTooLarge    = fmt.Errorf("blob is larger than %d MiB", MaxBlob>>20)
)

// Store keeps blobs in a JetStream stream.
type Store struct {
	js       jetstream.JetStream
	stream   jetstream.Stream
	patience time.Duration
}

// Open makes the stream if it is not there.
func Open(ctx context.Context, js jetstream.JetStream, replicas int) (*Store, error) {
	s, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: stream, Description: "Plans, manifests and releases, by digest", Subjects: []string{prefix + ".*.*"}, Storage: jetstream.FileStorage,
		Replicas: max(1, replicas), Retention: jetstream.LimitsPolicy, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		MaxMsgSize: 1 << 20, Duplicates: 0, AllowDirect: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	return &Store{js: js, stream: s, patience: patience}, nil
}

// subject of a part of the blob with that digest.
func subject(digest string, n int) (string, error) {
	_, sum, ok := strings.Cut(digest, ":")
	if _, err := hex.DecodeString(sum); !ok || sum == "" || err != nil {
		return "", fmt.Errorf("%q is no digest: %w", digest, ErrNotFound)
	}
	return prefix + "." + sum + "." + strconv.Itoa(n), nil
}

// Put stores data and answers its digest. Storing the same again is success.
func (s *Store) Put(ctx context.Context, data []byte) (string, error) {
	if len(data) > MaxBlob {
		return "", fmt.Errorf("store blob of %d bytes: %w", len(data), ErrTooLarge)
	}
	digest := plan.Sum(data)
	n := max(1, (len(data)+part-1)/part)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := 1; i < n; i++ {
		g.Go(func() error { return s.store(gctx, digest, i, nil, data[i*part:min(len(data), (i+1)*part)]) })
	}
	err := g.Wait()
	if err == nil {
		err = s.store(ctx, digest, 0, nats.Header{parts: {strconv.Itoa(n)}}, data[:min(len(data), part)])
	}
	if err != nil {
		return "", fmt.Errorf("store blob %s: %w", digest, unavailable(err))
	}
	return digest, nil
}

// store makes one part durable, unless it is there. A refusal alone does not say that it is:
// with replicas the server refuses it also while somebody else's same part is only on its
// way, and may be lost with its leader. Should the leader never notice that nothing is on
// its way any more, another one does.
func (s *Store) store(ctx context.Context, digest string, n int, h nats.Header, data []byte) error {
	to, err := subject(digest, n)
	if err != nil {
		return err
	}
	since := time.Now()
	for {
		_, err = ask(ctx, s.patience, func(ctx context.Context) (*jetstream.PubAck, error) {
			return s.js.PublishMsg(ctx, &nats.Msg{Subject: to, Header: h, Data: data})
		})
		var api *jetstream.APIError
		if !errors.As(err, &api) || !strings.Contains(api.Description, "maximum messages per subject exceeded") {
			return err //nolint:wrapcheck // Put says what it was doing
		}
		if _, err = s.leaders(ctx, to); !errors.Is(err, jetstream.ErrMsgNotFound) {
			return err //nolint:wrapcheck // as above
		}
		if time.Since(since) > s.patience {
			since = time.Now()
			s.elect(ctx)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// elect has the replicas of the stream elect another leader. That there are none is no error.
func (s *Store) elect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	_, _ = s.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
}

// Get reads a blob and verifies it.
func (s *Store) Get(ctx context.Context, digest string) ([]byte, error) {
	data, err := s.read(ctx, digest)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, fmt.Errorf("read blob %s: %w", digest, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("read blob %s: %w", digest, unavailable(err))
	case plan.Sum(data) != digest:
		return nil, fmt.Errorf("read blob %s: %w", digest, ErrCorrupt)
	}
	return data, nil
}

func (s *Store) read(ctx context.Context, digest string) ([]byte, error) {
	first, err := s.part(ctx, digest, 0)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(first.Header.Get(parts))
	if err != nil || n < 1 || n > MaxBlob/part {
		return nil, fmt.Errorf("%w: it has %q parts", ErrCorrupt, first.Header.Get(parts))
	}
	all := make([][]byte, n)
	all[0] = first.Data
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := 1; i < n; i++ {
		g.Go(func() error {
			m, err := s.part(ctx, digest, i)
			if err == nil {
				all[i] = m.Data
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	data := all[0]
	for _, more := range all[1:] {
		data = append(data, more...)
	}
	return data, nil
}

// part reads one part. What is stored never changes, so any replica may say that it is there,
// and does so without what the leader's answers cost; that it is not is for the leader to say,
// for a read that follows a write must see it.
func (s *Store) part(ctx context.Context, digest string, n int) (*jetstream.RawStreamMsg, error) {
	at, err := subject(digest, n)
	if err != nil {
		return nil, err
	}
	m, err := ask(ctx, s.patience, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.stream.GetLastMsgForSubject(ctx, at)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return s.leaders(ctx, at)
	}
	return m, err
}

// leaders is what the stream's leader has; with the client's newer interface a stream is read
// in one way alone.
func (s *Store) leaders(ctx context.Context, at string) (*jetstream.RawStreamMsg, error) {
	js, err := s.js.Conn().JetStream()
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	m, err := ask(ctx, s.patience, func(ctx context.Context) (*nats.RawStreamMsg, error) {
		return js.GetLastMsg(stream, at, nats.Context(ctx))
	})
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return nil, jetstream.ErrMsgNotFound
	case err != nil:
		return nil, err
	}
	return &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Header: m.Header, Data: m.Data, Time: m.Time}, nil
}

// How long one request waits for an answer, and how often it is made.
const (
	patience = 2 * time.Second
	tries    = 15
)

// ask makes a request of NATS, and makes it again when nobody answers: what a server had
// taken when it died is never answered, and the caller's own deadline may be that of a whole
// task. A read changes nothing, and a part that is there already is stored.
func ask[T any](ctx context.Context, patience time.Duration, request func(context.Context) (T, error)) (v T, err error) {
	for range tries {
		try, cancel := context.WithTimeout(ctx, patience)
		v, err = request(try)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
			break
		}
	}
	return v, err
}

// Delete takes a blob away for good. That it is gone already is no error.
func (s *Store) Delete(ctx context.Context, digest string) error {
	_, sum, ok := strings.Cut(digest, ":")
	if _, err := hex.DecodeString(sum); !ok || sum == "" || err != nil {
		return fmt.Errorf("%q is no digest: %w", digest, ErrNotFound)
	}
	if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(prefix+"."+sum+".*")); err != nil {
		return fmt.Errorf("remove blob %s: %w", digest, err)
	}
	return nil
}

// unavailable is what an error of the server means, that is none of a blob.
func unavailable(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Plan reads and decodes a plan.
func (s *Store) Plan(ctx context.Context, hash string) (*plan.Plan, error) {
	data, err := s.Get(ctx, hash)
	if err != nil {
		return nil, err
	}
	p, err := plan.Decode(data)
	if err != nil {
		return nil, err
	}
	return &p, nil
}
