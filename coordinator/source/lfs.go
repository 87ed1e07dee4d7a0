package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Pointer is what stands in a commit for a file of Git LFS.
type Pointer struct {
	OID  string // the SHA-256 of the content, in hexadecimal digits
	Size int64  // of the content, in bytes
}

const (
	// lfsSize bounds pointers of Git LFS, in bytes, as their specification does.
	lfsSize = 1024
	// lfsAtOnce is how many objects of one repository are fetched at once.
	lfsAtOnce = 4
	// lfsBatch is how many objects are asked for in one request, as git-lfs does.
	lfsBatch = 100
	// lfsTries is how often an object is fetched that makes room for others before it is read.
	lfsTries = 5
)

func isPointer(data []byte) bool {
	return bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")) && bytes.Contains(data, []byte("\noid "))
}

// parsePointer reads the lines "oid sha256:<digits>" and "size <bytes>".
func parsePointer(data []byte) (Pointer, bool) {
	m := regexp.MustCompile(`(?m)^oid sha256:([0-9a-f]{64})$[\s\S]*^size ([0-9]{1,18})$`).FindSubmatch(data)
	if m == nil || !isPointer(data) {
		return Pointer{}, false
	}
	size, err := strconv.ParseInt(string(m[2]), 10, 64)
	return Pointer{OID: string(m[1]), Size: size}, err == nil
}

// resolved has the pointers among entries stand for what they point to.
// Their paths begin with prefix, and go on as in the commit.
func (m *Mirror) resolved(ctx context.Context, r remote, commit string, paths []string, prefix string, list []Entry) error {
	scope, err := m.around(ctx, r, commit, paths) // with the attributes above
	if err != nil {
		return err
	}
	files := slices.DeleteFunc(scope, func(e Entry) bool { return !e.File() })
	content, err := m.pointers(ctx, r, files)
	if err != nil {
		return err
	}
	for i, e := range list {
		data, ok := content[strings.TrimPrefix(e.Path, prefix)]
		if !ok {
			continue
		}
		if list[i].LFS, ok = parsePointer(data); !ok {
			return &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("%s looks like a pointer of Git LFS and is none that can be read: it has no sha256 and size", strictyaml.Quote(e.Path))}
		}
	}
	return nil
}

// lfsFile is where an object of a repository is. Each has its own: who knows an id, and may read one
// repository, is not given what another one's server has under it.
func (m *Mirror) lfsFile(r remote, p Pointer) string {
	return filepath.Join(m.conf.Dir, "lfs", r.key, p.OID[:2], p.OID)
}

// openLFS answers the content of a pointer that was fetched.
func (m *Mirror) openLFS(ctx context.Context, r remote, p Pointer) (*os.File, error) {
	f, err := os.Open(m.lfsFile(r, p))
	for tries := 0; errors.Is(err, fs.ErrNotExist) && tries < lfsTries; tries++ { // it made room meanwhile
		if err = m.fetchLFS(ctx, r, []Pointer{p}); err == nil {
			f, err = os.Open(m.lfsFile(r, p))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("object %s of Git LFS: %w", p.OID, err)
	}
	return f, nil
}

// fetchLFS has the mirror hold what pointers point to. What it holds is not waited for.
func (m *Mirror) fetchLFS(ctx context.Context, r remote, pointers []Pointer) error {
	if missing, err := m.missingLFS(r, pointers); err != nil || len(missing) == 0 {
		return err
	}
	unlock, err := m.lock(ctx, remote{key: "lfs " + r.key, shown: r.shown})
	if err != nil {
		return err
	}
	defer unlock()
	missing, err := m.missingLFS(r, pointers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.conf.FetchLimit)
	defer cancel()
	get := m.lfsRemote
	if r.protocol == "file" {
		get = m.lfsLocal
	}
	for len(missing) > 0 {
		n := m.batchLFS(missing)
		if err := get(ctx, r, missing[:n]); err != nil {
			return err
		}
		if err := m.trimLFS(); err != nil {
			return err
		}
		missing = missing[n:]
	}
	return nil
}

// batchLFS is how many objects are fetched before there is room made again.
func (m *Mirror) batchLFS(missing []Pointer) (n int) {
	for size := int64(0); n < min(len(missing), lfsBatch); n++ {
		if size += missing[n].Size; n > 0 && size > m.conf.LFSKeep {
			break
		}
	}
	return n
}

// missingLFS are those that the mirror does not hold. It notes of the others that they are used.
func (m *Mirror) missingLFS(r remote, pointers []Pointer) (missing []Pointer, err error) {
	seen, now := map[Pointer]bool{}, time.Now()
	for _, p := range pointers {
		if seen[p] {
			continue
		}
		seen[p] = true
		if p.Size > m.conf.LFSKeep {
			return nil, &Error{Kind: ErrTooLarge, Message: fmt.Sprintf("object %s of Git LFS has %d bytes; the coordinator keeps %d of all together (lfs_mib)", p.OID, p.Size, m.conf.LFSKeep)}
		}
		if info, err := os.Stat(m.lfsFile(r, p)); err == nil && info.Size() == p.Size {
			_ = os.Chtimes(m.lfsFile(r, p), now, now) // see trimLFS
			continue
		}
		missing = append(missing, p)
	}
	return missing, nil
}

// lfsLocal reads objects where git-lfs keeps those of a repository.
func (m *Mirror) lfsLocal(_ context.Context, r remote, pointers []Pointer) error {
	for _, p := range pointers {
		var f *os.File
		var err error
		for _, dir := range []string{".git", "."} {
			if f, err = os.Open(filepath.Join(r.address, dir, "lfs", "objects", p.OID[:2], p.OID[2:4], p.OID)); err == nil {
				break
			}
		}
		if err != nil {
			return noLFS(r, p, "git lfs fetch brings it there")
		}
		if err := errors.Join(m.storeLFS(r, p, f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func noLFS(r remote, p Pointer, why string) error {
	return &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("Git LFS of repository %s has no object %s: %s", r.shown, p.OID, why)}
}

// lfsRemote asks the remote's server where objects are, and gets them.
func (m *Mirror) lfsRemote(ctx context.Context, r remote, pointers []Pointer) error {
	c := lfsClient{http: m.conf.HTTP, netrc: m.conf.Netrc}
	actions, err := c.batch(ctx, r, pointers)
	if err != nil {
		return err
	}
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(lfsAtOnce)
	for _, p := range pointers {
		g.Go(func() error {
			return c.download(inner, r, p, actions[p.OID], func(content io.Reader) error { return m.storeLFS(r, p, content) })
		})
	}
	return g.Wait()
}

// storeLFS keeps content that is what its pointer says.
func (m *Mirror) storeLFS(r remote, p Pointer, content io.Reader) (err error) {
	name := m.lfsFile(r, p)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("keep objects of Git LFS: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "new-")
	if err != nil {
		return fmt.Errorf("keep objects of Git LFS: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(content, p.Size+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("object %s of Git LFS: %w", p.OID, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != p.Size || got != p.OID {
		return &Error{Kind: ErrUnreachable, Message: fmt.Sprintf("object %s of Git LFS is not what came: expected %d bytes with that SHA-256", p.OID, p.Size)}
	}
	now := time.Now() // the file system's clock may be some milliseconds behind, and trimLFS compares
	if err := errors.Join(os.Chtimes(f.Name(), now, now), os.Rename(f.Name(), name)); err != nil {
		return fmt.Errorf("keep objects of Git LFS: %w", err)
	}
	return nil
}

// abandonedLFS removes what was on its way when the coordinator ended.
func (m *Mirror) abandonedLFS() error {
	found, err := fs.Glob(os.DirFS(m.conf.Dir), "lfs/*/*/new-*")
	for _, name := range found {
		err = errors.Join(err, os.Remove(filepath.Join(m.conf.Dir, name)))
	}
	return err
}

// trimLFS removes what was not used for longest until the rest fits.
func (m *Mirror) trimLFS() error {
	type kept struct {
		name string
		size int64
		used time.Time
	}
	var all []kept
	var total int64
	dir := filepath.Join(m.conf.Dir, "lfs")
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), "new-") {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			all, total = append(all, kept{name, info.Size(), info.ModTime()}), total+info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look through objects of Git LFS: %w", err)
	}
	slices.SortFunc(all, func(a, b kept) int { return a.used.Compare(b.used) })
	for _, k := range all {
		if total <= m.conf.LFSKeep {
			break
		}
		if err := os.Remove(k.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove object of Git LFS: %w", err)
		}
		total -= k.size
	}
	return nil
}
