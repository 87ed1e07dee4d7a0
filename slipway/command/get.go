package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) get() *cobra.Command {
	c := &cobra.Command{
		Use:   "get [RUN]",
		Short: "Show a run with its tasks",
		Long:  "Get shows a run (the latest, if none is named), each of its tasks, and what failed.",
		Args:  between(0, "RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.withRun(c.Context(), runName(args), func(r *pb.Run) error {
			if *out != "table" {
				return a.message(*out, r)
			}
			text := a.style().Tasks(r, time.Now())
			if f := a.style().Failures(r); f != "" {
				text += "\n" + f
			}
			return a.printf("%s", text)
		})
	}
	return c
}

func (a *app) withRun(ctx context.Context, run string, do func(*pb.Run) error) error {
	return a.dial(ctx, func(cl *client.Client) error {
		res, err := cl.Runs.Get(ctx, &pb.GetRequest{Run: run})
		if err != nil {
			return err
		}
		if res.GetRun().GetShortened() {
			a.note("the run is too large for one answer: steps and output of tasks are left out")
		}
		return do(res.GetRun())
	})
}

func (a *app) list() *cobra.Command {
	var project string
	var limit int32
	c := &cobra.Command{Use: "list", Short: "List runs, newest first", Aliases: []string{"ls"}, Args: exactly()}
	c.Flags().StringVar(&project, "project", "", "only runs of this project")
	c.Flags().Int32Var(&limit, "limit", 20, "how many runs, at most 1000")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Runs.List(c.Context(), &pb.ListRequest{Project: project, Limit: limit})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			if len(res.GetRuns()) == 0 {
				a.note("no runs yet; slipway run starts one")
				return nil
			}
			return a.printf("%s", a.style().Runs(res.GetRuns(), time.Now()))
		})
	}
	return c
}

func (a *app) trace() *cobra.Command {
	var steps int
	c := &cobra.Command{
		Use:   "trace [RUN]",
		Short: "Show where the time of a run went",
		Long: `Trace draws the tasks of a run (the latest, if none is named) on one axis of time:
waiting in the queue, work, the longest steps within it, and marks the critical path:
the chain of tasks that decided when the run ended. The trace id finds the same in
Jaeger or whatever the farm's traces go to.`,
		Args: between(0, "RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	c.Flags().IntVar(&steps, "steps", 5, "how many steps of a task are shown, the longest; 0: none")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.withRun(c.Context(), runName(args), func(r *pb.Run) error {
			if *out != "table" {
				return a.message(*out, r)
			}
			return a.printf("%s", a.style().Waterfall(r, steps, time.Now()))
		})
	}
	return c
}

// completeRun offers runs to a shell. A farm that does not answer at once offers none.
func (a *app) completeRun(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), time.Second)
	defer cancel()
	var names []string
	err := a.dial(ctx, func(cl *client.Client) error {
		res, err := cl.Runs.List(ctx, &pb.ListRequest{Limit: 50})
		for _, r := range res.GetRuns() {
			names = append(names, r.GetId())
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
