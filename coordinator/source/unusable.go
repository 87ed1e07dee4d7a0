package source

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
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
	all, err := m.around(ctx, r, commit, paths)
	if err != nil {
		return nil, err
	}
	var out []Unusable
	var links, files []Entry
	for _, e := range all {
		switch {
		case e.Submodule():
			out = append(out, Unusable{Path: e.Path, Why: Submodule})
		case e.Link():
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
	for name := range pointers {
		out = append(out, Unusable{Path: name, Why: LFS})
	}
	out = append(out, leaving...)
	slices.SortFunc(out, func(a, b Unusable) int { return cmp.Compare(a.Path, b.Path) })
	return out, nil
}

// around lists what is at and below paths, and what stands above them: submodules and links,
// and attributes.
func (m *Mirror) around(ctx context.Context, r remote, commit string, paths []string) ([]Entry, error) {
	found, err := m.find(ctx, r, commit, slices.Concat(paths, attributesAbove(paths)))
	if err != nil {
		return nil, err
	}
	var from []Entry
	for p, e := range found {
		if !e.Dir() || slices.Contains(paths, p) {
			from = append(from, e)
		}
	}
	return m.below(ctx, r, from)
}

// attributesAbove are the names of the files of attributes in the folders above paths.
func attributesAbove(paths []string) (out []string) {
	for _, p := range paths {
		for dir := p; dir != "."; {
			dir = path.Dir(dir)
			out = append(out, path.Join(dir, ".gitattributes"))
		}
	}
	return out
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

// pointers are the files of which Git LFS has the content, with what stands in their place.
// Files are only looked into where attributes say that there are such.
func (m *Mirror) pointers(ctx context.Context, r remote, files []Entry) (map[string][]byte, error) {
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
	out := map[string][]byte{}
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
			if isPointer(data) {
				out[name] = data
			}
		}
	}
	return out, nil
}

// small are the files that may be pointers by their size.
func (m *Mirror) small(ctx context.Context, r remote, files []Entry) ([]Entry, error) {
	found, err := m.objects.stat(ctx, m.dir(r), ids(files))
	if err != nil {
		return nil, fmt.Errorf("sizes of files: %w", err)
	}
	var out []Entry
	for i, f := range files {
		if o := found[i]; o.Size > 0 && o.Size < lfsSize {
			out = append(out, f)
		}
	}
	return out, nil
}
