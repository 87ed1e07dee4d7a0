package workspace

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// epoch is the time of every file: what is built from equal files must not differ by
// when they were fetched. It is the epoch of package buildkit.
const epoch = 315532800

// ErrRefused means that a source has what no workspace may have. It is the repository's
// mistake, not the farm's.
var ErrRefused = errors.New("source refused")

// Limits of one source.
type Limits struct {
	Bytes int64 // of all files; 0: 4 GiB
	Files int   // entries; 0: 1,000,000
}

func (l Limits) withDefaults() Limits {
	return Limits{Bytes: cmp.Or(l.Bytes, 4<<30), Files: cmp.Or(l.Files, 1_000_000)}
}

const (
	block    = 4096 // of a disk, in bytes
	longName = 4096 // of what a link points to, in bytes
)

// folder makes one workspace below dir, in which nobody else writes. Links come last, so
// that nothing is written through one.
type folder struct {
	dir    string
	links  []Entry
	dirs   map[string]bool
	copied int64 // bytes
	size   int64 // bytes of disk for folders and names
}

// check refuses what no workspace may have, before anything is fetched for it.
func check(list []Entry, limits Limits) error {
	if len(list) > limits.Files {
		return fmt.Errorf("%w: more than %d files", ErrRefused, limits.Files)
	}
	for _, e := range list {
		if !filepath.IsLocal(filepath.FromSlash(e.Path)) || path.Clean(e.Path) != e.Path || e.Path == "." {
			return fmt.Errorf("%w: %q lies outside the repository", ErrRefused, e.Path)
		}
	}
	return nil
}

// add places an entry, whose content is in the file from.
func (f *folder) add(e Entry, from string) error {
	f.size += 64 + int64(len(e.Path))
	switch e.Kind {
	case File, Executable:
	case Folder:
		return f.mkdir(e.Path)
	case Link:
		f.links = append(f.links, e)
		return nil
	}
	if err := f.mkdir(path.Dir(e.Path)); err != nil {
		return err
	}
	err := os.Link(from, filepath.Join(f.dir, e.Path))
	if errors.Is(err, syscall.EMLINK) { // an empty file in every folder of a large repository
		err = f.copy(e, from)
	}
	if err != nil {
		return unwritten("file", e.Path, err)
	}
	return nil
}

func (f *folder) copy(e Entry, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	n, err := write(filepath.Join(f.dir, e.Path), in, e.mode())
	f.copied += n
	return err
}

func (f *folder) mkdir(name string) error {
	if name == "." || f.dirs[name] {
		return nil
	}
	if err := f.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(f.dir, name), 0o755); err != nil {
		return unwritten("folder", name, err)
	}
	f.dirs[name] = true
	f.size += block
	return nil
}

// finish makes the links, and sets the times of folders, which writing into them has changed.
func (f *folder) finish(target func(Entry) (string, error)) error {
	for _, e := range f.links {
		to, err := target(e)
		if err != nil {
			return err
		}
		if err := f.link(e.Path, to); err != nil {
			return err
		}
	}
	for d := range f.dirs {
		if err := stamp(filepath.Join(f.dir, d)); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) link(name, target string) error {
	if strings.HasPrefix(target, "/") || !filepath.IsLocal(filepath.FromSlash(path.Join(path.Dir(name), target))) {
		return fmt.Errorf("%w: %q is a link to %q, outside the repository: a build must not depend on the machine it runs on", ErrRefused, name, target)
	}
	if err := f.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := os.Symlink(target, filepath.Join(f.dir, name)); err != nil {
		return unwritten("link", name, err)
	}
	return nil
}

// write makes a file that nobody may change, with the time of all files.
func write(name string, r io.Reader, mode os.FileMode) (int64, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return n, err
	}
	return n, stamp(name)
}

func stamp(name string) error {
	at := time.Unix(epoch, 0)
	if err := os.Chtimes(name, at, at); err != nil {
		return fmt.Errorf("set time of %s: %w", name, err)
	}
	return nil
}

// unwritten tells a name that no workspace may have from a machine that has no room for it.
func unwritten(what, name string, err error) error {
	for _, own := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, own) {
			return fmt.Errorf("%s %q: %w", what, name, err)
		}
	}
	return fmt.Errorf("%w: %s %q: %w", ErrRefused, what, name, err)
}
