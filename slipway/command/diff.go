package command

import (
	"crypto/rand"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) diff() *cobra.Command {
	var o origin
	c := &cobra.Command{
		Use:   "diff [RUN]",
		Short: "Show what a rollout would change in every cluster, and change nothing",
		Long: `Diff builds a commit, renders its manifests and asks each cluster what would become of
every object: created (+), changed (~) with its fields, deleted (-), carried out beside
the rollout (>). Tests are not run and nothing is released. What a rollout would refuse
fails: a mistake that the cluster finds, an object that somebody else made, a field that
another manager holds, with its name. With --adopt it shows what would be taken over.

With the name of a run, the answers of that one are shown again. Values of secrets and of
environment variables are not shown.`,
		Example: `  slipway diff                             # the commit that is checked out
  slipway diff --dirty                     # the working tree as it is
  slipway diff --adopt                     # with what others brought there taken over
  slipway diff shop-12                     # of an earlier run`,
		Args: between(0, "RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	o.flags(c)
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		if len(args) > 0 {
			return a.withRun(ctx, args[0], func(r *pb.Run) error {
				text := a.style().Diff(r)
				switch {
				case text == "":
					return usage("run %s compared nothing: slipway diff begins one that does", r.GetId())
				case *out != "table":
					return a.message(*out, r)
				}
				return a.printf("%s", text)
			})
		}
		at, err := a.resolve(ctx, o)
		if err != nil {
			return err
		}
		return a.dial(ctx, func(cl *client.Client) error {
			run, err := a.submit(ctx, cl, &pb.SubmitRequest{
				IdempotencyKey: rand.Text(), Repository: at.repository, Ref: at.ref, Dirty: at.dirty, NoReuse: o.noReuse, Adopt: o.adopt, Diff: true,
			})
			if err != nil {
				return err
			}
			return a.follow(ctx, cl, run.GetId(), *out, nil)
		})
	}
	return c
}
