package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/slipway/worktree"
)

// origin is what a run is made of, by flags.
type origin struct {
	repo    string
	ref     string
	dirty   bool
	noReuse bool
	adopt   bool
}

// commitAt is what the coordinator is told.
type commitAt struct {
	repository string
	ref        string
	dirty      bool
}

func (o *origin) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.repo, "repo", "", "path or https/ssh address of the repository (default: the git repository of the current directory)")
	c.Flags().StringVar(&o.ref, "ref", "", "branch, tag or full commit id (default: the commit that is checked out; for an address its default branch)")
	c.Flags().BoolVar(&o.dirty, "dirty", false, "take the working tree as it is, with changes that are not committed and new files")
	c.Flags().BoolVar(&o.noReuse, "no-reuse", false, "build and test everything again, whatever is known")
	c.Flags().BoolVar(&o.adopt, "adopt", false, "take over objects that others made at the targets, and fields that others hold there")
	c.MarkFlagsMutuallyExclusive("ref", "dirty")
}

// resolve turns flags into what the coordinator can find.
func (a *app) resolve(ctx context.Context, o origin) (commitAt, error) {
	if isAddress(o.repo) {
		if o.dirty {
			return commitAt{}, usage("--dirty takes the working tree of this machine, and --repo %s is an address", o.repo)
		}
		ref := o.ref
		if ref == "" {
			ref = "HEAD"
		}
		return commitAt{repository: o.repo, ref: ref}, nil
	}
	git, err := a.git()
	if err != nil {
		return commitAt{}, err
	}
	dir := a.env.Dir
	if o.repo != "" {
		dir = o.repo
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(a.env.Dir, dir)
		}
	}
	tree, err := worktree.Open(ctx, git, dir)
	if err != nil {
		if o.repo == "" && errors.Is(err, worktree.ErrNoRepository) {
			return commitAt{}, usage("%w; go to a repository, or name one with --repo", err)
		}
		return commitAt{}, &exitError{ExitUsage, err}
	}
	at := commitAt{repository: tree.Root(), ref: o.ref}
	switch {
	case o.dirty:
		at.ref, at.dirty, err = tree.Dirty(ctx)
		if err == nil && !at.dirty {
			a.note("nothing is changed in the working tree; the commit %.12s is taken as it is", at.ref)
		}
	case o.ref == "":
		at.ref, err = tree.Head(ctx)
		if changed, e := tree.Changed(ctx); err == nil && e == nil && changed {
			a.note("the working tree has changes that are not committed and not part of this; --dirty takes them")
		}
	}
	if err != nil {
		return commitAt{}, &exitError{ExitUsage, err}
	}
	return at, nil
}

// isAddress tells addresses from paths as git does: a scheme, or host:path.
func isAddress(repo string) bool {
	if strings.Contains(repo, "://") {
		return true
	}
	before, _, found := strings.Cut(repo, ":")
	return found && before != "" && !strings.Contains(before, "/")
}

// latest is the name of the newest run.
const latest = "latest"

// runName gives a run a word that it can be found by: "latest" is understood.
func runName(args []string) string {
	if len(args) == 0 {
		return latest
	}
	return args[0]
}

func follow(run string) string {
	return fmt.Sprintf("follow it with: slipway watch %s   cancel it with: slipway cancel %s", run, run)
}
