package logarchive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Missing is a stretch of a log that was gone before it was archived.
type Missing struct {
	Log      Log
	From, To int64
}

// Write stores logs of a run, and reads them back: when it answers, the blob names what the
// frames held.
func Write(ctx context.Context, blobs Blobs, frames Frames, run string, logs []Log) (digest string, missing []Missing, err error) {
	w, err := newWriter(ctx, blobs, run)
	if err != nil {
		return "", nil, err
	}
	defer w.zstd.Close()
	var sums [][]byte
	for _, l := range logs {
		sum, gone, err := w.log(frames, l)
		if err != nil {
			return "", nil, err
		}
		sums, missing = append(sums, sum), append(missing, gone...)
	}
	if err := w.flush(); err != nil {
		return "", nil, err
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(w.index)
	if err != nil {
		return "", nil, fmt.Errorf("encode the index: %w", err)
	}
	if digest, err = blobs.Put(ctx, data); err != nil {
		return "", nil, fmt.Errorf("store the index: %w", err)
	}
	return digest, missing, verify(ctx, blobs, digest, w.index, sums)
}

// verify reads an archive back.
func verify(ctx context.Context, blobs Blobs, digest string, index *pb.LogArchive, sums [][]byte) error {
	a, err := Open(ctx, blobs, digest)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if !proto.Equal(a.index, index) {
		return ErrDiffers
	}
	u := unpacker{archive: a}
	for i, l := range a.index.GetLogs() {
		sum := sha256.New()
		for _, c := range l.GetChunks() {
			data, err := u.chunk(ctx, c)
			if err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			sum.Write(data)
		}
		if !bytes.Equal(sum.Sum(nil), sums[i]) {
			return fmt.Errorf("%w: task %d, attempt %d", ErrDiffers, l.GetTask(), l.GetAttempt())
		}
	}
	return nil
}

// writer gathers chunks into packs.
type writer struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one Write
	blobs Blobs
	index *pb.LogArchive
	zstd  *zstd.Encoder
	pack  []byte
}

func newWriter(ctx context.Context, blobs Blobs, run string) (*writer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(chunk))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return &writer{ctx: ctx, blobs: blobs, zstd: enc, index: &pb.LogArchive{Schema: wire.Schema, LeastReader: wire.LeastReader, Run: run}}, nil
}

// log stores one log and answers the hash of its bytes, and which of them are missing.
func (w *writer) log(frames Frames, l Log) (sum []byte, missing []Missing, err error) {
	c := &chunker{w: w, log: &pb.ArchivedLog{Task: uint32(l.Task), Attempt: int32(l.Attempt)}, sum: sha256.New()}
	w.index.Logs = append(w.index.Logs, c.log)
	end := int64(0) // everything below was seen, or is missing
	gap := func(to int64) error {
		missing = append(missing, Missing{Log: l, From: end, To: to})
		err := c.flush()
		end, c.base = to, to
		return err
	}
	err = frames.Frames(w.ctx, l.Key, func(offset int64, data []byte) error {
		if l.Size >= 0 && offset+int64(len(data)) > l.Size { // its holder says where it ends
			if offset >= l.Size {
				return nil
			}
			data = data[:l.Size-offset]
		}
		switch skip := end - offset; {
		case skip >= int64(len(data)):
			return nil // it came before
		case skip > 0:
			data = data[skip:]
		case skip < 0:
			if err := gap(offset); err != nil {
				return err
			}
		}
		end += int64(len(data))
		return c.add(data)
	})
	if err == nil && end < l.Size {
		err = gap(l.Size)
	}
	if err == nil {
		err = c.flush()
	}
	c.log.Size = end
	return c.sum.Sum(nil), missing, err
}

// chunker cuts a log into chunks.
type chunker struct {
	w    *writer
	log  *pb.ArchivedLog
	sum  hash.Hash
	buf  []byte
	base int64 // offset of buf[0]
}

func (c *chunker) add(data []byte) error {
	for len(data) > 0 {
		n := min(len(data), chunk-len(c.buf))
		c.buf = append(c.buf, data[:n]...)
		data = data[n:]
		if len(c.buf) == chunk {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *chunker) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	frame := c.w.zstd.EncodeAll(c.buf, nil)
	if len(c.w.pack)+len(frame) > pack {
		if err := c.w.flush(); err != nil {
			return err
		}
	}
	if len(c.w.pack) == 0 {
		c.w.pack = named(c.w.index.GetRun())
	}
	c.log.Chunks = append(c.log.Chunks, &pb.ArchivedChunk{
		Offset: c.base, Size: uint32(len(c.buf)), Pack: uint32(len(c.w.index.GetPacks())), At: uint32(len(c.w.pack)), Length: uint32(len(frame)),
	})
	c.w.pack = append(c.w.pack, frame...)
	c.sum.Write(c.buf)
	c.base += int64(len(c.buf))
	c.buf = c.buf[:0]
	return nil
}

// flush stores the pack that gathers.
func (w *writer) flush() error {
	if len(w.pack) == 0 {
		return nil
	}
	digest, err := w.blobs.Put(w.ctx, w.pack)
	if err != nil {
		return fmt.Errorf("store a pack of logs: %w", err)
	}
	w.index.Packs = append(w.index.Packs, digest)
	w.pack = nil
	return nil
}

// skippable is the magic number of a zstd frame that readers pass over.
const skippable = 0x184D2A50

// named begins a pack: with it no two runs have equal packs, whatever their logs say.
func named(run string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, skippable)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(run)))
	return append(b, run...)
}

// unpacker reads chunks, and keeps the pack of the last.
type unpacker struct {
	archive *Archive
	zstd    *zstd.Decoder
	number  uint32
	pack    []byte
}

func (u *unpacker) chunk(ctx context.Context, c *pb.ArchivedChunk) ([]byte, error) {
	packs := u.archive.index.GetPacks()
	if int(c.GetPack()) >= len(packs) || c.GetSize() > chunk {
		return nil, fmt.Errorf("%w: a chunk of %d bytes in pack %d of %d", ErrUnusable, c.GetSize(), c.GetPack(), len(packs))
	}
	if u.zstd == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*chunk))
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		u.zstd = dec
	}
	if u.pack == nil || u.number != c.GetPack() {
		data, err := u.archive.blobs.Get(ctx, packs[c.GetPack()])
		if err != nil {
			return nil, fmt.Errorf("read an archive of logs: %w", err)
		}
		u.pack, u.number = data, c.GetPack()
	}
	if uint64(c.GetAt())+uint64(c.GetLength()) > uint64(len(u.pack)) {
		return nil, fmt.Errorf("%w: a chunk ends behind its pack", ErrUnusable)
	}
	data, err := u.zstd.DecodeAll(u.pack[c.GetAt():c.GetAt()+c.GetLength()], nil)
	if err != nil || len(data) != int(c.GetSize()) {
		return nil, fmt.Errorf("%w: a chunk of %d bytes, not %d: %w", ErrUnusable, len(data), c.GetSize(), err)
	}
	return data, nil
}
