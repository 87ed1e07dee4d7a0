package archive

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
	"syscall"
	"time"
)

// ErrRefused means that an archive holds what may not be unpacked.
var ErrRefused = errors.New("archive refused")

// Rules say what an archive may hold, and how that is said.
type Rules struct {
	Bytes int64  // of all files; 0: 4 GiB
	Files int    // entries; 0: 1,000,000
	Whole string // what it is an archive of, e.g. "the folder"; empty: "the archive"
}

func (r Rules) withDefaults() Rules {
	r.Bytes, r.Files, r.Whole = cmp.Or(r.Bytes, 4<<30), cmp.Or(r.Files, 1_000_000), cmp.Or(r.Whole, "the archive")
	return r
}

// extract writes the files, folders and links of a tar stream below dir, which must
// exist, and answers the bytes of the files. Modes keep their permission bits, all
// times become the same. Nothing outside dir is touched, whatever the archive says.
func extract(dir string, r io.Reader, rules Rules) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("open folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	x := extractor{root: root, rules: rules.withDefaults()}
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return x.size, x.finish()
		}
		if err != nil {
			return x.size, fmt.Errorf("read %s: %w", x.rules.Whole, err)
		}
		if n == x.rules.Files {
			return x.size, fmt.Errorf("%w: more than %d files", ErrRefused, x.rules.Files)
		}
		if err := x.entry(h, t); err != nil {
			return x.size, err
		}
	}
}

// Place writes one file below dir, where there must be none of that name, and nowhere else, whatever the name says.
func Place(dir, name string, mode os.FileMode, r io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(filepath.Base(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	_, err = io.Copy(f, r)
	at := time.Unix(Epoch, 0)
	if err := errors.Join(err, f.Chmod(mode), f.Close(), root.Chtimes(filepath.Base(name), at, at)); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return nil
}

type extractor struct {
	root  *os.Root
	rules Rules
	size  int64
	dirs  []string
}

func (x *extractor) entry(h *tar.Header, r io.Reader) error {
	name := path.Clean(h.Name)
	if name == "." {
		return nil
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("%w: %q lies outside %s", ErrRefused, h.Name, x.rules.Whole)
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
		return x.unwritten("folder", name, err)
	}
	for d := name; d != "."; d = path.Dir(d) {
		x.dirs = append(x.dirs, d)
	}
	return nil
}

func (x *extractor) file(name string, h *tar.Header, r io.Reader) error {
	if x.size += h.Size; x.size > x.rules.Bytes {
		return fmt.Errorf("%w: the files have more than %d bytes", ErrRefused, x.rules.Bytes)
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	f, err := x.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return x.unwritten("file", name, err)
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
	if !Inside(name, target) {
		return fmt.Errorf("%w: %q is a link to %q, outside %s", ErrRefused, name, target, x.rules.Whole)
	}
	if err := x.mkdir(path.Dir(name)); err != nil {
		return err
	}
	// Where the folder is another by a link, what leads upwards from it leads to other places than the names say.
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		info, err := x.root.Lstat(d)
		if err != nil {
			return x.unwritten("link", name, err)
		}
		if info.Mode().Type() == os.ModeSymlink {
			return fmt.Errorf("%w: %q is a link below %q, which is one itself", ErrRefused, name, d)
		}
	}
	if err := x.root.Symlink(target, name); err != nil {
		return x.unwritten("link", name, err)
	}
	return nil
}

// unwritten tells a name that no workspace may have from a machine that has no room for it.
func (x *extractor) unwritten(what, name string, err error) error {
	for _, own := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, own) {
			return fmt.Errorf("%s %q: %w", what, name, err)
		}
	}
	return fmt.Errorf("%w: %s %q: %w", ErrRefused, what, name, err)
}

func (x *extractor) stamp(name string) error {
	at := time.Unix(Epoch, 0)
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
