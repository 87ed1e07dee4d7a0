package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// ErrNotPushed: the remote did not take a branch.
var ErrNotPushed = errors.New("not pushed")

// Draft is a commit that is to be made. Equal drafts are one commit.
type Draft struct {
	Parent  string
	Files   map[string][]byte // regular files that are to be so; others stay as they are
	Message string
	Author  string // a name
	At      time.Time
}

// committer of all that the farm commits.
const committer = "Slipway"

var branchName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)

// Draft makes a commit in the mirror, where nothing names it, and answers it with its patch as git am takes it.
func (m *Mirror) Draft(ctx context.Context, repository string, d Draft) (commit string, patch []byte, err error) {
	r, err := m.at(ctx, repository, d.Parent)
	if err != nil {
		return "", nil, err
	}
	names := slices.Sorted(maps.Keys(d.Files))
	tree, err := m.Tree(ctx, repository, d.Parent, names)
	if err != nil {
		return "", nil, err
	}
	scratch, err := os.MkdirTemp(m.conf.Dir, "draft-")
	if err != nil {
		return "", nil, fmt.Errorf("draft: %w", err)
	}
	defer os.RemoveAll(scratch)
	git := func(stdin []byte, args ...string) (string, error) {
		var out bytes.Buffer
		err := m.git.Run(ctx, gitcmd.Command{
			Dir: m.dir(r), Args: args, Stdin: bytes.NewReader(stdin), Stdout: &out, Env: []string{"GIT_INDEX_FILE=" + filepath.Join(scratch, "index")},
		})
		return strings.TrimSpace(out.String()), err
	}
	if _, err := git(nil, "read-tree", d.Parent); err != nil {
		return "", nil, fmt.Errorf("draft: %w", err)
	}
	var index bytes.Buffer
	for _, name := range names {
		mode := "100644"
		if e, ok := tree[name]; ok {
			if !e.File() {
				return "", nil, refuse("%s is no regular file", strictyaml.Quote(name))
			}
			mode = e.Mode
		}
		id, err := git(d.Files[name], "hash-object", "-w", "--stdin")
		if err != nil {
			return "", nil, fmt.Errorf("draft: %w", err)
		}
		fmt.Fprintf(&index, "%s %s\t%s\x00", mode, id, name)
	}
	if _, err := git(index.Bytes(), "update-index", "-z", "--index-info"); err != nil {
		return "", nil, fmt.Errorf("draft: %w", err)
	}
	id, err := git(nil, "write-tree")
	if err != nil {
		return "", nil, fmt.Errorf("draft: %w", err)
	}
	return m.committed(ctx, r, d, id)
}

// committed makes a commit of a tree.
func (m *Mirror) committed(ctx context.Context, r remote, d Draft, tree string) (commit string, patch []byte, err error) {
	var out bytes.Buffer
	at := fmt.Sprintf("%d +0000", d.At.Unix())
	author := strings.Map(func(c rune) rune {
		if c < ' ' || c == '<' || c == '>' {
			return -1
		}
		return c
	}, d.Author)
	err = m.git.Run(ctx, gitcmd.Command{
		Dir: m.dir(r), Args: []string{"commit-tree", "-p", d.Parent, "-F", "-", tree}, Stdin: strings.NewReader(d.Message), Stdout: &out,
		Env: []string{
			"GIT_AUTHOR_NAME=" + author + " (" + committer + ")", "GIT_AUTHOR_EMAIL=slipway@localhost", "GIT_AUTHOR_DATE=" + at,
			"GIT_COMMITTER_NAME=" + committer, "GIT_COMMITTER_EMAIL=slipway@localhost", "GIT_COMMITTER_DATE=" + at,
		},
	})
	if err != nil {
		return "", nil, fmt.Errorf("draft: %w", err)
	}
	commit = strings.TrimSpace(out.String())
	patch, err = m.git.Output(ctx, m.dir(r), "format-patch", "--stdout", "--no-signature", "-1", commit)
	if err != nil {
		return "", nil, fmt.Errorf("draft: %w", err)
	}
	return commit, patch, nil
}

// Push gives the remote a commit of the mirror as a new branch, with the credentials that it is read with. A branch that is there and
// has the commit is as good; one that has another is ErrNotPushed. So is a repository on the coordinator's own disk, which is
// somebody's working tree.
func (m *Mirror) Push(ctx context.Context, repository, commit, branch string) error {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return err
	}
	switch {
	case !branchName.MatchString(branch), strings.Contains(branch, ".."), strings.HasSuffix(branch, ".lock"):
		return refuse("%s is not the name of a branch", strictyaml.Quote(branch))
	case r.protocol == "file":
		return &Error{Kind: ErrNotPushed, Message: "repository " + r.shown + " is somebody's own, and nothing is pushed to it"}
	}
	err = m.git.Run(ctx, gitcmd.Command{
		Dir: m.dir(r), Args: []string{"push", "--quiet", "--no-verify", "--", r.address, commit + ":refs/heads/" + branch},
		Protocols: []string{r.protocol}, Limit: m.conf.FetchLimit,
	})
	var g *gitcmd.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || !errors.As(err, &g):
		return fmt.Errorf("push to %s: %w", r.shown, err)
	}
	return &Error{Kind: ErrNotPushed, Cause: err, Message: fmt.Sprintf("repository %s did not take branch %s (%s); the coordinator's credentials for it need the right to write", r.shown, branch, lastLines(g.Stderr, 2))}
}
