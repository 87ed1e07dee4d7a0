package workspace

import (
	"context"
	"crypto/sha1" //nolint:gosec // how git names content
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// Kind is what an entry is.
type Kind int

// The kinds of entries.
const (
	File Kind = iota + 1
	Executable
	Link   // its content is what it points to
	Folder // one that may be empty
)

// Entry is one name of a source.
type Entry struct {
	Path string // from the root of the repository
	Kind Kind
	ID   Content // zero for a folder
}

// Content names the bytes of a file.
type Content struct {
	Blob   string // raw id of git's blob: 20 bytes of SHA-1, or 32 of SHA-256
	SHA256 string // raw sum of the bytes themselves; Blob is empty then
}

// sum is the hash that content must have, with what is hashed before it.
func (c Content) sum(size int64) (hash.Hash, string, error) {
	var h hash.Hash
	switch {
	case len(c.SHA256) == sha256.Size && c.Blob == "":
		return sha256.New(), c.SHA256, nil
	case c.SHA256 == "" && len(c.Blob) == sha1.Size:
		h = sha1.New() //nolint:gosec // as above
	case c.SHA256 == "" && len(c.Blob) == sha256.Size:
		h = sha256.New()
	default:
		return nil, "", fmt.Errorf("content %x%x has an id of no known kind", c.Blob, c.SHA256)
	}
	_, _ = fmt.Fprintf(h, "blob %d\x00", size)
	return h, c.Blob, nil
}

// mode is read only: the file is in other workspaces as well.
func (e Entry) mode() os.FileMode {
	if e.Kind == Executable {
		return 0o555
	}
	return 0o444
}

// key of an object: what may be one file in several workspaces.
type key struct {
	project    string
	content    Content
	executable bool
}

func keyOf(project string, e Entry) key { return key{project, e.ID, e.Kind == Executable} }

// object is a file that workspaces have links to. Its fields are the cache's, under the lock.
type object struct {
	file  string
	size  int64
	refs  int           // workspaces that have it
	users int           // those of them that are in use
	ready chan struct{} // closed when err is set, and with it whether the file is there
	err   error
}

// content brings what entries need into the cache, in use: the bytes that are not there are
// read from the origin, each by one attempt of those that need them at the same time.
func (c *Cache) content(ctx context.Context, s Source, identity string, list []Entry, from Origin) (*held, error) {
	h := &held{objects: map[key]*object{}}
	for again := true; again; {
		again = false
		wanted, others := c.claim(s, list, h.objects)
		if err := c.read(ctx, s, identity, list, wanted, from, h); err != nil {
			return nil, errors.Join(err, c.discard(h))
		}
		for k, o := range others {
			select {
			case <-o.ready:
			case <-ctx.Done():
				return nil, errors.Join(fmt.Errorf("wait for source: %w", context.Cause(ctx)), c.discard(h))
			}
			if o.err != nil {
				delete(h.objects, k) // whoever began it was ended: it is begun anew
				again = true
			}
		}
	}
	return h, nil
}

// discard gives back what no workspace was made of.
func (c *Cache) discard(h *held) error {
	c.mu.Lock()
	c.unuse(h.objects)
	files := c.forget(h.objects)
	c.mu.Unlock()
	return remove(files)
}

func remove(files []string) error {
	var all error
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// held is what a workspace has of the cache.
type held struct {
	objects map[key]*object
	fetched int64 // bytes that came for it
}

// claim takes the objects that got lacks. wanted are the entries whose content is the
// caller's to read, others what somebody else reads.
func (c *Cache) claim(s Source, list []Entry, got map[key]*object) (wanted []int, others map[key]*object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	others = map[key]*object{}
	for i, e := range list {
		k := keyOf(s.Project, e)
		if e.Kind == Folder || got[k] != nil {
			continue
		}
		o, ok := c.objects[k]
		if !ok {
			c.made++
			o = &object{file: filepath.Join(c.store(), fmt.Sprintf("%d", c.made/block), fmt.Sprintf("%d", c.made)), ready: make(chan struct{})}
			c.objects[k] = o
			wanted = append(wanted, i)
		} else {
			others[k] = o
		}
		if o.users == 0 {
			c.idle -= disk(o.size)
		}
		o.refs++
		o.users++
		got[k] = o
	}
	return wanted, others
}

// read reads what was claimed. What it could not read is nobody's any more.
func (c *Cache) read(ctx context.Context, s Source, identity string, list []Entry, wanted []int, from Origin, h *held) error {
	if len(wanted) == 0 {
		return nil
	}
	next := 0
	err := from.Read(ctx, s, identity, wanted, func(size int64, content io.Reader) error {
		if next == len(wanted) {
			return errors.New("more content than was asked for")
		}
		e := list[wanted[next]]
		if h.fetched += size; h.fetched > c.cfg.Limits.Bytes {
			return c.tooLarge()
		}
		o := h.objects[keyOf(s.Project, e)]
		if err := keep(o.file, e, size, content); err != nil {
			return fmt.Errorf("content of %q: %w", e.Path, err)
		}
		next++
		c.mu.Lock()
		defer c.mu.Unlock()
		o.size = size
		close(o.ready)
		return nil
	})
	if err == nil && next < len(wanted) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("fetch source: %w", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range wanted[next:] {
		k := keyOf(s.Project, list[i])
		o := h.objects[k]
		o.err = err
		close(o.ready)
		delete(c.objects, k)
		delete(h.objects, k)
	}
	return err
}

func (c *Cache) tooLarge() error {
	return fmt.Errorf("%w: the files have more than %d bytes: narrow the service's paths in slipway.yaml", ErrRefused, c.cfg.Limits.Bytes)
}

// disk is what a file takes of a disk, in bytes.
func disk(size int64) int64 { return (size + block - 1) / block * block }

// keep writes content that is what its name says.
func keep(file string, e Entry, size int64, content io.Reader) error {
	sum, want, err := e.ID.sum(size)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	n, err := write(file, io.TeeReader(content, sum), e.mode())
	switch {
	case err != nil:
	case n != size:
		err = fmt.Errorf("%d bytes arrived of %d", n, size)
	case string(sum.Sum(nil)) != want:
		err = errors.New("what arrived is not what its id names")
	default:
		return nil
	}
	return errors.Join(err, remove([]string{file}))
}

// use and unuse count a workspace that is in use from now on, or no more; under the lock.
func (c *Cache) use(objects map[key]*object) {
	for _, o := range objects {
		if o.users == 0 {
			c.idle -= disk(o.size)
		}
		o.users++
	}
}

func (c *Cache) unuse(objects map[key]*object) {
	for _, o := range objects {
		if o.users--; o.users == 0 {
			c.idle += disk(o.size)
		}
	}
}

// forget counts a workspace that is gone, and answers the files that none has any more;
// under the lock.
func (c *Cache) forget(objects map[key]*object) (files []string) {
	for k, o := range objects {
		if o.refs--; o.refs > 0 {
			continue
		}
		if c.objects[k] == o {
			delete(c.objects, k)
		}
		c.idle -= disk(o.size)
		files = append(files, o.file)
	}
	return files
}

// target reads what a link points to.
func target(o *object, e Entry) (string, error) {
	if o.size > longName {
		return "", fmt.Errorf("%w: link %q points to a name that is too long", ErrRefused, e.Path)
	}
	data, err := os.ReadFile(o.file)
	if err != nil {
		return "", fmt.Errorf("link %q: %w", e.Path, err)
	}
	return string(data), nil
}
