package baseimages

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// tree collects the files of one layer by their path in the image. What is set last for a path holds.
type tree struct {
	entries map[string]entry
}

type entry struct {
	header tar.Header
	source string // file on this machine, for regular files that are not in text
	text   string
}

func newTree() *tree { return &tree{entries: map[string]entry{}} }

// epoch is every file's time: a layer must not depend on when it was made.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

func (t *tree) put(at string, e entry) {
	at = path.Clean("/" + at)
	e.header.Name = strings.TrimPrefix(at, "/")
	e.header.ModTime = epoch()
	t.entries[at] = e
	for dir := path.Dir(at); dir != "/"; dir = path.Dir(dir) {
		if _, ok := t.entries[dir]; ok {
			break
		}
		t.dir(dir, 0o755)
	}
}

func (t *tree) dir(at string, mode int64) {
	t.put(at, entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}})
}

func (t *tree) owned(at string, mode int64, uid int) {
	t.put(at, entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode, Uid: uid, Gid: uid}})
}

func (t *tree) link(at, target string) {
	t.put(at, entry{header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}})
}

func (t *tree) file(at string, mode int64, text string) {
	t.put(at, entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(text))}, text: text})
}

// from takes one file of this machine.
func (t *tree) from(at, source string, mode int64) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	t.put(at, entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: mode, Size: info.Size()}, source: source})
	return nil
}

// program takes an executable with the libraries that it loads, which keep their places.
func (t *tree) program(ctx context.Context, at, source string) error {
	libs, err := libraries(ctx, source)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := t.from(lib, lib, 0o755); err != nil {
			return err
		}
	}
	return t.from(at, source, 0o755)
}

// copy takes a folder of this machine, less what skip says. A symbolic link stays one when it points into the folder;
// else what it points to takes its place.
func (t *tree) copy(at, source string, skip func(rel string, e fs.DirEntry) bool) error {
	source, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	return filepath.WalkDir(source, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, file)
		if err != nil || rel == "." {
			return err
		}
		if skip(filepath.ToSlash(rel), e) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		to := path.Join(at, filepath.ToSlash(rel))
		switch {
		case e.IsDir():
			t.dir(to, 0o755)
			return nil
		case e.Type()&fs.ModeSymlink != 0:
			return t.copyLink(to, file, source, skip)
		case !e.Type().IsRegular():
			return nil // A socket or a pipe has no place in an image.
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return t.from(to, file, 0o644|int64(info.Mode()&0o111))
	})
}

func (t *tree) copyLink(to, file, root string, skip func(string, fs.DirEntry) bool) error {
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(root, target); err == nil && filepath.IsLocal(rel) {
		rel, err := filepath.Rel(filepath.Dir(file), target)
		t.link(to, filepath.ToSlash(rel))
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return t.copy(to, target, skip)
	}
	return t.from(to, target, 0o644|int64(info.Mode()&0o111))
}

// layer is a compressed layer in a file.
type layer struct {
	file           string
	digest, diffID v1.Hash
	size           int64
}

// write packs the tree into a file below dir, in the order of names.
func (t *tree) write(ctx context.Context, dir string) (*layer, error) {
	out, err := os.CreateTemp(dir, "layer-*.tar.gz")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	compressed, plain := sha256.New(), sha256.New()
	buffer := bufio.NewWriterSize(io.MultiWriter(out, compressed), 1<<20)
	zip, err := gzip.NewWriterLevel(buffer, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(io.MultiWriter(zip, plain))
	for _, at := range slices.Sorted(maps.Keys(t.entries)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.entries[at].write(archive); err != nil {
			return nil, fmt.Errorf("pack %s: %w", at, err)
		}
	}
	for _, finish := range []func() error{archive.Close, zip.Close, buffer.Flush} {
		if err := finish(); err != nil {
			return nil, err
		}
	}
	info, err := out.Stat()
	if err != nil {
		return nil, err
	}
	return &layer{file: out.Name(), digest: sum(compressed), diffID: sum(plain), size: info.Size()}, nil
}

func (e entry) write(w *tar.Writer) error {
	if err := w.WriteHeader(&e.header); err != nil {
		return err
	}
	if e.source == "" {
		_, err := io.WriteString(w, e.text)
		return err
	}
	f, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.Sum(nil))}
}

func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

func (l *layer) Size() (int64, error) { return l.size, nil }

func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

func (l *layer) Compressed() (io.ReadCloser, error) { return os.Open(l.file) }

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	unzip, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &unzipped{unzip, f}, nil
}

type unzipped struct {
	*gzip.Reader
	file *os.File
}

func (u *unzipped) Close() error { return u.file.Close() }
