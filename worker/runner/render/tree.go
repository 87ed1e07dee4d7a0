package render

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits of what is read.
const (
	maxFile  = 4 << 20
	maxFiles = 20_000
	maxAll   = 64 << 20
)

// tree holds files by repository path. Reading them before anything else means that
// nothing which kustomize does can reach the machine's own files.
type tree map[string][]byte

// load reads the regular files below paths. Links are followed as long as they stay
// within the workspace.
func load(workspace string, paths []string) (tree, error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	defer func() { _ = root.Close() }()
	l := reader{root: root, files: tree{}}
	for _, p := range paths {
		p = path.Clean(p)
		if !fs.ValidPath(p) {
			return nil, fmt.Errorf("%q is no path within the repository", p)
		}
		if err := l.add(p, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return l.files, nil
}

type reader struct {
	root  *os.Root
	files tree
	size  int64
}

func (l *reader) add(name string, depth int) error {
	if depth > 64 {
		return fmt.Errorf("%s: folders lie more than 64 deep: a link may point to its own parent", name)
	}
	if _, ok := l.files[name]; ok {
		return nil
	}
	info, err := l.root.Stat(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	switch {
	case info.IsDir():
		entries, err := fs.ReadDir(l.root.FS(), name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		for _, e := range entries {
			if e.Name() == ".git" || e.Name() == "node_modules" {
				continue
			}
			// A link that points nowhere is no mistake until something needs it.
			if err := l.add(path.Join(name, e.Name()), depth+1); err != nil && e.Type()&fs.ModeSymlink == 0 {
				return err
			}
		}
		return nil
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return nil // no manifest, and nothing that one would include
	}
	if l.size += info.Size(); l.size > maxAll || len(l.files) == maxFiles {
		return fmt.Errorf("%s: the paths for rendering hold more than %d files or %d MiB: make deploy.path narrower", name, maxFiles, maxAll>>20)
	}
	data, err := l.root.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	l.files[name] = data
	return nil
}

func (f tree) hasDir(dir string) bool {
	if dir == "." {
		return len(f) > 0
	}
	for name := range f {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// below are the files in dir and its folders, sorted, but for those below skip.
func (f tree) below(dir, skip string) []string {
	var out []string
	for name := range f {
		if dir != "." && !strings.HasPrefix(name, dir+"/") || strings.HasPrefix(name, skip+"/") {
			continue
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// fileInfo is a regular file with this name.
type fileInfo string

func (n fileInfo) Name() string     { return string(n) }
func (fileInfo) Size() int64        { return 0 }
func (fileInfo) Mode() fs.FileMode  { return 0o644 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }
