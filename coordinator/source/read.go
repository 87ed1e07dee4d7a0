package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// fileLimit is the size of a file that File and Files read, in bytes.
const fileLimit = 1 << 20

// Entry is a file, link, folder or submodule of a commit.
type Entry struct {
	Path string  // from the root of the repository
	Mode string  // "100644", "100755", "120000" (link), "040000" (folder), "160000" (submodule)
	ID   string  // of its blob or tree
	LFS  Pointer // of a file whose content Git LFS has, and Contents was asked to answer; else zero
	// Module is the address of the submodule's repository that it is of; empty: the commit's.
	Module string
}

// Dir reports a folder.
func (e Entry) Dir() bool { return e.Mode == "040000" }

// File reports a regular file.
func (e Entry) File() bool { return e.Mode == "100644" || e.Mode == "100755" }

// Link reports a symbolic link.
func (e Entry) Link() bool { return e.Mode == "120000" }

// Submodule reports a submodule: its ID is a commit of another repository.
func (e Entry) Submodule() bool { return e.Mode == "160000" }

// Identity names content and mode: "100755:<id>" for files, "040000:<id>" for folders.
func (e Entry) Identity() string { return e.Mode + ":" + e.ID }

// Tree answers the identity of each path at a commit ("." is the whole). Paths that do
// not exist are left out.
func (m *Mirror) Tree(ctx context.Context, repository, commit string, paths []string) (map[string]Entry, error) {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return nil, err
	}
	if err := checkPaths(paths); err != nil {
		return nil, err
	}
	found, err := m.find(ctx, r, commit, paths)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(found, func(p string, _ Entry) bool { return !slices.Contains(paths, p) })
	return found, nil
}

// List answers what stands directly in a folder at a commit, sorted by path; nothing
// if there is no such folder.
func (m *Mirror) List(ctx context.Context, repository, commit, dir string) ([]Entry, error) {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return nil, err
	}
	if err := checkPath(dir); err != nil {
		return nil, err
	}
	found, err := m.find(ctx, r, commit, []string{dir})
	if err != nil || !found[dir].Dir() {
		return nil, err
	}
	lists, err := m.inside(ctx, r, []Entry{found[dir]})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(lists[0], byPath)
	return lists[0], nil
}

// Files reads the regular files at a commit whose path matches one of the globs, of which
// each name is a pattern of path.Match: "slipway.yaml", "services/*/service.yaml".
// Links are not followed. A file over 1 MiB is ErrTooLarge.
func (m *Mirror) Files(ctx context.Context, repository, commit string, globs []string) (map[string][]byte, error) {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return nil, err
	}
	var found []Entry
	for _, g := range globs {
		list, err := m.glob(ctx, r, commit, g)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	return m.blobs(ctx, r, found)
}

// Named reads those of the regular files at a commit that exist. One over 1 MiB is ErrTooLarge.
func (m *Mirror) Named(ctx context.Context, repository, commit string, names []string) (map[string][]byte, error) {
	tree, err := m.Tree(ctx, repository, commit, names)
	if err != nil {
		return nil, err
	}
	var found []Entry
	for _, name := range names {
		if e, ok := tree[name]; ok && e.File() {
			found = append(found, e)
		}
	}
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return nil, err
	}
	return m.blobs(ctx, r, found)
}

// File reads one regular file at a commit. ErrFileNotFound: there is none.
func (m *Mirror) File(ctx context.Context, repository, commit, name string) ([]byte, error) {
	data, err := m.Named(ctx, repository, commit, []string{name})
	if err != nil {
		return nil, err
	}
	if _, ok := data[name]; !ok {
		return nil, &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("commit %.12s has no file %s", commit, strictyaml.Quote(name))}
	}
	return data[name], nil
}

// Message is what a commit says.
func (m *Mirror) Message(ctx context.Context, repository, commit string) (string, error) {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return "", err
	}
	out, err := m.git.Output(ctx, m.dir(r), "log", "-1", "--no-show-signature", "--format=%B", "--end-of-options", commit)
	if err != nil {
		return "", fmt.Errorf("message of commit %s of repository %s: %w", commit[:12], r.shown, err)
	}
	return string(out), nil
}

// MergeBase answers the newest commit that two commits have both come from.
func (m *Mirror) MergeBase(ctx context.Context, repository, a, b string) (string, error) {
	r, err := m.at(ctx, repository, a, b)
	if err != nil {
		return "", err
	}
	out, err := m.git.Output(ctx, m.dir(r), "merge-base", "--end-of-options", a, b)
	if err != nil {
		return "", fmt.Errorf("where %s and %s of repository %s parted: %w", a[:12], b[:12], r.shown, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Changed answers the paths of files that differ between two commits, sorted. A file
// that moved is two paths.
func (m *Mirror) Changed(ctx context.Context, repository, base, commit string) ([]string, error) {
	r, err := m.at(ctx, repository, base, commit)
	if err != nil {
		return nil, err
	}
	from, err := m.root(ctx, r, base)
	if err != nil {
		return nil, err
	}
	to, err := m.root(ctx, r, commit)
	if err != nil {
		return nil, err
	}
	paths, err := m.differ(ctx, r, from, to)
	if err != nil {
		return nil, fmt.Errorf("changes from %s to %s: %w", base, commit, err)
	}
	return paths, nil
}

// Archive writes a commit as tar, cut down to paths (none, or ".": everything). Entries
// have mode 0644 or 0755 and the commit's time, so equal commits have equal bytes. It
// returns after the last byte; an error after the first one leaves half a tar behind.
func (m *Mirror) Archive(ctx context.Context, repository, commit string, paths []string, w io.Writer) error {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return err
	}
	if err := checkPaths(paths); err != nil {
		return err
	}
	args := []string{"archive", "--format=tar", commit}
	if len(paths) > 0 && !slices.Contains(paths, ".") {
		args = append(append(args, "--"), paths...)
	}
	err = m.git.Run(ctx, gitcmd.Command{Dir: m.dir(r), Args: args, Stdout: w, Limit: m.conf.FetchLimit})
	var g *gitcmd.Error
	if errors.As(err, &g) && strings.Contains(g.Stderr, "did not match any files") {
		return &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("commit %.12s: %s", commit, lastLines(g.Stderr, 1)), Cause: err}
	}
	if err != nil {
		return fmt.Errorf("archive of commit %s: %w", commit, err)
	}
	return nil
}

// glob goes only into the folders that the pattern matches so far.
func (m *Mirror) glob(ctx context.Context, r remote, commit, glob string) ([]Entry, error) {
	if _, err := path.Match(glob, ""); err != nil || checkPath(glob) != nil {
		return nil, refuse("%s is not a pattern of paths", strictyaml.Quote(glob))
	}
	root, err := m.root(ctx, r, commit)
	if err != nil {
		return nil, err
	}
	level := []Entry{root}
	for pattern := range strings.SplitSeq(glob, "/") {
		lists, err := m.inside(ctx, r, slices.DeleteFunc(level, func(e Entry) bool { return !e.Dir() }))
		if err != nil {
			return nil, err
		}
		level = slices.DeleteFunc(slices.Concat(lists...), func(e Entry) bool {
			ok, err := path.Match(pattern, path.Base(e.Path))
			return !ok || err != nil
		})
	}
	return slices.DeleteFunc(level, func(e Entry) bool { return !e.File() }), nil
}

// blobs reads files in one call.
func (m *Mirror) blobs(ctx context.Context, r remote, files []Entry) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := m.objects.contents(ctx, m.dir(r), ids(files), func(i int, o object, content io.Reader) error {
		if o.Kind != "blob" {
			return fmt.Errorf("the mirror of repository %s has no content of %s", r.shown, strictyaml.Quote(files[i].Path))
		}
		if o.Size > fileLimit {
			return &Error{Kind: ErrTooLarge, Message: fmt.Sprintf("%s has %d bytes; at most %d are read", strictyaml.Quote(files[i].Path), o.Size, fileLimit)}
		}
		data, err := io.ReadAll(content)
		out[files[i].Path] = data
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read files: %w", err)
	}
	return out, nil
}

func ids(list []Entry) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.ID
	}
	return out
}
