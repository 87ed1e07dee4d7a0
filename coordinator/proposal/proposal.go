// Package proposal makes commits of what the farm found out, and has people decide about them: as a patch, as a branch, or as a pull
// request where the host of the repository is known.
package proposal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/coordinator/adopt"
	"github.com/slipway-build/slipway/coordinator/githost"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

// ErrNothing: there is nothing that could be proposed.
var ErrNothing = errors.New("nothing to propose")

// maxFiles bounds the manifests that are looked at.
const maxFiles = 500

// Host opens pull requests: *githost.Host.
type Host interface {
	Propose(ctx context.Context, p githost.Proposal) (address string, err error)
}

// Config of a Proposer.
type Config struct {
	Mirror *source.Mirror
	// Hosts by the address of a repository; of one that has none, branches are pushed.
	Hosts map[string]Host
}

// Proposer makes proposals.
type Proposer struct{ cfg Config }

// New makes a Proposer.
func New(cfg Config) *Proposer { return &Proposer{cfg: cfg} }

// Proposal is what was made. At least Patch is there, unless nothing could be written.
type Proposal struct {
	Patch  []byte // as git am takes it
	Branch string // that was pushed; empty: none was
	URL    string // of the pull request; empty: none was opened
	// Problem is why there is no branch or no pull request; empty: there is, or none was asked for.
	Problem string
	Done    []string // what is written, a line each
	Left    []string // what is not, and why, a line each
}

// Adopt proposes what is live, as a run that compared an environment found it. patch: nothing is pushed.
func (p *Proposer) Adopt(ctx context.Context, r *run.Run, by string, patch bool) (Proposal, error) {
	if r.Plan.Drift == nil || len(r.Plan.Drift.Restores) > 0 || !r.State.Ended() {
		return Proposal{}, fmt.Errorf("run %s is no comparison of an environment that has ended: %w", r.ID, ErrNothing)
	}
	objects := found(r)
	if len(objects) == 0 {
		return Proposal{}, fmt.Errorf("run %s found nothing that differs: %w", r.ID, ErrNothing)
	}
	base, branch, err := p.head(ctx, r)
	if err != nil {
		return Proposal{}, err
	}
	files, err := p.manifests(ctx, r, base, objects)
	if err != nil {
		return Proposal{}, err
	}
	got := adopt.Into(files, objects)
	out := Proposal{Done: got.Done}
	for _, l := range got.Left {
		out.Left = append(out.Left, l.String())
	}
	if len(got.Files) == 0 {
		return out, nil
	}
	env := r.Plan.Drift.Environment
	title := "Adopt what is live in " + env
	d := source.Draft{Parent: base, Files: got.Files, Author: by, At: r.FinishedAt, Message: title + "\n\n" + list(got.Done) + "\nFound by run " + r.ID + ".\n"}
	commit, text, err := p.cfg.Mirror.Draft(ctx, r.Repository, d)
	if err != nil {
		return Proposal{}, err
	}
	out.Patch = text
	if patch {
		return out, nil
	}
	body := "What is live is written into the manifests, so that the next release keeps it:\n\n" + list(got.Done)
	if len(out.Left) > 0 {
		body += "\nNot written:\n\n" + list(out.Left)
	}
	p.open(ctx, &out, r.Repository, commit, githost.Proposal{
		Title: title, Body: body + "\nFound by run " + r.ID + ", asked for by " + by + ".\n", Source: "slipway/adopt-" + env + "-" + commit[:8], Target: branch,
	})
	return out, nil
}

// open pushes a commit, and asks the host of its repository for a pull request. What does not work is the proposal's problem: the
// patch is there.
func (p *Proposer) open(ctx context.Context, out *Proposal, repository, commit string, pull githost.Proposal) {
	if pull.Target == "" {
		out.Problem = "the release was not of a branch, so that there is nothing to push for"
		return
	}
	if err := p.cfg.Mirror.Push(ctx, repository, commit, pull.Source); err != nil {
		out.Problem = err.Error()
		return
	}
	out.Branch = pull.Source
	host, ok := p.cfg.Hosts[repository]
	if !ok {
		out.Problem = "no host of that repository is known that could be asked for a pull request: webhooks with check.token_file have one"
		return
	}
	pull.Repository = webhook.NameOf(repository)
	address, err := host.Propose(ctx, pull)
	if err != nil {
		out.Problem = err.Error()
		return
	}
	out.URL = address
}

// head is the commit to build on: that of the branch that was released, as it is now, or the released one.
func (p *Proposer) head(ctx context.Context, r *run.Run) (commit, branch string, err error) {
	name := strings.TrimPrefix(r.Ref, "refs/heads/")
	if name == "" || r.Dirty {
		return r.Commit, "", nil
	}
	heads, err := p.cfg.Mirror.Heads(ctx, r.Repository)
	if err != nil {
		return "", "", err
	}
	if heads[name] == "" {
		return r.Commit, "", nil
	}
	commit, err = p.cfg.Mirror.Resolve(ctx, r.Repository, "refs/heads/"+name)
	return commit, name, err
}

// found is what a comparison found, with where the manifests are.
func found(r *run.Run) []adopt.Object {
	var out []adopt.Object
	for _, t := range r.Tasks {
		if t.Spec.Kind != plan.KindDiff || t.Result.Diff == nil || t.Spec.Apply == nil {
			continue
		}
		var render plan.Render
		if m, ok := r.Find(t.Spec.Apply.Manifests); ok && m.Spec.Render != nil {
			render = *m.Spec.Render
		}
		for _, o := range t.Result.Diff.Objects {
			if o.Drifted() {
				out = append(out, adopt.Object{Service: t.Spec.Service, Cluster: t.Spec.Target.Cluster, Change: o, Render: render})
			}
		}
	}
	return out
}

// manifests are the files that objects may be in, as they are at a commit.
func (p *Proposer) manifests(ctx context.Context, r *run.Run, commit string, objects []adopt.Object) (map[string][]byte, error) {
	var paths []string
	for _, o := range objects {
		if o.Render.Using != "helm" && o.Render.Path != "" {
			paths = append(append(paths, o.Render.Path), o.Render.Paths...)
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	there, err := p.cfg.Mirror.Tree(ctx, r.Repository, commit, paths)
	if err != nil {
		return nil, err
	}
	paths = slices.DeleteFunc(paths, func(path string) bool { _, ok := there[path]; return !ok })
	if len(paths) == 0 {
		return map[string][]byte{}, nil
	}
	entries, err := p.cfg.Mirror.Contents(ctx, r.Repository, commit, paths, source.Options{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.File() && adopt.IsManifest(e.Path) {
			names = append(names, e.Path)
		}
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%d files may have the objects, more than %d: %w", len(names), maxFiles, ErrNothing)
	}
	return p.cfg.Mirror.Named(ctx, r.Repository, commit, names)
}

func list(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("- " + strings.Join(strings.Fields(l), " ") + "\n")
	}
	return b.String()
}
