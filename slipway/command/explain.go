package command

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) explainRun() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain [RUN [TASK]]",
		Short: "Say what the tasks of a run wait for, or why they were carried out",
		Long: `Explain says of each task of a run (the latest, if none is named) that waits what it waits
for: the one reason that would have to go away for it to go on, its position among the
tasks that wait for the same workers, and a guess of how long that takes, from how long
such tasks took lately. Tasks that wait for other tasks of the run are counted; -o json has
them all. A task that is named is explained also when it does not wait.

With --why-built it says instead of each build, test and render why it is carried out, or
whose result stands in for it, with the digest of its inputs.`,
		Args: between(0, "[RUN", "[TASK]]"),
	}
	c.ValidArgsFunction = a.completeRun
	whyBuilt := c.Flags().Bool("why-built", false, "say why each build, test and render is carried out or reused")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		req := &pb.ExplainRequest{Run: runName(args[:min(1, len(args))])}
		if len(args) > 1 {
			req.Task = args[1]
		}
		return a.dial(c.Context(), func(cl *client.Client) error {
			if *whyBuilt {
				return a.whyBuilt(c.Context(), cl, req, *out)
			}
			res, err := cl.Runs.Explain(c.Context(), req)
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			return a.printf("%s", a.style().Waits(res))
		})
	}
	return c
}

// whyBuilt prints the tasks of a run whose results could be reused, or the one that is named.
func (a *app) whyBuilt(ctx context.Context, cl *client.Client, req *pb.ExplainRequest, out format) error {
	res, err := cl.Runs.Get(ctx, &pb.GetRequest{Run: req.GetRun()})
	if err != nil {
		return err
	}
	r := res.GetRun()
	r.Tasks = slices.DeleteFunc(r.Tasks, func(t *pb.Task) bool {
		return t.GetDigest() == "" || req.GetTask() != "" && t.GetId() != req.GetTask()
	})
	if req.GetTask() != "" && len(r.GetTasks()) == 0 {
		return usage("%s of run %s is no build, test or render, so nothing could stand in for it; slipway explain %s --why-built lists those that are", req.GetTask(), r.GetId(), r.GetId())
	}
	if out != "table" {
		return a.message(out, r)
	}
	return a.printf("%s", a.style().WhyBuilt(r))
}
