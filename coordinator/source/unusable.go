package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/gitcmd"
)

// Why a file of a commit cannot be used as it is.
type Why string

// What the mirror does not have, or no task may follow.
const (
	// Submodule: another repository belongs there, and an archive has an empty folder.
	Submodule Why = "submodule"
	// LFS: a pointer of Git LFS stands where the content belongs.
	LFS Why = "lfs"
	// LeavesRepository: a symbolic link to a path outside of the repository.
	LeavesRepository Why = "link"
)

// Unusable is a path of a commit that no task can use as it is.
type Unusable struct {
	Path   string
	Why    Why
	Target string // of a link
}

// lfsSize bounds pointers of Git LFS, in bytes, as their specification does.
const lfsSize = 1024

// Unusable answers what below paths (or above them: a folder of a submodule) no task can
// use as it is, sorted by path. ".": the whole commit.
func (m *Mirror) Unusable(ctx context.Context, repository, commit string, paths []string) ([]Unusable, error) {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return nil, err
	}
	if err := checkPaths(paths); err != nil {
		return nil, err
	}
	all, err := m.below(ctx, r, commit, paths)
	if err != nil {
		return nil, err
	}
	var out []Unusable
	var links, files []Entry
	for _, e := range all {
		switch {
		case e.Mode == "160000":
			out = append(out, Unusable{Path: e.Path, Why: Submodule})
		case e.Mode == "120000":
			links = append(links, e)
		case e.File():
			files = append(files, e)
		}
	}
	leaving, err := m.leaving(ctx, r, links)
	if err != nil {
		return nil, err
	}
	pointers, err := m.pointers(ctx, r, files)
	if err != nil {
		return nil, err
	}
	out = slices.Concat(out, leaving, pointers)
	slices.SortFunc(out, func(a, b Unusable) int { return cmp.Compare(a.Path, b.Path) })
	return out, nil
}

// below lists what is at and below paths, and the folders above them with their
// attributes, once each.
func (m *Mirror) below(ctx context.Context, r remote, commit string, paths []string) ([]Entry, error) {
	if slices.Contains(paths, ".") {
		return m.lsTree(ctx, r, commit, []string{"-r"}, nil)
	}
	above := map[string]bool{}
	for _, p := range paths {
		for dir := path.Dir(p); ; dir = path.Dir(dir) {
			above[path.Join(dir, ".gitattributes")] = true
			if dir == "." {
				break
			}
			above[dir] = true
		}
	}
	found := map[string]Entry{}
	add := func(flag string, paths []string) error {
		for batch := range slices.Chunk(paths, 500) {
			list, err := m.lsTree(ctx, r, commit, []string{flag}, batch)
			if err != nil {
				return err
			}
			for _, e := range list {
				found[e.Path] = e
			}
		}
		return nil
	}
	if err := errors.Join(add("-r", paths), add("-t", slices.Sorted(maps.Keys(above)))); err != nil {
		return nil, err
	}
	return slices.Collect(maps.Values(found)), nil
}

// leaving are the links that lead out of the repository. Where a link leads is read, not
// followed.
func (m *Mirror) leaving(ctx context.Context, r remote, links []Entry) ([]Unusable, error) {
	targets, err := m.blobs(ctx, r, links)
	if err != nil {
		return nil, err
	}
	var out []Unusable
	for name, data := range targets {
		target := string(data)
		if strings.HasPrefix(target, "/") || !filepath.IsLocal(filepath.FromSlash(path.Join(path.Dir(name), target))) {
			out = append(out, Unusable{Path: name, Why: LeavesRepository, Target: target})
		}
	}
	return out, nil
}

// pointers are the files of which Git LFS has the content. Files are only looked into
// where attributes say that there are such.
func (m *Mirror) pointers(ctx context.Context, r remote, files []Entry) ([]Unusable, error) {
	var attributes []Entry
	for _, f := range files {
		if path.Base(f.Path) == ".gitattributes" {
			attributes = append(attributes, f)
		}
	}
	rules, err := m.blobs(ctx, r, attributes)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(rules)), func(rule []byte) bool { return bytes.Contains(rule, []byte("filter=lfs")) }) {
		return nil, nil
	}
	var out []Unusable
	for batch := range slices.Chunk(files, 10_000) {
		small, err := m.small(ctx, r, batch)
		if err != nil {
			return nil, err
		}
		content, err := m.blobs(ctx, r, small)
		if err != nil {
			return nil, err
		}
		for name, data := range content {
			if bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")) && bytes.Contains(data, []byte("\noid ")) {
				out = append(out, Unusable{Path: name, Why: LFS})
			}
		}
	}
	return out, nil
}

// small are the files that may be pointers by their size.
func (m *Mirror) small(ctx context.Context, r remote, files []Entry) ([]Entry, error) {
	var ask strings.Builder
	for _, f := range files {
		ask.WriteString(f.ID + "\n")
	}
	var sizes bytes.Buffer
	err := m.git.Run(ctx, gitcmd.Command{
		Dir: m.dir(r), Args: []string{"cat-file", "--batch-check=%(objectsize)"}, Stdin: strings.NewReader(ask.String()), Stdout: &sizes,
	})
	if err != nil {
		return nil, fmt.Errorf("sizes of files: %w", err)
	}
	lines := strings.Fields(sizes.String())
	if len(lines) != len(files) {
		return nil, fmt.Errorf("sizes of files: %d answers for %d files", len(lines), len(files))
	}
	var out []Entry
	for i, f := range files {
		n, err := strconv.ParseInt(lines[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("size of %s: %w", f.Path, err)
		}
		if n > 0 && n < lfsSize {
			out = append(out, f)
		}
	}
	return out, nil
}
