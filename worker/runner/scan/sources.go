package scan

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
	maxFile  = 16 << 20 // of what is read whole: lock files, manifests
)

// sources are the regular files below the paths of a scan, listed by name and read one by one. No
// link is followed out of the workspace: none to a file or folder is followed at all, as what it
// points to is looked at where it lies.
type sources struct {
	root  *os.Root
	names []string // repository paths, sorted
	sizes map[string]int64
	links int
}

// open lists the files below paths. Those that are not there are in missing.
func open(ctx context.Context, workspace string, paths []string) (s *sources, missing []string, err error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, nil, fmt.Errorf("open workspace: %w", err)
	}
	s = &sources{root: root, sizes: map[string]int64{}}
	for _, p := range paths {
		p = path.Clean(p)
		if !fs.ValidPath(p) {
			return s, nil, &userError{fmt.Sprintf("%q is no path within the repository", p)}
		}
		info, err := root.Stat(p) // what a task names may be a link within the workspace
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, p)
			continue
		}
		if err != nil {
			return s, nil, &userError{fmt.Sprintf("%s: %v: expected a file or folder of the repository", p, err)}
		}
		if err := s.add(ctx, p, info, 0); err != nil {
			return s, nil, err
		}
	}
	slices.Sort(s.names)
	return s, missing, nil
}

func (s *sources) close() { _ = s.root.Close() }

func (s *sources) add(ctx context.Context, name string, info fs.FileInfo, depth int) error {
	_, twice := s.sizes[name]
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case info.Mode()&fs.ModeSymlink != 0:
		s.links++
		return nil
	case info.Mode().IsRegular() && !twice:
		if len(s.names) == maxFiles {
			return &userError{fmt.Sprintf("%s: the paths hold more than %d files: make them narrower", name, maxFiles)}
		}
		s.names, s.sizes[name] = append(s.names, name), info.Size()
		return nil
	case !info.IsDir():
		return nil
	case depth == maxDepth:
		return &userError{fmt.Sprintf("%s: folders lie more than %d deep", name, maxDepth)}
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

// read is the content of a listed file, of at most so many bytes. A special file that has taken its
// place is not waited for.
func (s *sources) read(name string, limit int64) ([]byte, error) {
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
		return nil, &userError{fmt.Sprintf("%s has more than %s, which is more than is read", name, size(limit))}
	}
	return data, nil
}

// line is the text of a line of a file, or empty where there is none.
func (s *sources) line(name string, n int) string {
	if s.sizes[name] > maxFile {
		return ""
	}
	data, err := s.read(name, maxFile)
	if err != nil {
		return ""
	}
	return lineOf(data, n)
}

func lineOf(data []byte, n int) string {
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

func size(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// below are the listed files in a folder and its folders, or the file itself.
func (s *sources) below(dir string) []string {
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

// listed is a file system of the listed files alone, for libraries that follow what a file names.
type listed struct{ *sources }

func (l listed) Open(name string) (fs.File, error) {
	if _, ok := l.sizes[name]; !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	data, err := l.read(name, maxFile)
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

// ReadDir lists nothing: no lock file needs it.
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
