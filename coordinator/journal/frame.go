package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/planted"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	magic = "SLJ1"
	// MaxRecord bounds a frame, well under the server's limit of 1 MiB a message.
	MaxRecord = 900 << 10
	// schema is the format that this program writes; leastReader the oldest program's
	// schema that still understands it.
	schema      = wire.Schema
	leastReader = wire.LeastReader
)

// Record is what one append made durable.
type Record struct {
	Sequence uint64 // of the stream, from 1
	Epoch    uint64
	Time     time.Time // journal time: never before that of the record before
	Owner    string    // set in an epoch claim
	Last     bool      // its owner left in order
	Events   []run.Event
}

// chain is the end of the journal as far as it was read.
type chain struct {
	sequence uint64
	epoch    uint64
	hash     []byte // of the last frame
	time     time.Time
	newest   uint64  // record that names the newest snapshot; 0: there is none
	taken    []Taken // as far as they are known, newest first, at most two
	since    int64   // bytes of records behind the one that names the newest
}

func hash(frame []byte) []byte {
	h := sha256.Sum256(frame)
	return h[:]
}

func seal(rec *pb.Record) ([]byte, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	frame := make([]byte, 8, 8+len(body))
	copy(frame, magic)
	frame = append(frame, body...)
	binary.BigEndian.PutUint32(frame[4:8], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	if len(frame) > MaxRecord {
		return nil, fmt.Errorf("encode record of %d events: %w: %d bytes, at most %d", len(rec.GetEvents()), ErrTooLarge, len(frame), MaxRecord)
	}
	return frame, nil
}

func open(frame []byte) (*pb.Record, error) {
	if len(frame) < 8 || string(frame[:4]) != magic {
		return nil, fmt.Errorf("%w: no frame (%d bytes)", ErrCorrupt, len(frame))
	}
	if got, want := crc32.Checksum(frame[8:], crc32.MakeTable(crc32.Castagnoli)), binary.BigEndian.Uint32(frame[4:8]); got != want && !planted.ChecksumNotCompared.On() {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	rec := &pb.Record{}
	if err := proto.Unmarshal(frame[8:], rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return rec, nil
}

// next verifies that a frame continues the chain and moves the chain on. A record of
// an older epoch cannot be in a journal whose appends are fenced: finding one means
// that the stream was written by something else.
func (c *chain) next(codec *wire.Codec, sequence uint64, frame []byte) (Record, error) {
	at := func(err error) error { return fmt.Errorf("record %d: %w", sequence, err) }
	if sequence != c.sequence+1 {
		return Record{}, at(fmt.Errorf("%w: follows record %d", ErrCorrupt, c.sequence))
	}
	m, err := open(frame)
	if err != nil {
		return Record{}, at(err)
	}
	if !bytes.Equal(m.GetPrevious(), c.hash) {
		return Record{}, at(fmt.Errorf("%w: broken hash chain", ErrCorrupt))
	}
	if m.GetSnapshot() != c.newest {
		return Record{}, at(fmt.Errorf("%w: the newest snapshot is named by record %d, and it says %d", ErrCorrupt, c.newest, m.GetSnapshot()))
	}
	rec := Record{Sequence: sequence, Epoch: m.GetEpoch(), Time: wire.FromTime(m.GetTime()), Last: m.GetLast()}
	events := m.GetEvents()
	taken, err := takenIn(m, sequence)
	if err != nil {
		return Record{}, at(err)
	}
	if taken != nil {
		events = nil
	}
	if taken == nil && len(events) > 0 && events[0].GetEpochClaimed() != nil {
		claim := events[0].GetEpochClaimed()
		if claim.GetEpoch() != m.GetEpoch() || claim.GetEpoch() <= c.epoch {
			return Record{}, at(fmt.Errorf("%w: claims epoch %d after %d", ErrCorrupt, claim.GetEpoch(), c.epoch))
		}
		if claim.GetLeastReader() > schema {
			return Record{}, at(fmt.Errorf("%w: needs a reader of schema %d, this program has %d: run a newer Slipway", ErrNewer, claim.GetLeastReader(), schema))
		}
		rec.Owner = claim.GetOwner()
		events = events[1:]
	} else if m.GetEpoch() != c.epoch {
		return Record{}, at(fmt.Errorf("%w: epoch %d after %d", ErrCorrupt, m.GetEpoch(), c.epoch))
	}
	for i, e := range events {
		ev, err := codec.FromEvent(e)
		if err != nil {
			return Record{}, at(fmt.Errorf("event %d: %w", i, err))
		}
		rec.Events = append(rec.Events, ev)
	}
	c.sequence, c.epoch, c.hash, c.time = sequence, rec.Epoch, hash(frame), rec.Time
	c.note(taken, len(frame))
	return rec, nil
}
