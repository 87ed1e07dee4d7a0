package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Options say what a commit's Contents have in place of what git has.
type Options struct {
	LFS        bool     // of pointers of Git LFS, what they point to
	Submodules []string // paths at which the files of a submodule are
}

// None: it is what git has.
func (o Options) None() bool { return !o.LFS && len(o.Submodules) == 0 }

// Identity names what a commit has at paths ("." is the whole): it is equal for equal
// content of one repository. ErrFileNotFound: there is no such path.
func (m *Mirror) Identity(ctx context.Context, repository, commit string, paths []string, with Options) (string, error) {
	r, found, err := m.chosen(ctx, repository, commit, paths)
	if err != nil {
		return "", err
	}
	if with.LFS { // attributes above the paths say whether there are pointers
		above, err := m.find(ctx, r, commit, attributesAbove(paths))
		if err != nil {
			return "", err
		}
		for p, e := range above {
			if e.File() {
				found[p] = e
			}
		}
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%v %q\n", with.LFS, with.Submodules)
	for _, p := range slices.Sorted(maps.Keys(found)) {
		_, _ = fmt.Fprintf(h, "%d:%s%s\n", len(p), p, found[p].Identity())
	}
	return hex.EncodeToString(h.Sum(nil)[:20]), nil
}

// Contents lists the files, links and submodules of a commit at and below paths, sorted by
// path, each once. ErrFileNotFound: there is no such path.
func (m *Mirror) Contents(ctx context.Context, repository, commit string, paths []string, with Options) ([]Entry, error) {
	r, found, err := m.chosen(ctx, repository, commit, paths)
	if err != nil {
		return nil, err
	}
	list, err := m.below(ctx, r, slices.Collect(maps.Values(found)))
	if err == nil && with.LFS {
		err = m.resolved(ctx, r, commit, paths, "", list)
	}
	if err == nil && len(with.Submodules) > 0 {
		return m.expanded(ctx, r, commit, list, with)
	}
	return list, err
}

// Read hands the content of entries of a commit's Contents to take, in their order, with
// its size in bytes. Folders and submodules have none.
func (m *Mirror) Read(ctx context.Context, repository, commit string, list []Entry, take func(i int, size int64, content io.Reader) error) error {
	own, err := m.at(ctx, repository, commit)
	if err != nil {
		return err
	}
	remotes, pointers := map[string]remote{"": own}, map[string][]Pointer{}
	for _, e := range list {
		if _, ok := remotes[e.Module]; !ok {
			if remotes[e.Module], err = parseRemote(e.Module, m.conf.LocalPaths); err != nil {
				return err
			}
		}
		if e.LFS != (Pointer{}) {
			pointers[e.Module] = append(pointers[e.Module], e.LFS)
		}
	}
	for of, some := range pointers {
		if err := m.fetchLFS(ctx, remotes[of], some); err != nil {
			return err
		}
	}
	for from := 0; from < len(list); {
		first, to := list[from], from+1
		r := remotes[first.Module]
		if first.LFS != (Pointer{}) {
			err = m.readLFS(ctx, r, first.LFS, func(content io.Reader) error { return take(from, first.LFS.Size, content) })
		} else {
			for to < len(list) && list[to].LFS == first.LFS && list[to].Module == first.Module {
				to++
			}
			err = m.readBlobs(ctx, r, list[from:to], func(i int, size int64, content io.Reader) error { return take(from+i, size, content) })
		}
		if err != nil {
			return fmt.Errorf("source of commit %s: %w", commit, err)
		}
		from = to
	}
	return nil
}

func (m *Mirror) readBlobs(ctx context.Context, r remote, list []Entry, take func(i int, size int64, content io.Reader) error) error {
	return m.transfers.contents(ctx, m.dir(r), ids(list), func(i int, o object, content io.Reader) error {
		if o.Kind != "blob" {
			return fmt.Errorf("the mirror of repository %s has no content of %s", r.shown, strictyaml.Quote(list[i].Path))
		}
		return take(i, o.Size, content)
	})
}

func (m *Mirror) readLFS(ctx context.Context, r remote, p Pointer, take func(content io.Reader) error) error {
	f, err := m.openLFS(ctx, r, p)
	if err != nil {
		return err
	}
	return errors.Join(take(f), f.Close())
}

// chosen are the entries that paths name.
func (m *Mirror) chosen(ctx context.Context, repository, commit string, paths []string) (remote, map[string]Entry, error) {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return remote{}, nil, err
	}
	if err := checkPaths(paths); err != nil {
		return remote{}, nil, err
	}
	found, err := m.find(ctx, r, commit, paths)
	if err != nil {
		return remote{}, nil, err
	}
	var missing []string
	out := make(map[string]Entry, len(paths))
	for _, p := range paths {
		e, ok := found[p]
		if out[p] = e; !ok {
			missing = append(missing, strictyaml.Quote(p))
		}
	}
	if len(missing) > 0 {
		return remote{}, nil, &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("commit %.12s has no %s", commit, strings.Join(missing, ", "))}
	}
	return r, out, nil
}
