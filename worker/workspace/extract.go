package workspace

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// epoch is the time of every file: what is built from equal files must not differ by
// when they were fetched. It is the epoch of package buildkit.
const epoch = 315532800

// ErrRefused means that an archive holds what no workspace may hold. It is the
// repository's mistake, not the farm's.
var ErrRefused = errors.New("source refused")

// Limits of one source.
type Limits struct {
	Bytes int64 // of all files; 0: 4 GiB
	Files int   // entries; 0: 1,000,000
}

func (l Limits) withDefaults() Limits {
	return Limits{Bytes: cmp.Or(l.Bytes, 4<<30), Files: cmp.Or(l.Files, 1_000_000)}
}

// Extract writes the files, folders and links of a tar stream below dir, which must
// exist, and answers the bytes of the files. Modes keep their permission bits, all
// times become the same. Nothing outside dir is touched, whatever the archive says.
func Extract(dir string, r io.Reader, limits Limits) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("open source folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	x := extractor{root: root, limits: limits.withDefaults()}
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return x.size, x.finish()
		}
		if err != nil {
			return x.size, fmt.Errorf("read source archive: %w", err)
		}
		if n == x.limits.Files {
			return x.size, fmt.Errorf("%w: more than %d files", ErrRefused, x.limits.Files)
		}
		if err := x.entry(h, t); err != nil {
			return x.size, err
		}
	}
}

type extractor struct {
	root   *os.Root
	limits Limits
	size   int64
	dirs   []string
}

func (x *extractor) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // where git puts the commit's id
	}
	name := path.Clean(h.Name)
	if name == "." {
		return nil
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("%w: %q lies outside the repository", ErrRefused, h.Name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return x.mkdir(name)
	case tar.TypeReg:
		return x.file(name, h, r)
	case tar.TypeSymlink:
		return x.link(name, h.Linkname)
	default:
		return fmt.Errorf("%w: %q is no file, folder or symbolic link (tar type %q)", ErrRefused, h.Name, h.Typeflag)
	}
}

func (x *extractor) mkdir(name string) error {
	if name == "." {
		return nil
	}
	if err := x.root.MkdirAll(name, 0o755); err != nil {
		return unwritten("folder", name, err)
	}
	for d := name; d != "."; d = path.Dir(d) {
		x.dirs = append(x.dirs, d)
	}
	return nil
}

func (x *extractor) file(name string, h *tar.Header, r io.Reader) error {
	if x.size += h.Size; x.size > x.limits.Bytes {
		return fmt.Errorf("%w: the files have more than %d bytes: narrow the service's paths in slipway.yaml", ErrRefused, x.limits.Bytes)
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	f, err := x.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return unwritten("file", name, err)
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := x.root.Chmod(name, h.FileInfo().Mode().Perm()|0o400); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return x.stamp(name)
}

func (x *extractor) link(name, target string) error {
	if strings.HasPrefix(target, "/") || !filepath.IsLocal(filepath.FromSlash(path.Join(path.Dir(name), target))) {
		return fmt.Errorf("%w: %q is a link to %q, outside the repository: a build must not depend on the machine it runs on", ErrRefused, name, target)
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := x.root.Symlink(target, name); err != nil {
		return unwritten("link", name, err)
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

func (x *extractor) stamp(name string) error {
	at := time.Unix(epoch, 0)
	if err := x.root.Chtimes(name, at, at); err != nil {
		return fmt.Errorf("set time of %s: %w", name, err)
	}
	return nil
}

// finish sets the times of folders, which writing into them has changed.
func (x *extractor) finish() error {
	slices.Sort(x.dirs)
	for _, d := range slices.Compact(x.dirs) {
		if err := x.stamp(d); err != nil {
			return err
		}
	}
	return nil
}
