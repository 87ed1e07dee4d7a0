// Package workspace keeps the source of commits on a worker's disk. A folder has what a
// commit has at a set of paths; all attempts that need the same share it, whichever commit
// they are of. Its files are hard links to content that is kept once for each project: of
// a new commit only what no kept commit has is fetched and written. Folders go when they
// were long unused and the disk share is used up, and content with the last folder that
// has it.
//
// Folders are for reading: their files are read-only, since others have them too. The
// package does not know where content comes from; it takes none that is not what its id
// names.
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
	"strconv"
	"sync"
	"syscall"
)

// Source names the content of a folder.
type Source struct {
	Project string
	Commit  string
	Paths   []string
	// Untrusted: of a run of a stranger's commit, which is not given submodules, though another
	// run of the same commit may be.
	Untrusted bool
}

// Origin is where sources come from.
type Origin interface {
	// List answers the entries of a source and its identity, which is equal for equal
	// content of a project; no entries where the identity is one of held.
	List(ctx context.Context, s Source, held []string) (identity string, entries []Entry, err error)
	// Read hands the content of the wanted entries to take, in their order, with its size
	// in bytes.
	Read(ctx context.Context, s Source, identity string, wanted []int, take func(size int64, content io.Reader) error) error
}

// Checkout is a source on the disk.
type Checkout struct {
	Dir    string // another content has another name
	Reused bool   // it was there
	Files  int    // entries; of one that was not there
	// What was not there, in bytes: what came from the origin, and what was written.
	Fetched, Written int64
}

// Config says where folders are and how much may be kept.
type Config struct {
	Dir string // owned by one process at a time; what is in it at the start is removed
	// Keep is how many bytes of the disk folders that nobody uses may take. 0: 2 GiB.
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
	names   map[string]string // of a source → of its entry
	objects map[key]*object
	clock   int64 // counts uses: the least recently used goes first
	made    int   // counts objects
	idle    int64 // bytes of disk of entries and objects that nobody uses
}

type entry struct {
	dir      string
	identity string
	paths    string // project and paths
	names    []string
	objects  map[key]*object
	users    int
	used     int64
	size     int64         // bytes of disk for folders and names
	ready    chan struct{} // closed when err is set, and with it whether the folder is there
	err      error
}

// aliases is how many commits are remembered to have the content of a folder.
const aliases = 100

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
	c := &Cache{cfg: cfg, lock: lock, entries: map[string]*entry{}, names: map[string]string{}, objects: map[key]*object{}}
	if err := errors.Join(os.RemoveAll(c.root()), os.RemoveAll(c.store()), os.MkdirAll(c.root(), 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("empty work folder: %w", err), lock.Close())
	}
	return c, nil
}

func (c *Cache) root() string  { return filepath.Join(c.cfg.Dir, "sources") }
func (c *Cache) store() string { return filepath.Join(c.cfg.Dir, "content") }

// Close removes all folders. Nothing may be in use.
func (c *Cache) Close() error {
	return errors.Join(os.RemoveAll(c.root()), os.RemoveAll(c.store()), c.lock.Close())
}

// Acquire answers the folder of a source, fetching of it what is not there. release must
// be called when the folder is no longer read.
//
// Attempts that need the same folder at the same time share it. It belongs to the attempt
// that began it; when that one is ended, another begins anew.
func (c *Cache) Acquire(ctx context.Context, s Source, from Origin) (f Checkout, release func(), err error) {
	for {
		e, list, mine, err := c.enter(ctx, s, from)
		if err != nil {
			return Checkout{}, nil, err
		}
		if mine {
			f, err = c.fill(ctx, e, s, list, from)
			if e.err = err; err != nil {
				c.drop(e)
			}
			close(e.ready)
			if err != nil {
				return Checkout{}, nil, err
			}
			return f, c.releaser(e), nil
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
		}
		if ctx.Err() == nil && e.err == nil {
			return Checkout{Dir: e.dir, Reused: true}, c.releaser(e), nil
		}
		c.leave(e)
		if ctx.Err() != nil {
			return Checkout{}, nil, fmt.Errorf("wait for source: %w", context.Cause(ctx))
		}
	}
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:32]
}

// enter finds the entry of a source, or makes it: then it is the caller's to fill with what
// the list has.
func (c *Cache) enter(ctx context.Context, s Source, from Origin) (e *entry, list []Entry, mine bool, err error) {
	paths := digest(append([]string{s.Project}, slices.Compact(slices.Sorted(slices.Values(s.Paths)))...)...)
	name := digest(s.Commit, paths, strconv.FormatBool(s.Untrusted))
	if e, ok := c.known(name); ok {
		return e, nil, false, nil
	}
	for held := c.held(paths); ; held = nil {
		identity, list, err := from.List(ctx, s, held)
		if err != nil {
			return nil, nil, false, fmt.Errorf("list source: %w", err)
		}
		k := digest(s.Project, identity)
		c.mu.Lock()
		e, ok := c.entries[k]
		if !ok && slices.Contains(held, identity) {
			c.mu.Unlock()
			continue // it has gone meanwhile
		}
		if !ok {
			e = &entry{dir: filepath.Join(c.root(), k), identity: identity, paths: paths, ready: make(chan struct{})}
			c.entries[k] = e
		}
		if c.names[name] == "" {
			c.names[name], e.names = k, append(e.names, name)
		}
		if over := len(e.names) - aliases; over > 0 {
			delete(c.names, e.names[0])
			e.names = slices.Delete(e.names, 0, over)
		}
		c.take(e)
		c.mu.Unlock()
		return e, list, !ok, nil
	}
}

// known finds the entry of a source that was asked for before.
func (c *Cache) known(name string) (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[c.names[name]]
	if ok {
		c.take(e)
	}
	return e, ok
}

// held are the identities of the newest folders with the same paths.
func (c *Cache) held(paths string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*entry
	for _, e := range c.entries {
		if e.paths == paths {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(b.used, a.used) })
	var out []string
	for _, e := range found[:min(len(found), aliases)] {
		out = append(out, e.identity)
	}
	return out
}

// take counts a user; under the lock.
func (c *Cache) take(e *entry) {
	c.clock++
	e.used = c.clock
	if e.users++; e.users == 1 {
		c.idle -= e.size
		c.use(e.objects)
	}
}

func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.users--; e.users == 0 {
		c.idle += e.size
		c.unuse(e.objects)
	}
}

// drop forgets an entry that could not be filled, for the next attempt to begin anew.
func (c *Cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	c.unname(e)
}

// unname has nobody find an entry any more; under the lock.
func (c *Cache) unname(e *entry) {
	delete(c.entries, filepath.Base(e.dir))
	for _, n := range e.names {
		delete(c.names, n)
	}
}

func (c *Cache) releaser(e *entry) func() {
	return sync.OnceFunc(func() {
		c.leave(e)
		c.collect()
	})
}

// fill makes the folder beside the final place, so that a folder that is there is whole.
func (c *Cache) fill(ctx context.Context, e *entry, s Source, list []Entry, from Origin) (Checkout, error) {
	if err := check(list, c.cfg.Limits); err != nil {
		return Checkout{}, err
	}
	h, err := c.content(ctx, s, e.identity, list, from)
	if err != nil {
		return Checkout{}, err
	}
	made, err := c.place(e, s, list, h)
	if err != nil {
		return Checkout{}, errors.Join(err, c.discard(h))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.size, e.objects = made.size, h.objects
	return Checkout{Dir: e.dir, Files: len(list), Fetched: h.fetched, Written: h.fetched + made.copied}, nil
}

// place makes the folder of what is there.
func (c *Cache) place(e *entry, s Source, list []Entry, h *held) (*folder, error) {
	tmp, err := os.MkdirTemp(c.root(), "new-")
	if err != nil {
		return nil, fmt.Errorf("make source folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	f := &folder{dir: tmp, dirs: map[string]bool{}, size: block}
	var size int64
	for _, entry := range list {
		var file string
		if o := h.objects[keyOf(s.Project, entry)]; o != nil {
			file = o.file
			if size += o.size; size > c.cfg.Limits.Bytes {
				return nil, c.tooLarge()
			}
		}
		if err := f.add(entry, file); err != nil {
			return nil, err
		}
	}
	if err := f.finish(func(e Entry) (string, error) { return target(h.objects[keyOf(s.Project, e)], e) }); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, e.dir); err != nil {
		return nil, fmt.Errorf("keep source: %w", err)
	}
	return f, nil
}

// collect removes the least recently used folders that nobody uses until the rest fits.
func (c *Cache) collect() {
	c.mu.Lock()
	var unused []*entry
	for _, e := range c.entries {
		if e.users == 0 {
			unused = append(unused, e)
		}
	}
	slices.SortFunc(unused, func(a, b *entry) int { return cmp.Compare(a.used, b.used) })
	var gone, files []string
	for _, e := range unused {
		if c.idle <= c.cfg.Keep {
			break
		}
		// Moved away under the lock, so that a new fetch of the same finds its place free.
		away := fmt.Sprintf("%s.gone-%d", e.dir, e.used)
		if err := os.Rename(e.dir, away); err != nil {
			c.cfg.Log.Warn("remove source", "err", err)
		}
		gone = append(gone, away)
		c.unname(e)
		c.idle -= e.size
		files = append(files, c.forget(e.objects)...)
	}
	c.mu.Unlock()
	for _, dir := range gone {
		if err := os.RemoveAll(dir); err != nil {
			c.cfg.Log.Warn("remove source", "err", err)
		}
	}
	if err := remove(files); err != nil {
		c.cfg.Log.Warn("remove source", "err", err)
	}
}
