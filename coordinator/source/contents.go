package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Identity names what a commit has at paths ("." is the whole): it is equal for equal
// content of one repository. ErrFileNotFound: there is no such path.
func (m *Mirror) Identity(ctx context.Context, repository, commit string, paths []string) (string, error) {
	_, found, err := m.chosen(ctx, repository, commit, paths)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, p := range slices.Sorted(maps.Keys(found)) {
		_, _ = fmt.Fprintf(h, "%d:%s%s\n", len(p), p, found[p].Identity())
	}
	return hex.EncodeToString(h.Sum(nil)[:20]), nil
}

// Contents lists the files, links and submodules of a commit at and below paths, sorted by
// path, each once. ErrFileNotFound: there is no such path.
func (m *Mirror) Contents(ctx context.Context, repository, commit string, paths []string) ([]Entry, error) {
	r, found, err := m.chosen(ctx, repository, commit, paths)
	if err != nil {
		return nil, err
	}
	return m.below(ctx, r, slices.Collect(maps.Values(found)))
}

// Read hands the content of entries of a commit's Contents to take, in their order, with
// its size in bytes. Folders and submodules have none.
func (m *Mirror) Read(ctx context.Context, repository, commit string, list []Entry, take func(i int, size int64, content io.Reader) error) error {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return err
	}
	err = m.transfers.contents(ctx, m.dir(r), ids(list), func(i int, o object, content io.Reader) error {
		if o.Kind != "blob" {
			return fmt.Errorf("the mirror of repository %s has no content of %s", r.shown, strictyaml.Quote(list[i].Path))
		}
		return take(i, o.Size, content)
	})
	if err != nil {
		return fmt.Errorf("source of commit %s: %w", commit, err)
	}
	return nil
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
