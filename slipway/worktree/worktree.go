// Package worktree reads the git repository that a person works in: where it is, what
// is checked out, and its working tree as a commit.
//
// It never touches the index, HEAD, a branch or a file of the working tree. It keeps
// the person's own git configuration: filters and ignore rules decide what a working
// tree contains.
package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/gitcmd"
)

// ErrNoRepository: the folder is not inside a git repository.
var ErrNoRepository = errors.New("not inside a git repository")

// ErrNoCommit: nothing was committed yet.
var ErrNoCommit = errors.New("the repository has no commit yet: make one first (git add -A && git commit)")

const (
	dirtyRefs = "refs/slipway/dirty/"
	kept      = 20 // working trees as commits
)

// Tree is a repository on this machine.
type Tree struct {
	git  *gitcmd.Git
	root string
	bare bool
}

// Open finds the repository around a folder.
func Open(ctx context.Context, git *gitcmd.Git, dir string) (*Tree, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w", dir, err)
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s: no such folder", dir)
	}
	t := &Tree{git: git, root: abs}
	out, err := t.output(ctx, nil, "rev-parse", "--is-bare-repository")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoRepository)
	}
	show := "--show-toplevel"
	if t.bare = out == "true"; t.bare {
		show = "--absolute-git-dir"
	}
	if t.root, err = t.output(ctx, nil, "rev-parse", show); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoRepository)
	}
	return t, nil
}

// Root is the absolute path of the repository.
func (t *Tree) Root() string { return t.root }

// Head is the commit that is checked out.
func (t *Tree) Head(ctx context.Context) (string, error) {
	head, err := t.output(ctx, nil, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if err != nil {
		return "", fmt.Errorf("%s: %w", t.root, ErrNoCommit)
	}
	return head, nil
}

// Changed says whether the working tree differs from what is checked out.
func (t *Tree) Changed(ctx context.Context) (bool, error) {
	if t.bare {
		return false, nil
	}
	out, err := t.output(ctx, []string{"GIT_OPTIONAL_LOCKS=0"}, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none")
	return out != "", err
}

// Dirty makes a commit of the working tree, files that git does not know but does not
// ignore included, keeps it under refs/slipway/dirty and returns it. If nothing is
// changed it returns HEAD and false. The same working tree is the same commit.
func (t *Tree) Dirty(ctx context.Context) (commit string, dirty bool, err error) {
	if t.bare {
		return "", false, fmt.Errorf("%s is a bare repository: it has no working tree", t.root)
	}
	head, err := t.Head(ctx)
	if err != nil {
		return "", false, err
	}
	index, remove, err := t.index(ctx)
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	env := []string{"GIT_INDEX_FILE=" + index}
	if _, err := t.output(ctx, env, "add", "--all", "--", "."); err != nil {
		return "", false, fmt.Errorf("read the working tree: %w", err)
	}
	tree, err := t.output(ctx, env, "write-tree")
	if err != nil {
		return "", false, fmt.Errorf("read the working tree: %w", err)
	}
	facts, err := t.output(ctx, nil, "show", "--no-patch", "--no-show-signature", "--format=%T %ct", head)
	if err != nil {
		return "", false, fmt.Errorf("read commit %s: %w", head, err)
	}
	headTree, seconds, _ := strings.Cut(facts, " ")
	if tree == headTree {
		return head, false, nil
	}
	date := "@" + seconds + " +0000" // of HEAD, so that the commit depends on nothing but its content
	commit, err = t.output(ctx, []string{
		"GIT_AUTHOR_NAME=slipway", "GIT_AUTHOR_EMAIL=slipway@localhost", "GIT_AUTHOR_DATE=" + date,
		"GIT_COMMITTER_NAME=slipway", "GIT_COMMITTER_EMAIL=slipway@localhost", "GIT_COMMITTER_DATE=" + date,
	}, "-c", "commit.gpgSign=false", "commit-tree", tree, "-p", head, "-m", "Working tree with changes that are not committed")
	if err != nil {
		return "", false, fmt.Errorf("commit the working tree: %w", err)
	}
	if err := t.keep(ctx, commit); err != nil {
		return "", false, fmt.Errorf("keep the commit of the working tree: %w", err)
	}
	return commit, true, nil
}

// keep makes a ref of a commit, so that it can be fetched and git does not collect it,
// and lets the oldest go beyond kept ones: the coordinator has them by then. All have
// the time of their HEAD, so that the order is in the names.
func (t *Tree) keep(ctx context.Context, commit string) error {
	out, err := t.output(ctx, nil, "for-each-ref", "--sort=refname", "--format=%(refname)", dirtyRefs)
	if err != nil {
		return err
	}
	refs := strings.Fields(out)
	if slices.ContainsFunc(refs, func(ref string) bool { return strings.HasSuffix(ref, commit) }) {
		return nil
	}
	for len(refs) >= kept {
		if _, err := t.output(ctx, nil, "update-ref", "-d", refs[0]); err != nil {
			return err
		}
		refs = refs[1:]
	}
	_, err = t.output(ctx, nil, "update-ref", dirtyRefs+time.Now().UTC().Format("20060102T150405.000Z-")+commit, commit)
	return err
}

// index copies the index: git then reads only the files that changed since.
func (t *Tree) index(ctx context.Context) (name string, remove func() error, err error) {
	path, err := t.output(ctx, nil, "rev-parse", "--path-format=absolute", "--git-path", "index")
	if err != nil {
		return "", nil, fmt.Errorf("find the index: %w", err)
	}
	dir, err := os.MkdirTemp("", "slipway-index-*")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	name = filepath.Join(dir, "index")
	if err := copyFile(path, name); err != nil {
		return "", nil, errors.Join(fmt.Errorf("copy the index: %w", err), remove())
	}
	return name, remove, nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever added: an empty index
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (t *Tree) output(ctx context.Context, env []string, args ...string) (string, error) {
	var out bytes.Buffer
	err := t.git.Run(ctx, gitcmd.Command{Dir: t.root, WorkTree: true, Args: args, Env: env, Stdout: &out})
	return strings.TrimSpace(out.String()), err
}
