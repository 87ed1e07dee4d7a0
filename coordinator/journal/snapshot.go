package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/snapshot"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// kept is how many snapshots stay: when the newest cannot be read, the one before is, with
// the records behind it.
const kept = 2

// Taken is a snapshot that was stored and read back.
type Taken struct {
	Sequence uint64 // the last record in it
	Hash     []byte // of that record's frame
	Blob     string
}

// takenIn answers the snapshot that a record names; nil: none.
func takenIn(m *pb.Record, sequence uint64) (*Taken, error) {
	for _, e := range m.GetEvents() {
		t := e.GetSnapshotTaken()
		if t == nil {
			continue
		}
		if len(m.GetEvents()) > 1 || t.GetSequence() >= sequence {
			return nil, fmt.Errorf("%w: a snapshot at record %d among %d events", ErrCorrupt, t.GetSequence(), len(m.GetEvents()))
		}
		return &Taken{Sequence: t.GetSequence(), Hash: t.GetHash(), Blob: t.GetBlob()}, nil
	}
	return nil, nil //nolint:nilnil // most records name none
}

// note moves on what is known of snapshots, at the record that the chain ends with now.
func (c *chain) note(taken *Taken, size int) {
	c.since += int64(size)
	if taken == nil {
		return
	}
	c.newest, c.since = c.sequence, 0
	c.taken = append([]Taken{*taken}, c.taken[:min(len(c.taken), kept-1)]...)
}

// reader reads a journal beside its owner.
type reader struct {
	partition int
	stream    Stream
	blobs     snapshot.Blobs
	codec     *wire.Codec
	log       *slog.Logger
}

func (j *Journal) reader() *reader {
	return &reader{partition: j.cfg.Partition, stream: j.stream, blobs: j.cfg.Snapshots, codec: j.codec, log: j.cfg.Log}
}

// resume begins with the newest snapshot that can be used, and answers the chain there.
func (r *reader) resume(ctx context.Context, begin func(project.Saved) error) (chain, error) {
	first, last, err := r.stream.Bounds(ctx)
	if err != nil || last == 0 || r.blobs == nil {
		return chain{}, err
	}
	taken, err := r.newest(ctx, last)
	if err != nil {
		return chain{}, err
	}
	return r.from(ctx, first, taken, begin)
}

// from begins with the first of some snapshots that can be used, or with nothing where the
// stream still has its first record.
func (r *reader) from(ctx context.Context, first uint64, taken []Taken, begin func(project.Saved) error) (chain, error) {
	var wrong []error
	for i, t := range taken {
		end, err := r.restore(ctx, t, begin)
		if err == nil {
			end.taken = taken[i+1:] // those that were known there; the record that names this one is read again
			return end, nil
		}
		if !errors.Is(err, snapshot.ErrUnusable) {
			return chain{}, fmt.Errorf("snapshot of record %d: %w", t.Sequence, err)
		}
		r.log.ErrorContext(ctx, "a snapshot cannot be used, beginning with the one before it", "partition", r.partition, "record", t.Sequence, "blob", t.Blob, "err", err)
		wrong = append(wrong, fmt.Errorf("snapshot of record %d: %w", t.Sequence, err))
	}
	if first > 1 {
		return chain{}, fmt.Errorf("%w: it begins with record %d, and no snapshot of what was before can be used: %w", ErrPurged, first, errors.Join(wrong...))
	}
	if len(wrong) > 0 { // begin may have begun
		if err := begin(project.Saved{}); err != nil {
			return chain{}, err
		}
	}
	return chain{}, nil
}

// newest are the snapshots that the journal names, the newest first, at most those that
// are kept.
func (r *reader) newest(ctx context.Context, last uint64) ([]Taken, error) {
	var out []Taken
	for at := last; at != 0 && len(out) < kept; {
		frame, err := r.stream.Get(ctx, at)
		if errors.Is(err, ErrNoRecord) && at != last {
			break // taken away with the snapshot
		}
		if err != nil {
			return nil, fmt.Errorf("read record %d: %w", at, err)
		}
		m, err := open(frame)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", at, err)
		}
		t, err := takenIn(m, at)
		switch {
		case err != nil:
			return nil, fmt.Errorf("record %d: %w", at, err)
		case t != nil:
			out = append(out, *t)
		case at != last:
			return nil, fmt.Errorf("record %d: %w: it names no snapshot", at, ErrCorrupt)
		}
		if m.GetSnapshot() >= at {
			return nil, fmt.Errorf("record %d: %w: it says that record %d comes before it", at, ErrCorrupt, m.GetSnapshot())
		}
		at = m.GetSnapshot()
	}
	return out, nil
}

// restore begins with one snapshot.
func (r *reader) restore(ctx context.Context, t Taken, begin func(project.Saved) error) (chain, error) {
	h, saved, err := snapshot.Read(ctx, r.blobs, t.Blob)
	switch {
	case errors.Is(err, snapshot.ErrNewer):
		return chain{}, fmt.Errorf("%w: %w", ErrNewer, err)
	case err != nil:
		return chain{}, err
	case h.Partition != r.partition || h.Sequence != t.Sequence || !bytes.Equal(h.Hash, t.Hash):
		return chain{}, fmt.Errorf("%w: %s is that of record %d of partition %d", snapshot.ErrUnusable, t.Blob, h.Sequence, h.Partition)
	}
	if err := begin(saved); err != nil {
		return chain{}, err
	}
	return chain{sequence: h.Sequence, epoch: h.Epoch, hash: h.Hash, time: h.Time, newest: h.Newest}, nil
}

// Draft is a snapshot of the last record that there was when it was begun. It is taken
// beside the owner, who goes on.
type Draft struct {
	*reader
	end chain
}

// Draft begins one.
func (j *Journal) Draft() *Draft { return &Draft{reader: j.reader(), end: j.end} }

// Take makes the state from the journal: from the newest snapshot that can be used and the
// records behind it. So it never has what was not durable, and one snapshot is the proof
// that the one before it can be read. It is stored and read back.
func (d *Draft) Take(ctx context.Context, plans project.Plans) (Taken, error) {
	st := project.New(plans)
	first, _, err := d.stream.Bounds(ctx)
	if err != nil {
		return Taken{}, fmt.Errorf("snapshot: %w", err)
	}
	at, err := d.from(ctx, first, d.end.taken, func(saved project.Saved) (err error) {
		st, err = project.Restore(saved, plans)
		return err
	})
	if err != nil {
		return Taken{}, err
	}
	err = d.stream.Read(ctx, at.sequence+1, func(sequence uint64, frame []byte) error {
		if sequence > d.end.sequence {
			return errEnough
		}
		rec, err := at.next(d.codec, sequence, frame)
		if err != nil {
			return err
		}
		return st.Fold(rec.Events, rec.Time)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return Taken{}, fmt.Errorf("snapshot: %w", err)
	}
	if at.sequence != d.end.sequence || !bytes.Equal(at.hash, d.end.hash) {
		return Taken{}, fmt.Errorf("snapshot: %w: record %d is not what its owner wrote", ErrCorrupt, at.sequence)
	}
	blob, err := snapshot.Write(ctx, d.blobs, snapshot.Head{
		Partition: d.partition, Sequence: at.sequence, Epoch: at.epoch, Time: at.time, Hash: at.hash, Newest: at.newest,
	}, st, plans)
	if err != nil {
		return Taken{}, err
	}
	return Taken{Sequence: at.sequence, Hash: at.hash, Blob: blob}, nil
}

var errEnough = errors.New("enough was read")

// Since says how much was appended behind the newest snapshot, about; without a place
// to store one: nothing.
func (j *Journal) Since() (records uint64, size int64) {
	if j.cfg.Snapshots == nil {
		return 0, 0
	}
	records = j.end.sequence
	if len(j.end.taken) > 0 {
		records -= j.end.taken[0].Sequence
	}
	return records, j.end.since
}

// Took makes a snapshot known, in a record of its own. What is surplus then may be taken
// away by trim: the records before the older one of the two that are kept, and the
// snapshot before that. trim may come late: what it takes away is what this record, which is
// durable, made surplus. It may run beside the owner.
func (j *Journal) Took(ctx context.Context, at time.Time, t Taken) (trim func(context.Context) error, err error) {
	before := j.end.taken
	e := &pb.Event{Kind: &pb.Event_SnapshotTaken{SnapshotTaken: &pb.SnapshotTaken{Sequence: t.Sequence, Hash: t.Hash, Blob: t.Blob}}}
	if err := j.append(ctx, j.end.epoch, at, &pb.Record{Events: []*pb.Event{e}}); err != nil {
		return nil, fmt.Errorf("append a snapshot: %w", err)
	}
	if len(before) == 0 {
		return func(context.Context) error { return nil }, nil
	}
	stream, blobs := j.stream, j.cfg.Snapshots
	return func(ctx context.Context) error {
		if err := stream.Purge(ctx, before[0].Sequence+1); err != nil {
			return err
		}
		for _, old := range before[1:] {
			if err := snapshot.Remove(ctx, blobs, old.Blob); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
