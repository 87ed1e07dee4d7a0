package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/planted"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Errors of this package.
var (
	// ErrLost: another owner has appended. Discard memory, and claim again or stop.
	ErrLost = errors.New("the journal has another owner")
	// ErrCorrupt: a record is not what was written. Nothing after it can be trusted.
	ErrCorrupt = errors.New("the journal is corrupt")
	// ErrNewer: a record was written by a newer program.
	ErrNewer = errors.New("the journal is newer than this program")
	// ErrRefused: the server does not let this stream be made; asking again does not help.
	ErrRefused = errors.New("the server refuses the journal")
	// ErrTooLarge: the events do not fit into one record.
	ErrTooLarge = errors.New("record too large")
)

// Config of one partition's journal.
type Config struct {
	Partition int
	Owner     string // for people
	Replicas  int    // of the stream: 1 or 3
	// Resend is how long one try of an append may take before it is in doubt and sent
	// again. 0: 2 s.
	Resend time.Duration
	// Snapshots are where they are stored. nil: none is taken or read.
	Snapshots snapshot.Blobs
	Log       *slog.Logger
	Now       func() time.Time
}

// Journal appends to and reads one partition's stream. It is used by one goroutine.
type Journal struct {
	cfg    Config
	stream Stream
	codec  *wire.Codec
	end    chain
}

// Open makes the partition's stream in JetStream if it is not there. It does not read
// it: Claim does.
func Open(ctx context.Context, js jetstream.JetStream, cfg Config) (*Journal, error) {
	s, err := OpenStream(ctx, js, cfg.Partition, cfg.Replicas)
	if err != nil {
		return nil, err
	}
	return New(s, cfg), nil
}

// New is a journal on a stream.
func New(s Stream, cfg Config) *Journal {
	if cfg.Resend == 0 {
		cfg.Resend = 2 * time.Second
	}
	return &Journal{cfg: cfg, stream: s, codec: wire.NewCodec()}
}

// Epoch of the last claim that was read or made.
func (j *Journal) Epoch() uint64 { return j.end.epoch }

// Claim reads the journal from its beginning, calls fold for every record in order, and
// appends an epoch claim, until the claim is the last record. After it Append works.
// When fold fails, or a record is corrupt, that is the answer.
func (j *Journal) Claim(ctx context.Context, fold func(Record) error) (uint64, error) {
	j.end = chain{}
	return j.claim(ctx, fold)
}

// Resume is Claim that begins with the newest snapshot, where there is one: begin is given
// what was saved, and fold the records behind it. begin may be called again, with an older
// one, when it answers that it cannot use the first; or with a newer one, when another
// owner takes the records away meanwhile that come behind it. What was before is void then.
func (j *Journal) Resume(ctx context.Context, begin func(project.Saved) error, fold func(Record) error) (epoch uint64, err error) {
	const tries = 5
	for range tries {
		if j.end, err = j.reader().resume(ctx, begin); err == nil {
			epoch, err = j.claim(ctx, fold)
		}
		if !errors.Is(err, ErrPurged) {
			break
		}
		j.cfg.Log.InfoContext(ctx, "another owner goes on with the journal, beginning again", "partition", j.cfg.Partition, "err", err)
	}
	return epoch, err
}

func (j *Journal) claim(ctx context.Context, fold func(Record) error) (uint64, error) {
	for {
		if err := j.replay(ctx, fold); err != nil {
			return 0, err
		}
		epoch := j.end.epoch + 1
		claim := &pb.Event{Kind: &pb.Event_EpochClaimed{EpochClaimed: &pb.EpochClaimed{Epoch: epoch, Owner: j.cfg.Owner, Schema: schema, LeastReader: leastReader}}}
		err := j.append(ctx, epoch, j.Now(), &pb.Record{Events: []*pb.Event{claim}})
		if err == nil {
			return epoch, fold(Record{Sequence: j.end.sequence, Epoch: epoch, Time: j.end.time, Owner: j.cfg.Owner})
		}
		if !errors.Is(err, ErrLost) {
			return 0, err
		}
		j.cfg.Log.InfoContext(ctx, "another owner claimed first, reading on", "partition", j.cfg.Partition)
	}
}

// Append makes events durable as one record of a journal time, which Now gave, and answers
// it. After ErrLost, or any other
// error, the journal is not usable before the next Claim.
func (j *Journal) Append(ctx context.Context, at time.Time, events []run.Event) (Record, error) {
	out := make([]*pb.Event, 0, len(events))
	for _, e := range events {
		m, err := j.codec.Event(e)
		if err != nil {
			return Record{}, err
		}
		out = append(out, m)
	}
	if err := j.append(ctx, j.end.epoch, at, &pb.Record{Events: out}); err != nil {
		return Record{}, err
	}
	return Record{Sequence: j.end.sequence, Epoch: j.end.epoch, Time: j.end.time, Events: events}, nil
}

// Leave notes that the owner leaves in order: all that it said to anybody is in the journal.
// Nothing may be appended after it before the next Claim.
func (j *Journal) Leave(ctx context.Context) error {
	return j.append(ctx, j.end.epoch, j.Now(), &pb.Record{Last: true})
}

// Now is the journal time of an append made now: it never goes back.
func (j *Journal) Now() time.Time {
	if now := j.cfg.Now().UTC(); now.After(j.end.time) {
		return now
	}
	return j.end.time
}

// append chains a record to the last one, and stores it.
func (j *Journal) append(ctx context.Context, epoch uint64, at time.Time, rec *pb.Record) error {
	rec.Epoch, rec.Previous, rec.Time, rec.Snapshot = epoch, j.end.hash, timestamppb.New(at), j.end.newest
	frame, err := seal(rec)
	if err != nil {
		return err
	}
	if err := j.send(ctx, frame); err != nil {
		return err
	}
	// As a reader would find it: without the clock's monotonic part, that a step of the wall clock does not show in.
	j.end.sequence, j.end.epoch, j.end.hash, j.end.time = j.end.sequence+1, epoch, hash(frame), at.UTC().Round(0)
	taken, err := takenIn(rec, j.end.sequence)
	j.end.note(taken, len(frame))
	return err
}

// send stores the frame as the record after the last one. While the answer is in doubt
// it sends the same bytes again, with the same expectation; so the frame is stored once
// or somebody else's is there instead, whichever answers were lost.
func (j *Journal) send(ctx context.Context, frame []byte) error {
	want := j.end.sequence + 1
	try := func() (struct{}, error) {
		tctx, cancel := context.WithTimeout(ctx, j.cfg.Resend)
		defer cancel()
		failpoint.Hit(failpoint.AppendBefore)
		got, err := j.stream.Append(tctx, j.end.sequence, frame)
		failpoint.Hit(failpoint.AppendAfter)
		switch {
		case err == nil && got != want:
			return struct{}{}, backoff.Permanent(fmt.Errorf("append: stored as record %d, want %d: %w", got, want, ErrCorrupt))
		case err == nil:
			return struct{}{}, nil
		case errors.Is(err, ErrBehind):
			mine, err := j.isMine(tctx, want, frame)
			switch {
			case planted.OthersRecordIsMine.On():
				return struct{}{}, nil
			case err != nil:
				return struct{}{}, err
			case mine:
				return struct{}{}, nil
			default:
				return struct{}{}, backoff.Permanent(fmt.Errorf("append record %d: %w", want, ErrLost))
			}
		}
		if planted.DoubtIsStored.On() {
			return struct{}{}, nil
		}
		if ctx.Err() != nil {
			return struct{}{}, backoff.Permanent(fmt.Errorf("append record %d: %w", want, context.Cause(ctx)))
		}
		j.cfg.Log.WarnContext(ctx, "append in doubt, sending it again", "partition", j.cfg.Partition, "record", want, "err", err)
		return struct{}{}, err
	}
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 20*time.Millisecond, time.Second
	b.RandomizationFactor = 0 // one owner, one stream: there is nothing to spread
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0))
	return err
}

func (j *Journal) isMine(ctx context.Context, sequence uint64, frame []byte) (bool, error) {
	stored, err := j.stream.Get(ctx, sequence)
	switch {
	case errors.Is(err, ErrNoRecord):
		return false, nil
	case err != nil:
		return false, err
	}
	return bytes.Equal(hash(stored), hash(frame)), nil
}

// replay reads from the record after the end of the chain to the last one stored.
func (j *Journal) replay(ctx context.Context, fold func(Record) error) error {
	return j.stream.Read(ctx, j.end.sequence+1, func(sequence uint64, frame []byte) error {
		rec, err := j.end.next(j.codec, sequence, frame)
		if err != nil {
			return err
		}
		if err := fold(rec); err != nil {
			return fmt.Errorf("record %d: %w", rec.Sequence, err)
		}
		return nil
	})
}
