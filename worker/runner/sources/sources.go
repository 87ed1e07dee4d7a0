// Package sources lists and reads the files of a workspace that a task may look at: regular files
// below its paths, within limits.
//
// It follows no link, and knows nothing of what is in a file.
package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Limits of what is looked at.
const (
	maxFiles = 200_000
	maxDepth = 128
	MaxFile  = 16 << 20 // of what is read whole: lock files, manifests
)

// Mistake is a mistake of the user's, which no repetition mends.
type Mistake struct{ message string }

func (m *Mistake) Error() string { return m.message }

// Mistakef says what the mistake is, and what to do.
func Mistakef(format string, a ...any) *Mistake { return &Mistake{fmt.Sprintf(format, a...)} }

// Files are the regular files below the paths of a task, listed by name and read one by one. No
// link is followed out of the workspace: none to a file or folder is followed at all, as what it
// points to is looked at where it lies.
type Files struct {
	root  *os.Root
	names []string // repository paths, sorted
	sizes map[string]int64
	links int
}

// Open lists the files below paths. Those that are not there are in missing. The files are to be
// closed also where there is an error, unless they are nil.
func Open(ctx context.Context, workspace string, paths []string) (s *Files, missing []string, err error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, nil, fmt.Errorf("open workspace: %w", err)
	}
	s = &Files{root: root, sizes: map[string]int64{}}
	for _, p := range paths {
		p = path.Clean(p)
		if !fs.ValidPath(p) {
			return s, nil, Mistakef("%q is no path within the repository", p)
		}
		info, err := root.Stat(p) // what a task names may be a link within the workspace
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, p)
			continue
		}
		if err != nil {
			return s, nil, Mistakef("%s: %v: expected a file or folder of the repository", p, err)
		}
		if err := s.add(ctx, p, info, 0); err != nil {
			return s, nil, err
		}
	}
	slices.Sort(s.names)
	return s, missing, nil
}

// Close lets go of the workspace.
func (s *Files) Close() { _ = s.root.Close() }

// Names are the paths of the files within the repository, sorted.
func (s *Files) Names() []string { return s.names }

// Has says whether a file is listed.
func (s *Files) Has(name string) bool {
	_, ok := s.sizes[name]
	return ok
}

// Size is that of a file when it was listed.
func (s *Files) Size(name string) int64 { return s.sizes[name] }

// Links is how many links were not followed.
func (s *Files) Links() int { return s.links }

func (s *Files) add(ctx context.Context, name string, info fs.FileInfo, depth int) error {
	_, twice := s.sizes[name]
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case info.Mode()&fs.ModeSymlink != 0:
		s.links++
		return nil
	case info.Mode().IsRegular() && !twice:
		if len(s.names) == maxFiles {
			return Mistakef("%s: the paths hold more than %d files: make them narrower", name, maxFiles)
		}
		s.names, s.sizes[name] = append(s.names, name), info.Size()
		return nil
	case !info.IsDir():
		return nil
	case depth == maxDepth:
		return Mistakef("%s: folders lie more than %d deep", name, maxDepth)
	}
	entries, err := fs.ReadDir(s.root.FS(), name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for _, e := range entries {
		if e.Name() == ".git" {
			continue
		}
		full := path.Join(name, e.Name())
		info, err := s.root.Lstat(full)
		if err != nil {
			return fmt.Errorf("read %s: %w", full, err)
		}
		if err := s.add(ctx, full, info, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Read is the content of a listed file, of at most so many bytes. A special file that has taken its
// place is not waited for.
func (s *Files) Read(name string, limit int64) ([]byte, error) {
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no regular file (%w)", name, errors.Join(err, fs.ErrInvalid))
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, Mistakef("%s has more than %s, which is more than is read", name, Bytes(limit))
	}
	return data, nil
}

// Line is the text of a line of a file, or empty where there is none.
func (s *Files) Line(name string, n int) string {
	if s.sizes[name] > MaxFile {
		return ""
	}
	data, err := s.Read(name, MaxFile)
	if err != nil {
		return ""
	}
	return LineOf(data, n)
}

// LineOf is the text of a line, counted from 1, or empty where there is none.
func LineOf(data []byte, n int) string {
	for ; n > 1; n-- {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return ""
		}
		data = data[i+1:]
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}

// Bytes is a number of bytes, for people.
func Bytes(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// Below are the listed files in a folder and its folders, or the file itself.
func (s *Files) Below(dir string) []string {
	dir = path.Clean(dir)
	if dir == "." {
		return s.names
	}
	var out []string
	for _, n := range s.names {
		if n == dir || strings.HasPrefix(n, dir+"/") {
			out = append(out, n)
		}
	}
	return out
}

// FS is a file system of listed files alone.
type FS interface {
	fs.StatFS
	fs.ReadDirFS
}

// FS is for libraries that follow what a file names: they find the listed files alone.
func (s *Files) FS() FS { return listed{s} }

// Info describes a listed file, for libraries.
func (s *Files) Info(name string) fs.FileInfo { return fileInfo{name, s.sizes[name]} }

type listed struct{ *Files }

func (l listed) Open(name string) (fs.File, error) {
	if _, ok := l.sizes[name]; !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	data, err := l.Read(name, MaxFile)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{Reader: bytes.NewReader(data), info: fileInfo{name, int64(len(data))}}, nil
}

func (l listed) Stat(name string) (fs.FileInfo, error) {
	n, ok := l.sizes[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return fileInfo{name, n}, nil
}

// ReadDir lists nothing: nobody needs it.
func (l listed) ReadDir(name string) ([]fs.DirEntry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
}

type file struct {
	*bytes.Reader
	info fileInfo
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (*file) Close() error                 { return nil }

type fileInfo struct {
	name string
	size int64
}

func (i fileInfo) Name() string     { return path.Base(i.name) }
func (i fileInfo) Size() int64      { return i.size }
func (fileInfo) Mode() fs.FileMode  { return 0o444 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }
