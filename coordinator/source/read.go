package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// fileLimit is the size of a file that File and Files read, in bytes.
const fileLimit = 1 << 20

// Entry is a file, link, folder or submodule of a commit.
type Entry struct {
	Path string // from the root of the repository
	Mode string // "100644", "100755", "120000" (link), "040000" (folder), "160000" (submodule)
	ID   string // of its blob or tree
}

// Dir reports a folder.
func (e Entry) Dir() bool { return e.Mode == "040000" }

// File reports a regular file.
func (e Entry) File() bool { return e.Mode == "100644" || e.Mode == "100755" }

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
	out := map[string]Entry{}
	var ask []string
	for _, p := range paths {
		if p != "." {
			ask = append(ask, p)
			continue
		}
		id, err := m.git.Output(ctx, m.dir(r), "rev-parse", "--verify", "--end-of-options", commit+"^{tree}")
		if err != nil {
			return nil, fmt.Errorf("tree of commit %s: %w", commit, err)
		}
		out["."] = Entry{Path: ".", Mode: "040000", ID: strings.TrimSpace(string(id))}
	}
	for batch := range slices.Chunk(ask, 500) {
		found, err := m.lsTree(ctx, r, commit, []string{"-t"}, batch)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if slices.Contains(batch, e.Path) {
				out[e.Path] = e
			}
		}
	}
	return out, nil
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
	var paths []string
	if dir != "." {
		paths = []string{dir + "/"}
	}
	return m.lsTree(ctx, r, commit, nil, paths)
}

// Files reads the regular files at a commit whose path matches one of the globs, each a
// pattern of path.Match over the whole path: "slipway.yaml", "services/*/service.yaml".
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
	out, err := m.git.Output(ctx, m.dir(r), "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv",
		"--ignore-submodules=none", "--end-of-options", base, commit)
	if err != nil {
		return nil, fmt.Errorf("changes from %s to %s: %w", base, commit, err)
	}
	paths := splitZ(out)
	slices.Sort(paths)
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

// glob lists the files below the part of a pattern that has no wildcard, and matches.
func (m *Mirror) glob(ctx context.Context, r remote, commit, glob string) ([]Entry, error) {
	if _, err := path.Match(glob, ""); err != nil || checkPath(glob) != nil {
		return nil, refuse("%s is not a pattern of paths", strictyaml.Quote(glob))
	}
	fixed := glob
	for strings.ContainsAny(fixed, `*?[\`) {
		fixed = path.Dir(fixed)
	}
	var paths []string
	if fixed != "." {
		paths = []string{fixed}
	}
	all, err := m.lsTree(ctx, r, commit, []string{"-r"}, paths)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(e Entry) bool {
		ok, _ := path.Match(glob, e.Path) // the pattern was checked above
		return !ok || !e.File()
	}), nil
}

func (m *Mirror) lsTree(ctx context.Context, r remote, commit string, flags, paths []string) ([]Entry, error) {
	args := slices.Concat([]string{"ls-tree", "-z", "--full-tree"}, flags, []string{commit, "--"}, paths)
	out, err := m.git.Output(ctx, m.dir(r), args...)
	if err != nil {
		return nil, fmt.Errorf("list commit %s: %w", commit, err)
	}
	var entries []Entry
	for _, line := range splitZ(out) {
		meta, name, ok := strings.Cut(line, "\t")
		f := strings.Fields(meta) // mode, type, id
		if !ok || len(f) != 3 {
			return nil, fmt.Errorf("list commit %s: unexpected line %q", commit, line)
		}
		entries = append(entries, Entry{Path: name, Mode: f[0], ID: f[2]})
	}
	return entries, nil
}

// blobs reads files in one call.
func (m *Mirror) blobs(ctx context.Context, r remote, files []Entry) (map[string][]byte, error) {
	out := map[string][]byte{}
	if len(files) == 0 {
		return out, nil
	}
	var ask strings.Builder
	for _, f := range files {
		ask.WriteString(f.ID + "\n")
	}
	var sizes bytes.Buffer
	if err := m.git.Run(ctx, gitcmd.Command{Dir: m.dir(r), Args: []string{"cat-file", "--batch-check"}, Stdin: strings.NewReader(ask.String()), Stdout: &sizes}); err != nil {
		return nil, fmt.Errorf("sizes of files: %w", err)
	}
	for i, line := range strings.Split(strings.TrimSpace(sizes.String()), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 || i >= len(files) {
			return nil, fmt.Errorf("sizes of files: unexpected line %q", line)
		}
		if n, err := strconv.ParseInt(f[2], 10, 64); err != nil || n > fileLimit {
			return nil, &Error{Kind: ErrTooLarge, Message: fmt.Sprintf("%s has %s bytes; at most %d are read", strictyaml.Quote(files[i].Path), f[2], fileLimit)}
		}
	}
	var content bytes.Buffer
	if err := m.git.Run(ctx, gitcmd.Command{Dir: m.dir(r), Args: []string{"cat-file", "--batch"}, Stdin: strings.NewReader(ask.String()), Stdout: &content}); err != nil {
		return nil, fmt.Errorf("read files: %w", err)
	}
	in := bufio.NewReader(&content)
	for _, f := range files {
		data, err := readBlob(in)
		if err != nil {
			return nil, fmt.Errorf("read file %s: %w", f.Path, err)
		}
		out[f.Path] = data
	}
	return out, nil
}

// readBlob reads "<id> blob <size>\n<content>\n".
func readBlob(in *bufio.Reader) ([]byte, error) {
	head, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	f := strings.Fields(head)
	if len(f) != 3 {
		return nil, fmt.Errorf("unexpected line %q", head)
	}
	n, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || n < 0 || n > fileLimit {
		return nil, fmt.Errorf("unexpected size %q", f[2])
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, err
	}
	_, err = in.Discard(1)
	return data, err
}

func splitZ(out []byte) []string {
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}
