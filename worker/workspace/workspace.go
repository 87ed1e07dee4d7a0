// Package workspace keeps the source of commits on a worker's disk: a folder for each
// commit and set of paths, made from a tar stream, shared by all attempts that need
// the same, and removed when it was long unused and the disk share is used up.
//
// Folders are for reading. The package does not know where the stream comes from.
package workspace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Source names the content of a folder.
type Source struct {
	Project string
	Commit  string
	Paths   []string
}

// Fetch writes the tar of a source.
type Fetch func(ctx context.Context, s Source, w io.Writer) error

// Config says where folders are and how much may be kept.
type Config struct {
	Dir string // owned by one process at a time; what is in it at the start is removed
	// Keep is how many bytes of folders that nobody uses are kept. 0: 2 GiB.
	Keep   int64
	Limits Limits // of one source
	Log    *slog.Logger
}

// Cache holds the folders.
type Cache struct {
	cfg  Config
	lock *os.File

	mu      sync.Mutex
	entries map[string]*entry
	clock   int64 // counts uses: the least recently used goes first
}

type entry struct {
	dir   string
	users int
	used  int64
	size  int64
	ready chan struct{} // closed when err is set, and with it whether the folder is there
	err   error
}

// Open takes the folder for this process.
func Open(cfg Config) (*Cache, error) {
	cfg.Keep = cmp.Or(cfg.Keep, 2<<30)
	cfg.Limits = cfg.Limits.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make work folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open work folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("folder %s is in use by another worker: give each one its own state", cfg.Dir), lock.Close())
	}
	c := &Cache{cfg: cfg, lock: lock, entries: map[string]*entry{}}
	if err := errors.Join(os.RemoveAll(c.root()), os.MkdirAll(c.root(), 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("empty work folder: %w", err), lock.Close())
	}
	return c, nil
}

func (c *Cache) root() string { return filepath.Join(c.cfg.Dir, "sources") }

// Close removes all folders. Nothing may be in use.
func (c *Cache) Close() error {
	return errors.Join(os.RemoveAll(c.root()), c.lock.Close())
}

// Acquire answers the folder of a source, fetching it if it is not there. reused says
// that it was there. release must be called when the folder is no longer read.
//
// Attempts that need the same source at the same time share one fetch. It belongs to
// the attempt that began it; when that one is ended, another begins anew.
func (c *Cache) Acquire(ctx context.Context, s Source, fetch Fetch) (dir string, reused bool, release func(), err error) {
	for {
		e, mine := c.enter(s)
		if mine {
			e.err = c.fill(ctx, e, s, fetch)
			if e.err != nil {
				c.drop(s, e)
			}
			close(e.ready)
			if e.err != nil {
				return "", false, nil, e.err
			}
			return e.dir, false, c.releaser(e), nil
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			c.leave(e)
			return "", false, nil, fmt.Errorf("wait for source: %w", context.Cause(ctx))
		}
		if e.err == nil {
			return e.dir, true, c.releaser(e), nil
		}
		c.leave(e)
	}
}

func key(s Source) string {
	paths := slices.Sorted(slices.Values(s.Paths))
	h := sha256.New()
	for _, part := range append([]string{s.Project, s.Commit}, slices.Compact(paths)...) {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:32]
}

// enter finds the entry of a source, or makes it: then it is the caller's to fill.
func (c *Cache) enter(s Source) (e *entry, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key(s)
	e, ok := c.entries[k]
	if !ok {
		e = &entry{dir: filepath.Join(c.root(), k), ready: make(chan struct{})}
		c.entries[k] = e
	}
	c.clock++
	e.users++
	e.used = c.clock
	return e, !ok
}

func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
}

// drop forgets an entry that could not be filled, for the next attempt to begin anew.
func (c *Cache) drop(s Source, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	delete(c.entries, key(s))
}

func (c *Cache) releaser(e *entry) func() {
	return sync.OnceFunc(func() {
		c.leave(e)
		c.collect()
	})
}

// fill fetches and extracts beside the final place, so that a folder that is there is whole.
func (c *Cache) fill(ctx context.Context, e *entry, s Source, fetch Fetch) error {
	tmp, err := os.MkdirTemp(c.root(), "new-")
	if err != nil {
		return fmt.Errorf("make source folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	size, err := stream(ctx, tmp, s, fetch, c.cfg.Limits)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, e.dir); err != nil {
		return fmt.Errorf("keep source: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.size = size
	return nil
}

var errUnread = errors.New("the archive is not read any further")

// stream extracts into dir what fetch writes. Of two errors it answers the one that
// caused the other.
func stream(ctx context.Context, dir string, s Source, fetch Fetch, limits Limits) (int64, error) {
	r, w := io.Pipe()
	fetched := make(chan error, 1)
	go func() {
		err := fetch(ctx, s, w)
		_ = w.CloseWithError(err)
		fetched <- err
	}()
	size, err := Extract(dir, r, limits)
	if err == nil {
		// The padding after the archive's end, which nothing reads.
		_, err = io.Copy(io.Discard, r)
	}
	_ = r.CloseWithError(errUnread)
	if ferr := <-fetched; ferr != nil && !errors.Is(ferr, errUnread) {
		return 0, fmt.Errorf("fetch source: %w", ferr)
	}
	return size, err
}

// collect removes the least recently used folders that nobody uses until the rest fits.
func (c *Cache) collect() {
	c.mu.Lock()
	var idle []string
	var kept int64
	for k, e := range c.entries {
		if e.users == 0 {
			idle = append(idle, k)
			kept += e.size
		}
	}
	slices.SortFunc(idle, func(a, b string) int { return cmp.Compare(c.entries[a].used, c.entries[b].used) })
	var gone []string
	for _, k := range idle {
		if kept <= c.cfg.Keep {
			break
		}
		e := c.entries[k]
		kept -= e.size
		// Moved away under the lock, so that a new fetch of the same finds its place free.
		away := fmt.Sprintf("%s.gone-%d", e.dir, e.used)
		if err := os.Rename(e.dir, away); err != nil {
			c.cfg.Log.Warn("remove source", "err", err)
		}
		gone = append(gone, away)
		delete(c.entries, k)
	}
	c.mu.Unlock()
	for _, dir := range gone {
		if err := os.RemoveAll(dir); err != nil {
			c.cfg.Log.Warn("remove source", "err", err)
		}
	}
}
