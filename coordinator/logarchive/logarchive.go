// Package logarchive keeps the logs of runs that have ended as blobs: stretches that can be
// read alone, compressed, several in a blob, and an index of which bytes are in which. A
// range is read without what is before it. When a run's logs are archived, and who is told
// of it, is known to the callers.
package logarchive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Errors of this package.
var (
	// ErrUnusable: what is stored is no archive that this program can read.
	ErrUnusable = errors.New("the archive of logs cannot be used")
	// ErrDiffers: what was read back is not what was stored. This is a defect.
	ErrDiffers = errors.New("the archive of logs that was read back is not what was stored")
)

const (
	// chunk is how many bytes of a log can be read alone, and pack how large a blob of
	// compressed chunks is at most: one message of the store.
	chunk = 256 << 10
	pack  = 512 << 10
)

// Blobs keeps data by digest; artifact.Store is the real one.
type Blobs interface {
	Put(ctx context.Context, data []byte) (digest string, err error)
	Get(ctx context.Context, digest string) ([]byte, error)
	// Delete takes a blob away; that it is gone already is no error.
	Delete(ctx context.Context, digest string) error
}

// Frames are logs as they were written; logstore.Store is the real one.
type Frames interface {
	// Frames hands over what is stored of a log, in the order in which it was stored. What
	// was stored twice comes twice.
	Frames(ctx context.Context, k logstore.Key, each func(offset int64, data []byte) error) error
	// Purge takes away what is stored of logs.
	Purge(ctx context.Context, logs ...logstore.Key) error
}

// Log is what one attempt wrote.
type Log struct {
	Task    int // its position in the run
	Attempt int
	Key     logstore.Key
	Size    int64 // -1: nobody said how long it is
}

// Archiver moves logs from where they were written to into blobs.
type Archiver struct {
	cfg   Config
	turns chan struct{}
}

// Config of an Archiver.
type Config struct {
	Blobs  Blobs
	Frames Frames
	// AtOnce is how many runs are archived at the same time.
	AtOnce int
	// Lost is told how many bytes of logs were gone before they were archived. May be nil.
	Lost func(n int64)
	Log  *slog.Logger
}

// New makes an Archiver.
func New(cfg Config) *Archiver {
	return &Archiver{cfg: cfg, turns: make(chan struct{}, max(1, cfg.AtOnce))}
}

// Archive stores the logs of a run, reads them back, and answers the blob that names them.
// What is missing of them is missing in the archive, and is said.
func (a *Archiver) Archive(ctx context.Context, run string, logs []Log) (digest string, err error) {
	select {
	case a.turns <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer func() { <-a.turns }()
	digest, missing, err := Write(ctx, a.cfg.Blobs, a.cfg.Frames, run, logs)
	if err != nil {
		return "", fmt.Errorf("archive the logs of run %s: %w", run, err)
	}
	if len(missing) > 0 {
		lost := int64(0)
		for _, m := range missing {
			lost += m.To - m.From
		}
		m := missing[0]
		a.cfg.Log.ErrorContext(ctx, "logs were dropped by the limit of the log stream before they were archived: raise logs.max_gib",
			"run", run, "bytes", lost, "stretches", len(missing), "first", fmt.Sprintf("task %d, attempt %d, bytes %d to %d", m.Log.Task, m.Log.Attempt, m.From, m.To))
		if a.cfg.Lost != nil {
			a.cfg.Lost(lost)
		}
	}
	return digest, nil
}

// Purge takes away the frames of logs.
func (a *Archiver) Purge(ctx context.Context, logs []Log) error {
	keys := make([]logstore.Key, len(logs))
	for i, l := range logs {
		keys[i] = l.Key
	}
	return a.cfg.Frames.Purge(ctx, keys...) //nolint:wrapcheck // it says which
}

// Remove takes an archive away. What is gone already is no error.
func (a *Archiver) Remove(ctx context.Context, digest string) error {
	return Remove(ctx, a.cfg.Blobs, digest)
}

// Archive is an index.
type Archive struct {
	blobs Blobs
	index *pb.LogArchive
}

// Open reads the index of an archive.
func Open(ctx context.Context, blobs Blobs, digest string) (*Archive, error) {
	data, err := blobs.Get(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("read an archive of logs: %w", err)
	}
	m := &pb.LogArchive{}
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnusable, digest, err)
	}
	if m.GetLeastReader() > wire.Schema {
		return nil, fmt.Errorf("%w: it needs a reader of schema %d, this program has %d: run a newer Slipway", ErrUnusable, m.GetLeastReader(), wire.Schema)
	}
	return &Archive{blobs: blobs, index: m}, nil
}

func (a *Archive) find(task, attempt int) (*pb.ArchivedLog, bool) {
	for _, l := range a.index.GetLogs() {
		if int(l.GetTask()) == task && int(l.GetAttempt()) == attempt {
			return l, true
		}
	}
	return nil, false
}

// Size is how many bytes an attempt wrote; false: the archive does not know the attempt.
func (a *Archive) Size(task, attempt int) (int64, bool) {
	l, ok := a.find(task, attempt)
	return l.GetSize(), ok
}

// Read hands over the bytes of a log from an offset on up to an end, in order.
func (a *Archive) Read(ctx context.Context, task, attempt int, offset, end int64, each func(offset int64, data []byte) error) error {
	l, ok := a.find(task, attempt)
	if !ok {
		return fmt.Errorf("%w: it has no log of task %d, attempt %d", ErrUnusable, task, attempt)
	}
	end = min(end, l.GetSize())
	u := unpacker{archive: a}
	for _, c := range l.GetChunks() {
		from, to := c.GetOffset(), c.GetOffset()+int64(c.GetSize())
		switch {
		case to <= offset:
			continue
		case offset >= end:
			return nil
		case from > offset:
			return &logstore.MissingError{Log: a.name(l), From: offset, To: min(from, end)}
		}
		data, err := u.chunk(ctx, c)
		if err != nil {
			return err
		}
		if err := each(offset, data[offset-from:min(to, end)-from]); err != nil {
			return err
		}
		offset = min(to, end)
	}
	if offset < end {
		return &logstore.MissingError{Log: a.name(l), From: offset, To: end}
	}
	return nil
}

func (a *Archive) name(l *pb.ArchivedLog) string {
	return fmt.Sprintf("of run %s, task %d, attempt %d", a.index.GetRun(), l.GetTask(), l.GetAttempt())
}

// Remove takes an archive out of the store. What is gone already is no error.
func Remove(ctx context.Context, blobs Blobs, digest string) error {
	a, err := Open(ctx, blobs, digest)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range append(a.index.GetPacks(), digest) { // the index last: it names the others
		if err := blobs.Delete(ctx, name); err != nil {
			return fmt.Errorf("remove an archive of logs: %w", err)
		}
	}
	return nil
}
