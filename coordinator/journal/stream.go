package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Errors of a Stream.
var (
	// ErrBehind: the stream does not end with the record that was named; nothing was stored.
	ErrBehind = errors.New("the stream has gone on")
	// ErrNoRecord: there is no record with that number.
	ErrNoRecord = errors.New("no such record")
	// ErrPurged: records that were to be read are not there any more, or never were.
	ErrPurged = fmt.Errorf("%w: records are missing", ErrCorrupt)
)

// Stream stores the frames of one partition, numbered from 1. After any error of Append
// but ErrBehind the frame may be stored or not, now or later. journaltest has what every
// Stream must do.
type Stream interface {
	// Append stores a frame durably behind the record last, and answers its number.
	Append(ctx context.Context, last uint64, frame []byte) (sequence uint64, err error)
	// Get answers one frame, or ErrNoRecord.
	Get(ctx context.Context, sequence uint64) ([]byte, error)
	// Read shows the frames from a number on, in order, to the one that was the last when
	// it was called, and ends with the first error of each.
	Read(ctx context.Context, from uint64, each func(sequence uint64, frame []byte) error) error
	// Bounds answers the numbers of the first frame that is there and of the last; an empty
	// stream has none: the last is 0.
	Bounds(ctx context.Context) (first, last uint64, err error)
	// Purge takes away the frames before a number, for good. The last one always stays.
	Purge(ctx context.Context, before uint64) error
}

// OpenStream makes a partition's stream in JetStream if it is not there.
func OpenStream(ctx context.Context, js jetstream.JetStream, partition, replicas int) (Stream, error) {
	name := fmt.Sprintf("SLIPWAY_JOURNAL_%d", partition)
	subject := fmt.Sprintf("journal.%d", partition)
	s, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: name, Description: "What runs are: the truth of partition " + fmt.Sprint(partition),
		Subjects: []string{subject}, Storage: jetstream.FileStorage, Replicas: max(1, replicas),
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxMsgSize: 1 << 20, AllowDirect: false,
		DenyDelete: true, Duplicates: time.Second, // ids are not used: an append is fenced by its sequence
	})
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.Code < 500:
		return nil, fmt.Errorf("open journal %s: %w: %w", name, ErrRefused, err)
	case err != nil:
		return nil, fmt.Errorf("open journal %s: %w", name, err)
	}
	return &natsStream{js: js, stream: s, subject: subject}, nil
}

type natsStream struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	subject string
}

func (s *natsStream) Append(ctx context.Context, last uint64, frame []byte) (uint64, error) {
	ack, err := s.js.Publish(ctx, s.subject, frame, jetstream.WithExpectLastSequence(last), jetstream.WithRetryAttempts(0))
	var api *jetstream.APIError
	switch {
	case err == nil:
		return ack.Sequence, nil
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return 0, fmt.Errorf("%w: %w", ErrBehind, err)
	default:
		return 0, err //nolint:wrapcheck // the journal says what it was doing
	}
}

func (s *natsStream) Get(ctx context.Context, sequence uint64) ([]byte, error) {
	m, err := s.stream.GetMsg(ctx, sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, fmt.Errorf("read record %d: %w", sequence, ErrNoRecord)
	case err != nil:
		return nil, fmt.Errorf("read record %d: %w", sequence, err)
	}
	return m.Data, nil
}

func (s *natsStream) Read(ctx context.Context, from uint64, each func(uint64, []byte) error) error {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	last := info.State.LastSeq
	if last < from {
		return nil
	}
	if info.State.FirstSeq > from {
		return fmt.Errorf("read journal: %w: it begins with record %d", ErrPurged, info.State.FirstSeq)
	}
	cons, err := s.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from})
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	it, err := cons.Messages()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	defer it.Stop()
	stop := context.AfterFunc(ctx, it.Stop)
	defer stop()
	for at := from - 1; at < last; {
		m, err := it.Next()
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("read journal after record %d: %w", at, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		if meta.Sequence.Stream != at+1 {
			return fmt.Errorf("read journal: %w: record %d comes after record %d", ErrPurged, meta.Sequence.Stream, at)
		}
		at++
		if err := each(at, m.Data()); err != nil {
			return err
		}
	}
	return nil
}

func (s *natsStream) Bounds(ctx context.Context) (first, last uint64, err error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read journal: %w", err)
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

func (s *natsStream) Purge(ctx context.Context, before uint64) error {
	_, last, err := s.Bounds(ctx)
	if err != nil {
		return err
	}
	if before = min(before, last); before < 2 {
		return nil
	}
	if err := s.stream.Purge(ctx, jetstream.WithPurgeSequence(before)); err != nil {
		return fmt.Errorf("take away the records before %d: %w", before, err)
	}
	return nil
}
