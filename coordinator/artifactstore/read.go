package artifactstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Get writes an artifact to w. What was written is right only if there is no error: its digest is
// known at the end.
func (s *Store) Get(ctx context.Context, digest string, w io.Writer) error {
	n, seq, err := s.head(ctx, digest)
	if err == nil && n.Gone != "" {
		err = fmt.Errorf("%w: %s", ErrGone, s.info(digest, n).Gone)
	}
	if err == nil {
		err = s.read(ctx, digest, n, w)
		if errors.Is(err, ErrCorrupt) { // so that it is stored again, which what is there is not
			if gone := s.remove(ctx, kept{n, strings.TrimPrefix(digest, "sha256:"), seq}, "it was corrupt"); gone != nil {
				s.cfg.Log.WarnContext(ctx, "an artifact that is corrupt is not removed", "digest", digest, "err", gone)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("read artifact %s: %w", digest, err)
	}
	return nil
}

func (s *Store) read(ctx context.Context, digest string, n note, w io.Writer) error {
	sum := sha256.New()
	for i := range n.Parts {
		at, err := subject(digest, partOf(n.Upload, i))
		if err != nil {
			return err
		}
		m, err := s.part(ctx, at)
		if errors.Is(err, ErrNotFound) {
			switch now, _, err := s.head(ctx, digest); {
			case err != nil:
				return err
			case now.Gone != "":
				return fmt.Errorf("%w: %s", ErrGone, s.info(digest, now).Gone)
			case now.Upload != n.Upload:
				return fmt.Errorf("%w: it was removed and stored again while it was read", ErrUnavailable)
			}
			return fmt.Errorf("%w: part %d of %d is missing", ErrCorrupt, i+1, n.Parts)
		}
		if err != nil {
			return err
		}
		sum.Write(m.Data)
		if _, err := w.Write(m.Data); err != nil {
			return err //nolint:wrapcheck // the writer's own
		}
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("%w: its bytes have the digest %s", ErrCorrupt, got)
	}
	return nil
}

// ask makes a request of NATS, and makes it again when nobody answers. All requests may be made
// twice.
func ask[T any](ctx context.Context, request func(context.Context) (T, error)) (v T, err error) {
	for range tries {
		try, cancel := context.WithTimeout(ctx, patience)
		v, err = request(try)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, nats.ErrNoResponders) {
			break
		}
	}
	return v, err
}

// part answers a part of an upload. It never changes, so any replica may say that it is there; that it is not is for the
// leader to say, for a read that follows a write must see it.
func (s *Store) part(ctx context.Context, at string) (*jetstream.RawStreamMsg, error) {
	m, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.stream.GetLastMsgForSubject(ctx, at)
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return s.leaders(ctx, at)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return m, nil
}

// leaders is what the stream's leader has, which is as new as can be; with the client's newer interface a stream is read
// in one way alone.
func (s *Store) leaders(ctx context.Context, at string) (*jetstream.RawStreamMsg, error) {
	js, err := s.cfg.JS.Conn().JetStream()
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	m, err := ask(ctx, func(ctx context.Context) (*nats.RawStreamMsg, error) {
		return js.GetLastMsg(stream, at, nats.Context(ctx))
	})
	switch {
	case errors.Is(err, nats.ErrMsgNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Header: m.Header, Data: m.Data, Time: m.Time}, nil
}
