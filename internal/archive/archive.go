// Package archive packs files into a tar that is the same for the same files, and unpacks
// a tar into a folder without touching anything outside of it, whatever the tar says.
//
// It knows nothing of where archives come from or go to.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Epoch is the time of every file, in seconds since 1970: what is made of equal files must not
// differ by when they were written.
const Epoch = 315532800

// Entry is what a file is besides its bytes.
type Entry struct {
	Name string      // with slashes, below the folder that is packed
	Mode fs.FileMode // a regular file, a folder or a symbolic link; of the permissions only whether it can be executed is kept
	Size int64       // of a file
	Link string      // of a link: where it leads
}

// Writer packs entries, in the order in which they are added, as tar compressed with zstd.
type Writer struct {
	zstd *zstd.Encoder
	tar  *tar.Writer
}

// NewWriter packs into w.
func NewWriter(w io.Writer) (*Writer, error) {
	// One goroutine, so that equal input is cut into equal blocks.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return &Writer{zstd: z, tar: tar.NewWriter(z)}, nil
}

// Add adds an entry; r has exactly Size bytes, and is nil for what is no file.
func (w *Writer) Add(e Entry, r io.Reader) error {
	h := &tar.Header{Name: e.Name, ModTime: time.Unix(Epoch, 0), Format: tar.FormatPAX}
	switch {
	case e.Mode.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, e.Name+"/", 0o755
	case e.Mode.Type() == fs.ModeSymlink:
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
	case e.Mode.IsRegular():
		h.Typeflag, h.Size, h.Mode = tar.TypeReg, e.Size, 0o644
		if e.Mode.Perm()&0o111 != 0 {
			h.Mode = 0o755
		}
	default:
		return fmt.Errorf("pack %s: it is no file, folder or symbolic link", e.Name)
	}
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %s: %w", e.Name, err)
	}
	if r == nil {
		return nil
	}
	n, err := io.Copy(w.tar, r)
	if err == nil && n != e.Size {
		err = fmt.Errorf("it has %d bytes, not %d", n, e.Size)
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", e.Name, err)
	}
	return nil
}

// Close writes the end. The writer below stays open.
func (w *Writer) Close() error {
	if err := errors.Join(w.tar.Close(), w.zstd.Close()); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}

// Inside says that a link that is called name, below a folder, leads to something in that folder. A target that goes
// down and up again, as a/../b, does not: a may be a link itself, above which there is another folder than its name says.
func Inside(name, target string) bool {
	down := false
	for part := range strings.SplitSeq(target, "/") {
		if part == ".." && down {
			return false
		}
		down = down || part != "" && part != "." && part != ".."
	}
	return !strings.HasPrefix(target, "/") && filepath.IsLocal(filepath.FromSlash(path.Join(path.Dir(name), target)))
}

// Unpack writes the files, folders and links of what Writer packed below dir, which must exist, and answers the bytes of
// the files. Modes keep their permission bits, all times become the same. Nothing outside dir is touched, no link leads
// there, and memory is bounded, whatever the archive says.
func Unpack(dir string, r io.Reader, rules Rules) (int64, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return 0, fmt.Errorf("decompress: %w", err)
	}
	defer z.Close()
	n, err := extract(dir, z, rules)
	if err != nil {
		return n, err
	}
	// What is behind the end of the tar is read too: who reads r from somewhere knows then whether it was all right.
	if _, err := io.Copy(io.Discard, z); err != nil {
		return n, fmt.Errorf("read the archive: %w", err)
	}
	return n, nil
}

// maxWindow is how much a decoder keeps.
const maxWindow = 64 << 20
