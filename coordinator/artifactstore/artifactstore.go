// Package artifactstore keeps what tests leave, artifacts, by digest: on a JetStream stream of
// their own, in parts, so that nobody holds one in memory as a whole. What is stored again is
// kept anew and takes no room; what nobody stored for long, or what there is no room for, is
// removed, and a note says when and why.
//
// It knows no runs: which of them an artifact is of is in the results of tasks.
package artifactstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

const (
	stream = "SLIPWAY_ARTIFACTS"
	// Of an artifact with the sum s, artifacts.<s>.head says what there is of it, and its parts are
	// artifacts.<s>.<upload>-<n>: two who store the same at once do not disturb each other.
	prefix = "artifacts"
	head   = "head"
	// part is how much is in one message: the server takes 1 MiB.
	part = 512 << 10
	// atOnce is how many parts are on their way at the same time.
	atOnce = 8
	// Of a request that is not answered.
	patience = 5 * time.Second
	tries    = 6
)

// Errors of this package.
var (
	ErrNotFound = errors.New("no such artifact")
	// ErrGone: it was here. The error says until when, and why not any more.
	ErrGone    = errors.New("the artifact is gone")
	ErrCorrupt = errors.New("the artifact is corrupt")
	// ErrUnavailable: the server did not answer, or not with what was asked for. Ask again.
	ErrUnavailable = errors.New("the store of artifacts is not available")
	ErrTooLarge    = errors.New("the artifact is too large")
	// ErrFull: even without all that may be removed there is no room for it.
	ErrFull = errors.New("the store of artifacts is full")
)

// Config of a store; all coordinators of a farm have the same.
type Config struct {
	JS       jetstream.JetStream
	Replicas int
	Keep     time.Duration // since it was stored last
	MaxBytes int64         // of all together: those that were stored longest ago go first
	MaxSize  int64         // of one, in bytes
	Log      *slog.Logger
	Now      func() time.Time
}

// Store keeps artifacts.
type Store struct {
	cfg    Config
	stream jetstream.Stream
	// What is under way has room that nobody else is given: of room, under bytes.
	room  *semaphore.Weighted
	under atomic.Int64
}

// Info is what is known of an artifact.
type Info struct {
	Digest string
	Size   int64     // bytes
	Stored time.Time // last
	Until  time.Time // when it may be removed
	// Gone is why it is not kept any more, with a time; empty: it is there.
	Gone string
}

// note is the message at the head of an artifact.
type note struct {
	Size   int64     `json:"size"`
	Parts  int       `json:"parts"`
	Upload string    `json:"upload"` // whose parts they are
	At     time.Time `json:"at"`     // stored last; of what is gone: since when it is
	Gone   string    `json:"gone,omitempty"`
}

// Open makes the stream if it is not there. The stream has no limit of its own, which the server would
// set room aside for: what is above MaxBytes is removed before more is stored.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := cfg.JS.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: stream, Description: "Artifacts of tests, by digest", Subjects: []string{prefix + ".*.*"}, Storage: jetstream.FileStorage,
		Replicas: max(1, cfg.Replicas), Retention: jetstream.LimitsPolicy, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld,
		MaxMsgSize: 1 << 20, Duplicates: 0, AllowDirect: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open the store of artifacts: %w", err)
	}
	return &Store{cfg: cfg, stream: s, room: semaphore.NewWeighted(cfg.MaxBytes)}, nil
}

var sums = regexp.MustCompile(`^sha256:([0-9a-f]{64})$`)

func subject(digest, last string) (string, error) {
	m := sums.FindStringSubmatch(digest)
	if m == nil {
		return "", fmt.Errorf("%q is no digest: %w", digest, ErrNotFound)
	}
	return prefix + "." + m[1] + "." + last, nil
}

func partOf(upload string, n int) string { return upload + "-" + strconv.Itoa(n) }

// Stat says what is known of an artifact. ErrNotFound: nothing. One that is gone is no error.
func (s *Store) Stat(ctx context.Context, digest string) (Info, error) {
	n, _, err := s.head(ctx, digest)
	if err != nil {
		return Info{}, fmt.Errorf("look for artifact %s: %w", digest, err)
	}
	return s.info(digest, n), nil
}

// Exists says whether an artifact is there.
func (s *Store) Exists(ctx context.Context, digest string) (bool, error) {
	i, err := s.Stat(ctx, digest)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return err == nil && i.Gone == "", err
}

func (s *Store) info(digest string, n note) Info {
	i := Info{Digest: digest, Size: n.Size, Stored: n.At, Until: n.At.Add(s.cfg.Keep)}
	if n.Gone != "" {
		i.Stored, i.Until = time.Time{}, n.At
		i.Gone = fmt.Sprintf("removed at %s: %s", n.At.UTC().Format(time.DateTime+" UTC"), n.Gone)
	}
	return i
}

// head answers the note of an artifact, and its sequence.
func (s *Store) head(ctx context.Context, digest string) (note, uint64, error) {
	at, err := subject(digest, head)
	if err != nil {
		return note{}, 0, err
	}
	m, err := s.leaders(ctx, at)
	if err != nil {
		return note{}, 0, err
	}
	var n note
	if err := json.Unmarshal(m.Data, &n); err != nil {
		return note{}, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return n, m.Sequence, nil
}

// write replaces the note of an artifact, if nobody did since it was read: at the sequence of the
// one that was read, 0 if there was none. errChanged: somebody did, or this very write, whose answer was lost.
func (s *Store) write(ctx context.Context, digest string, n note, was uint64) (uint64, error) {
	at, err := subject(digest, head)
	if err != nil {
		return 0, err
	}
	data, err := json.Marshal(n)
	if err != nil {
		return 0, fmt.Errorf("encode a note: %w", err)
	}
	ack, err := ask(ctx, func(ctx context.Context) (*jetstream.PubAck, error) {
		return s.cfg.JS.Publish(ctx, at, data, jetstream.WithExpectLastSequencePerSubject(was))
	})
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return 0, errChanged
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return ack.Sequence, nil
}

// errChanged: somebody else wrote the note.
var errChanged = errors.New("it was changed")

// Put stores an artifact of so many bytes, of which r answers all, under its digest. If it is there
// already, it is kept anew, r is not read, and present is true. An artifact whose bytes are not
// those of its digest is ErrCorrupt, and not stored.
func (s *Store) Put(ctx context.Context, digest string, size int64, r io.Reader) (present bool, err error) {
	present, err = s.put(ctx, digest, size, r)
	if err != nil {
		return false, fmt.Errorf("store artifact %s: %w", digest, err)
	}
	return present, nil
}

func (s *Store) put(ctx context.Context, digest string, size int64, r io.Reader) (bool, error) {
	if size > s.cfg.MaxSize {
		return false, fmt.Errorf("%w: it has %d bytes, and the farm takes %d (artifacts.max_mib in coordinator.yaml)", ErrTooLarge, size, s.cfg.MaxSize)
	}
	if size < 0 {
		return false, fmt.Errorf("%w: it is said to have %d bytes", ErrCorrupt, size)
	}
	before, renewed, err := s.renew(ctx, digest)
	if renewed || err != nil {
		return renewed, err
	}
	release, err := s.reserve(ctx, size)
	if err != nil {
		return false, err
	}
	defer release()
	if err := s.makeRoom(ctx); err != nil {
		return false, err
	}
	n := note{Size: size, Parts: int((size + part - 1) / part), Upload: rand.Text()}
	if err := s.upload(ctx, digest, n, r); err != nil {
		s.drop(ctx, digest, n.Upload, n.Parts)
		return false, err
	}
	release() // the note counts instead
	mine, err := s.announce(ctx, digest, n, before)
	if !mine && !errors.Is(err, ErrUnavailable) {
		s.drop(ctx, digest, n.Upload, n.Parts)
	}
	if errors.Is(err, errMeanwhile) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return !mine && err == nil, err
}

// reserve waits until so many bytes fit beside what this coordinator stores already, and keeps them until release is
// called, once or more.
func (s *Store) reserve(ctx context.Context, bytes int64) (release func(), err error) {
	if bytes > s.cfg.MaxBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, and all together may have %d (artifacts.max_gib)", ErrFull, bytes, s.cfg.MaxBytes)
	}
	if err := s.room.Acquire(ctx, bytes); err != nil {
		return nil, fmt.Errorf("wait for room beside what is stored at the same time: %w", err)
	}
	s.under.Add(bytes)
	return sync.OnceFunc(func() {
		s.under.Add(-bytes)
		s.room.Release(bytes)
	}), nil
}

// announce writes the note of an upload whose parts are there, unless somebody else was faster. before is the sequence of
// the note when it began. ErrUnavailable: it may be written all the same.
func (s *Store) announce(ctx context.Context, digest string, n note, before uint64) (mine bool, err error) {
	for {
		was, seq, err := s.head(ctx, digest)
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return false, err
		case err == nil && was.Upload == n.Upload: // whose answer was lost
			return true, nil
		case err == nil && was.Gone == "":
			if _, renewed, err := s.renew(ctx, digest); renewed || err != nil {
				return false, err
			}
			continue
		case seq != before: // what was removed meanwhile may have taken parts of this one with it
			return false, errMeanwhile
		}
		n.At = s.cfg.Now()
		if _, err = s.write(ctx, digest, n, seq); !errors.Is(err, errChanged) {
			return err == nil, err
		}
	}
}

// errMeanwhile: the store is not the one in which the upload began.
var errMeanwhile = errors.New("it was stored by somebody else and removed meanwhile; try again")

// renew keeps an artifact anew, if it is there. seq is that of the note.
func (s *Store) renew(ctx context.Context, digest string) (seq uint64, there bool, err error) {
	for {
		n, seq, err := s.head(ctx, digest)
		switch {
		case errors.Is(err, ErrNotFound) && sums.MatchString(digest):
			return 0, false, nil
		case err != nil:
			return 0, false, err
		case n.Gone != "":
			return seq, false, nil
		}
		n.At = s.cfg.Now()
		if seq, err = s.write(ctx, digest, n, seq); !errors.Is(err, errChanged) {
			return seq, err == nil, err
		}
	}
}

// upload stores the parts.
func (s *Store) upload(ctx context.Context, digest string, n note, r io.Reader) error {
	sum := sha256.New()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	left := n.Size
	var err error
	for i := 0; i < n.Parts && err == nil && gctx.Err() == nil; i++ {
		data := make([]byte, min(part, left))
		if _, err = io.ReadFull(r, data); err != nil {
			break
		}
		left -= int64(len(data))
		sum.Write(data)
		g.Go(func() error { return s.store(gctx, digest, partOf(n.Upload, i), data) })
	}
	if stored := g.Wait(); stored != nil {
		return stored
	}
	switch more, end := io.CopyN(io.Discard, r, 1); {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || more > 0:
		return fmt.Errorf("%w: it is said to have %d bytes, and has others", ErrCorrupt, n.Size)
	case err != nil:
		return err
	case !errors.Is(end, io.EOF):
		return end //nolint:wrapcheck // the reader's own
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("%w: its bytes have the digest %s", ErrCorrupt, got)
	}
	return nil
}

// store makes one part durable. A repeat stores the same again.
func (s *Store) store(ctx context.Context, digest, last string, data []byte) error {
	at, err := subject(digest, last)
	if err != nil {
		return err
	}
	_, err = ask(ctx, func(ctx context.Context) (*jetstream.PubAck, error) {
		return s.cfg.JS.PublishMsg(ctx, &nats.Msg{Subject: at, Data: data})
	})
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && strings.Contains(api.Description, "insufficient"):
		return fmt.Errorf("%w: NATS has no room: %w", ErrFull, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// drop removes the parts of an upload that came to nothing. What is left all the same is found by
// Sweep.
func (s *Store) drop(ctx context.Context, digest, upload string, parts int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for i := range parts {
		at, err := subject(digest, partOf(upload, i))
		if err == nil {
			err = s.stream.Purge(ctx, jetstream.WithPurgeSubject(at))
		}
		if err != nil {
			s.cfg.Log.WarnContext(ctx, "parts of an artifact that came to nothing are left", "digest", digest, "err", err)
			return
		}
	}
}
