package cachestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Store is the content of a cache for one solve. Nothing can be written to it.
type Store struct {
	refuses
	cache  *Cache
	ctx    context.Context //nolint:containedctx // of what is read, which is more than one call
	cancel context.CancelFunc

	mu      sync.Mutex
	streams map[digest.Digest]*stream
	failed  error
}

// Store of the cache until ctx ends or Close.
func (c *Cache) Store(ctx context.Context) *Store {
	ctx, cancel := context.WithCancel(ctx)
	return &Store{cache: c, ctx: ctx, cancel: cancel, streams: map[digest.Digest]*stream{}}
}

// Close ends what is being read.
func (s *Store) Close() {
	s.cancel() // also what is being read right now, which has its stream locked
	s.mu.Lock()
	streams := slices.Collect(maps.Values(s.streams))
	s.mu.Unlock()
	for _, st := range streams {
		st.mu.Lock()
		st.end()
		st.mu.Unlock()
	}
}

// Failed is the first error of what was read.
func (s *Store) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Info says how large a blob is.
func (s *Store) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	if data, ok := s.cache.small[d]; ok {
		return content.Info{Digest: d, Size: int64(len(data))}, nil
	}
	size, ok := s.cache.sizes[d]
	if !ok {
		return content.Info{}, fmt.Errorf("the build cache %s has no %s", s.cache.Name, d)
	}
	return content.Info{Digest: d, Size: size}, nil
}

// ReaderAt reads a blob.
func (s *Store) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	info, err := s.Info(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	if data, ok := s.cache.small[desc.Digest]; ok {
		return inMemory{bytes.NewReader(data)}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[desc.Digest]
	if st == nil {
		st = &stream{store: s, digest: desc.Digest, size: info.Size}
		s.streams[desc.Digest] = st
	}
	return st, nil
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// stream is a blob that is read from its beginning to its end. BuildKit asks for it piece by piece, each time anew, so it
// outlives its readers.
type stream struct {
	store  *Store
	digest digest.Digest
	size   int64

	mu   sync.Mutex
	body io.ReadCloser // nil: not begun
	at   int64
	took time.Duration   // to be read so far; what BuildKit does between two pieces does not count
	ctx  context.Context //nolint:containedctx // of body
	stop context.CancelCauseFunc
}

// Size in bytes.
func (st *stream) Size() int64 { return st.size }

// Close does nothing: the next piece may be asked for.
func (st *stream) Close() error { return nil }

// ReadAt reads a piece. One that is not the next begins the blob anew.
func (st *stream) ReadAt(p []byte, off int64) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if off >= st.size {
		return 0, io.EOF
	}
	if err := st.store.Failed(); err != nil { // one that breaks is not waited for again
		return 0, err
	}
	if st.body == nil || off < st.at {
		st.end()
		if err := st.begin(); err != nil {
			return 0, st.broke(err)
		}
	}
	if skip := off - st.at; skip > 0 {
		m, err := io.CopyN(io.Discard, patient{st}, skip)
		if st.at += m; err != nil {
			return 0, st.broke(err)
		}
	}
	n, err := io.ReadFull(patient{st}, p[:min(int64(len(p)), st.size-off)])
	if st.at += int64(n); err != nil {
		return n, st.broke(err)
	}
	if st.at == st.size {
		_, err := io.Copy(io.Discard, patient{st}) // which finds the end, and whether the digest is right
		if err != nil {
			return 0, st.broke(err)
		}
		st.end()
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// begin opens the blob; st.mu is held.
func (st *stream) begin() error {
	st.ctx, st.stop = context.WithCancelCause(st.store.ctx)
	opening := st.ends(st.store.cache.stall, st.stalled())
	body, err := st.store.cache.blob(st.ctx, st.digest)
	if !opening.Stop() && err == nil {
		err = body.Close()
	}
	if err = cmp.Or(context.Cause(st.ctx), err); err != nil {
		return err
	}
	st.body, st.at, st.took = body, 0, 0
	return nil
}

// slowest is how many bytes of a layer must come in a second, beside the time for which it may bring nothing.
const slowest = 1 << 20

// patient reads the body of a stream, but waits no longer than it may: for the next bytes, and for all of it. st.mu is held.
type patient struct{ st *stream }

func (p patient) Read(b []byte) (int, error) {
	st := p.st
	wait, why := st.store.cache.stall, st.stalled()
	most := wait + time.Duration(float64(st.size)/slowest*float64(time.Second))
	if left := most - st.took; left < wait {
		wait, why = left, fmt.Errorf("its %d bytes took longer than %s", st.size, most)
	}
	if wait <= 0 {
		return 0, why
	}
	begin := time.Now()
	end := st.ends(wait, why)
	n, err := st.body.Read(b)
	end.Stop()
	st.took += time.Since(begin)
	return n, err
}

func (st *stream) stalled() error { return fmt.Errorf("nothing came for %s", st.store.cache.stall) }

// ends what is read, unless it is stopped in time.
func (st *stream) ends(after time.Duration, why error) *time.Timer {
	stop := st.stop
	return time.AfterFunc(after, func() { stop(why) })
}

// end closes what is open; st.mu is held.
func (st *stream) end() {
	if st.body == nil {
		return
	}
	st.stop(nil)
	_ = st.body.Close() // it was read, or is not wanted
	st.body = nil
}

// broke ends the stream with what went wrong; st.mu is held. The answer has no type, by which BuildKit would know what is
// worth its while to try again: four times, layer by layer.
func (st *stream) broke(err error) error {
	text := cmp.Or(context.Cause(st.ctx), err).Error()
	st.end()
	st.stop(nil)
	err = fmt.Errorf("read %s of the build cache %s: %s", st.digest, st.store.cache.Name, text)
	st.store.mu.Lock()
	defer st.store.mu.Unlock()
	if st.store.failed == nil {
		st.store.failed = err
	}
	return err
}

var errRefused = errors.New("a build cache is only read")

// refuses is the part of a content store that changes it.
type refuses struct{}

func (refuses) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errRefused
}
func (refuses) Walk(context.Context, content.WalkFunc, ...string) error { return errRefused }
func (refuses) Delete(context.Context, digest.Digest) error             { return errRefused }
func (refuses) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errRefused
}
func (refuses) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, errRefused
}
func (refuses) Abort(context.Context, string) error { return errRefused }
func (refuses) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errRefused
}
