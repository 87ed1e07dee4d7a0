package testrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/mask"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

// Limits of the search for reports.
const (
	maxReports = 200
	maxFolders = 20_000
	readChunk  = 4 << 20
	maxAll     = 96 << 20 // of files that are given as they are
)

// files is the file system that a test left.
type files interface {
	readDir(ctx context.Context, dir string) ([]*fstypes.Stat, error)
	readAt(ctx context.Context, name string, offset, length int) ([]byte, error)
}

type refFiles struct{ ref gateway.Reference }

func (f refFiles) readDir(ctx context.Context, dir string) ([]*fstypes.Stat, error) {
	return f.ref.ReadDir(ctx, gateway.ReadDirRequest{Path: dir})
}

func (f refFiles) readAt(ctx context.Context, name string, offset, length int) ([]byte, error) {
	return f.ref.ReadFile(ctx, gateway.ReadRequest{Filename: name, Range: &gateway.FileRange{Offset: offset, Length: length}})
}

type containerFiles struct{ ctr gateway.Container }

func (f containerFiles) readDir(ctx context.Context, dir string) ([]*fstypes.Stat, error) {
	return f.ctr.ReadDir(ctx, gateway.ReadDirContainerRequest{ReadDirRequest: gateway.ReadDirRequest{Path: dir}})
}

func (f containerFiles) readAt(ctx context.Context, name string, offset, length int) ([]byte, error) {
	return f.ctr.ReadFile(ctx, gateway.ReadContainerRequest{
		ReadRequest: gateway.ReadRequest{Filename: name, Range: &gateway.FileRange{Offset: offset, Length: length}},
	})
}

// report is one report file.
type report struct {
	name    string
	summary testreport.Summary
	err     error
}

// readReports finds and reads the files that match an absolute pattern, in the order of their names.
func readReports(ctx context.Context, f files, pattern string, m *mask.Masker) (out []report) {
	err := each(ctx, f, pattern, func(name string, data []byte, err error) error {
		r := report{name: name, err: err}
		if err == nil {
			// Before it is cut to what a result may hold.
			r.summary, r.err = testreport.Parse([]byte(m.Text(string(data))))
		}
		out = append(out, r)
		return nil
	})
	if err != nil {
		return []report{{name: pattern, err: err}}
	}
	return out
}

// readFiles gives the files that match an absolute pattern as they are, in the order of their names.
func readFiles(ctx context.Context, f files, pattern string, m *mask.Masker) (out []runner.File) {
	all := 0
	err := each(ctx, f, pattern, func(name string, data []byte, err error) error {
		if all += len(data); all > maxAll {
			return fmt.Errorf("the files that match have more than %d MiB: make the pattern narrower", maxAll>>20)
		}
		out = append(out, runner.File{Name: name, Data: []byte(m.Text(string(data))), Err: err})
		return nil
	})
	if err != nil {
		return []runner.File{{Name: pattern, Err: err}}
	}
	return out
}

// each calls visit with each file that matches an absolute pattern, or why it could not be read, in
// the order of their names. The error is of the search itself, or of visit.
func each(ctx context.Context, f files, pattern string, visit func(name string, data []byte, err error) error) error {
	s := search{files: f, most: maxReports}
	if err := s.walk(ctx, "/", strings.Split(strings.Trim(path.Clean(pattern), "/"), "/")); err != nil {
		return err
	}
	slices.Sort(s.found)
	for _, name := range slices.Compact(s.found) {
		data, err := read(ctx, f, name)
		if err := visit(name, data, err); err != nil {
			return err
		}
	}
	return nil
}

func read(ctx context.Context, f files, name string) ([]byte, error) {
	var data []byte
	for {
		chunk, err := f.readAt(ctx, name, len(data), readChunk)
		if err != nil {
			return nil, err
		}
		data = append(data, chunk...)
		if len(chunk) < readChunk || len(data) > testreport.MaxSize {
			return data, nil
		}
	}
}

type search struct {
	files   files
	most    int  // files, and with whole folders and links too
	whole   bool // a folder that matches is all that is in it, and links are found too
	folders int
	found   []string
	entries []entry // the same, with whole
}

// entry is a file, folder or link that was found.
type entry struct {
	full string
	stat *fstypes.Stat
}

func (s *search) add(full string, stat *fstypes.Stat) error {
	if s.whole {
		s.entries = append(s.entries, entry{full, stat})
	} else {
		s.found = append(s.found, full)
	}
	if max(len(s.found), len(s.entries)) > s.most {
		return &unkept{fmt.Sprintf("the pattern matches more than %d files: make it narrower", s.most)}
	}
	return nil
}

// all finds a folder and all that is in it.
func (s *search) all(ctx context.Context, dir string, stat *fstypes.Stat) error {
	if err := s.add(dir, stat); err != nil {
		return err
	}
	entries, err := s.read(ctx, dir)
	if err != nil {
		return fmt.Errorf("read %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := s.ends(ctx, path.Join(dir, path.Base(e.Path)), e); err != nil {
			return err
		}
	}
	return nil
}

// ends takes what the whole pattern matches.
func (s *search) ends(ctx context.Context, full string, stat *fstypes.Stat) error {
	mode := fs.FileMode(stat.Mode)
	switch {
	case mode.IsRegular(), s.whole && mode.Type() == fs.ModeSymlink:
		return s.add(full, stat)
	case s.whole && mode.IsDir():
		return s.all(ctx, full, stat)
	}
	return nil
}

func (s *search) read(ctx context.Context, dir string) ([]*fstypes.Stat, error) {
	if s.folders++; s.folders > maxFolders {
		return nil, &unkept{fmt.Sprintf("the pattern looks into more than %d folders: make it narrower", maxFolders)}
	}
	return s.files.readDir(ctx, dir)
}

// walk follows the segments of a pattern below dir; "**" stands for any number of folders.
func (s *search) walk(ctx context.Context, dir string, segments []string) error {
	if len(segments) == 0 {
		return nil
	}
	first, rest := segments[0], segments[1:]
	if first == "**" {
		if err := s.walk(ctx, dir, rest); err != nil {
			return err
		}
	}
	entries, err := s.read(ctx, dir)
	if err != nil {
		if own := (*unkept)(nil); errors.As(err, &own) {
			return err
		}
		if s.folders == 1 || ctx.Err() != nil {
			return fmt.Errorf("read %s: %w", dir, err)
		}
		return nil // a folder that is not there holds no report
	}
	for _, e := range entries {
		name := path.Base(e.Path)
		full := path.Join(dir, name)
		isDir := fs.FileMode(e.Mode).IsDir()
		if first == "**" {
			if isDir && !hidden(name) {
				if err := s.walk(ctx, full, segments); err != nil {
					return err
				}
			}
			continue
		}
		ok, err := path.Match(first, name)
		switch {
		case err != nil:
			return &unkept{fmt.Sprintf("the pattern is malformed: %v", err)}
		case !ok:
		case len(rest) == 0:
			if err := s.ends(ctx, full, e); err != nil {
				return err
			}
		case isDir:
			if err := s.walk(ctx, full, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

// hidden are folders in which "**" looks for no reports: others' packages have their own.
func hidden(name string) bool {
	return slices.Contains([]string{"node_modules", ".git", "proc", "sys", "dev"}, name)
}
