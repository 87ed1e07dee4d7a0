package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) drift(project *string) *cobra.Command {
	var restore, detach, adopt, patch bool
	c := &cobra.Command{
		Use:   "drift ENVIRONMENT",
		Short: "Show what somebody changed in an environment since its release, or restore it",
		Long: `Drift asks every cluster of an environment what is not as the release that serves there has it: objects that are gone
(+), fields that differ (~) with who holds them, and objects that would be deleted (-). Nothing is changed, and it ends with exit code 1
if something differs. Fields that the release does not have, as those that an autoscaler sets, are nobody's business. At last it says
what the farm knows of it: who changed it, when, since when that is known, and how often within the last hour the farm itself restored it,
where targets.yaml asks for that.

With --restore it applies the release again, and takes over what others hold.

With --adopt it keeps what somebody changed: a commit writes what is live into the manifests of the branch that was released, where a file
has the object and the field as they were released. It is pushed as a branch slipway/adopt-…, and a pull request is opened where the host
of the repository is known to the coordinator. What a chart, a generator or a transformer makes is left to you, with the reason. With
--patch the commit is printed instead, for git am.`,
		Args: exactly("ENVIRONMENT"),
	}
	c.ValidArgsFunction = a.completeEnvironment(project)
	c.Flags().BoolVar(&restore, "restore", false, "bring back what differs")
	c.Flags().BoolVar(&adopt, "adopt", false, "open a pull request that writes what is live into the manifests")
	c.Flags().BoolVar(&patch, "patch", false, "with --adopt: print the commit for git am, and push nothing")
	c.Flags().BoolVar(&detach, "detach", false, "print the id of the run and do not follow it")
	out := outputFlag(c, "table", "json", "yaml")
	c.MarkFlagsMutuallyExclusive("adopt", "restore")
	c.MarkFlagsMutuallyExclusive("adopt", "detach")
	c.RunE = func(c *cobra.Command, args []string) error {
		if patch && !adopt {
			return usage("--patch is for --adopt")
		}
		ctx, key := c.Context(), rand.Text()
		return a.ofProject(ctx, *project, func(cl *client.Client, project string) error {
			run, err := a.insist(ctx, func() (*pb.Run, error) {
				if restore {
					res, err := cl.Rollout.Restore(ctx, &pb.RestoreRequest{Project: project, Environment: args[0], IdempotencyKey: key})
					return res.GetRun(), err
				}
				res, err := cl.Rollout.Compare(ctx, &pb.CompareRequest{Project: project, Environment: args[0], IdempotencyKey: key})
				return res.GetRun(), err
			})
			if err != nil {
				return err
			}
			if adopt {
				return a.adopt(ctx, cl, run.GetId(), patch, *out)
			}
			if err := a.begun(ctx, cl, run, detach, *out); err != nil || detach || restore {
				return err
			}
			return a.differs(ctx, cl, run.GetId(), args[0], *out == "table")
		})
	}
	return c
}

// adopt waits for a comparison, and has what it found proposed.
func (a *app) adopt(ctx context.Context, cl *client.Client, id string, patch bool, out format) error {
	a.note("run %s compares", render.Line(id))
	err := cl.Watch(ctx, id, func(*pb.WatchResponse) error { return nil }, func(err error) { a.note("waiting: %s", cl.Explain(err)) })
	if err != nil {
		return err
	}
	res, err := cl.Rollout.Adopt(ctx, &pb.AdoptRequest{Run: id, Patch: patch})
	if err != nil {
		return err
	}
	if out != "table" {
		return a.message(out, res)
	}
	for _, l := range res.GetDone() {
		a.note("adopted   %s", render.Line(l))
	}
	for _, l := range res.GetLeft() {
		a.note("left out  %s", render.Line(l))
	}
	switch {
	case len(res.GetPatch()) == 0:
		return &exitError{ExitFailed, errNothingAdopted}
	case patch:
		_, err = a.env.Stdout.Write(res.GetPatch())
		return err
	case res.GetUrl() != "":
		return a.printf("%s\n", render.Line(res.GetUrl()))
	case res.GetBranch() != "":
		a.note("no pull request: %s", render.Line(res.GetProblem()))
		return a.printf("%s\n", render.Line(res.GetBranch()))
	}
	a.note("no branch: %s; this is the commit for git am:", render.Line(res.GetProblem()))
	_, err = a.env.Stdout.Write(res.GetPatch())
	return err
}

var errNothingAdopted = errors.New("nothing of it can be written into the manifests")

// differs is an error when a run found that something differs.
func (a *app) differs(ctx context.Context, cl *client.Client, id, environment string, say bool) error {
	res, err := cl.Runs.Get(ctx, &pb.GetRequest{Run: id})
	if err != nil {
		return err
	}
	if err := a.known(ctx, cl, res.GetRun().GetProject(), environment, say); err != nil {
		return err
	}
	n := 0
	for _, t := range res.GetRun().GetTasks() {
		for _, o := range t.GetResult().GetDiff().GetObjects() {
			if o.GetAction() != "carried out" && o.GetAction() != "kept" {
				n++
			}
		}
	}
	switch {
	case n == 0 && !say:
		return nil
	case n == 0:
		return a.printf("%s is as it was released\n", render.Line(environment))
	}
	return &exitError{ExitFailed, fmt.Errorf("%s has drifted: %s; slipway rollout drift %s --restore brings it back", render.Line(environment), count(n, "object"), render.Line(environment))}
}

// known shows what the farm knows of drift: who did it, when, and since when that is known.
func (a *app) known(ctx context.Context, cl *client.Client, project, environment string, say bool) error {
	if !say {
		return nil
	}
	res, err := cl.Rollout.ListEnvironments(ctx, &pb.ListEnvironmentsRequest{Project: project})
	if err != nil {
		return err
	}
	for _, e := range res.GetEnvironments() {
		if e.GetName() == environment {
			return a.printf("%s", a.style().Drift(e.GetDrift(), time.Now()))
		}
	}
	return nil
}
