package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) workers() *cobra.Command {
	c := &cobra.Command{
		Use:   "workers",
		Short: "Show the workers and deployers of the farm, and steer them",
		Long: `Workers lists the workers and deployers that have a session with the farm: what each can
carry out, with how many of its slots are taken, and its state:

  ready      it takes tasks
  cordoned   it takes none until slipway workers uncordon
  draining   its process is about to stop, and waits for what it carries out
  pressed    its machine lacks memory, disk or time; it takes tasks again by itself
  away       it has no session, but a cordon, or tasks that it may still have`,
		Args: exactly(),
	}
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Farm.ListWorkers(c.Context(), &pb.ListWorkersRequest{})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			if res.GetStale() {
				a.note("a coordinator is being replaced: something may be missing")
			}
			if len(res.GetWorkers()) == 0 {
				a.note("no worker and no deployer is connected")
				return nil
			}
			return a.printf("%s", a.style().Workers(res.GetWorkers(), time.Now()))
		})
	}
	c.AddCommand(a.cordon(), a.drain(), a.uncordon())
	return c
}

func (a *app) cordon() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "cordon WORKER",
		Short: "Give a worker no new tasks",
		Long: `Cordon keeps new tasks from a worker or deployer, by its name, until uncordon: over restarts
of it and of coordinators. What it carries out goes on.`,
		Args: exactly("WORKER"),
	}
	c.ValidArgsFunction = a.completeWorker
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Farm.Cordon(c.Context(), &pb.CordonRequest{Name: args[0], Reason: reason})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			return a.printf("worker %s is cordoned; %s\n", render.Line(args[0]), carries(res.GetWorkers()))
		})
	}
	return c
}

func (a *app) uncordon() *cobra.Command {
	c := &cobra.Command{
		Use: "uncordon WORKER", Short: "Give a cordoned worker tasks again", Args: exactly("WORKER"),
	}
	c.ValidArgsFunction = a.completeWorker
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Farm.Uncordon(c.Context(), &pb.UncordonRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			return a.printf("worker %s is not cordoned\n", render.Line(args[0]))
		})
	}
	return c
}

func (a *app) drain() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "drain WORKER",
		Short: "Give a worker no new tasks, and wait until it has none",
		Long: `Drain cordons a worker or deployer, and waits until it carries nothing out: then its machine
can be stopped without the loss of work. It says what still runs whenever that changes.
After Ctrl-C the worker stays cordoned.`,
		Args: exactly("WORKER"),
	}
	c.ValidArgsFunction = a.completeWorker
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx, name := c.Context(), args[0]
		return a.dial(ctx, func(cl *client.Client) error {
			res, err := cl.Farm.Cordon(ctx, &pb.CordonRequest{Name: name, Reason: reason})
			if err != nil {
				return err
			}
			a.note("worker %s is cordoned; %s", render.Line(name), carries(res.GetWorkers()))
			err = a.drained(ctx, cl, name)
			if err != nil {
				a.note("worker %s stays cordoned; slipway workers uncordon %s gives it tasks again", render.Line(name), render.Line(name))
				return err
			}
			return a.printf("worker %s is drained\n", render.Line(name))
		})
	}
	return c
}

// drained waits until the workers of a name carry nothing out, and tells what they still do.
func (a *app) drained(ctx context.Context, cl *client.Client, name string) error {
	const look = time.Second
	tick := time.NewTicker(look)
	defer tick.Stop()
	var shown []string
	patience := client.Backoff{Limit: time.Minute}
	for {
		res, err := cl.Farm.ListWorkers(ctx, &pb.ListWorkersRequest{Name: name})
		switch {
		case err != nil && (!client.Passing(err) || !patience.Wait(ctx)):
			return err
		case err != nil:
			continue
		}
		patience.Reset()
		if !res.GetStale() && unoccupied(res.GetWorkers()) {
			return nil
		}
		if now := tasks(res.GetWorkers()); !slices.Equal(now, shown) && !res.GetStale() {
			shown = now
			if lines := render.Attempts(res.GetWorkers(), time.Now()); len(lines) > 0 {
				a.note("%s still runs:\n%s", render.Line(name), render.Indent(strings.Join(lines, "\n"), "  "))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func unoccupied(list []*pb.Worker) bool {
	return !slices.ContainsFunc(list, func(w *pb.Worker) bool { return render.Carries(w) > 0 })
}

// tasks are the leases that workers have.
func tasks(list []*pb.Worker) []string {
	out := []string{}
	for _, w := range list {
		for _, at := range w.GetAttempts() {
			out = append(out, fmt.Sprint(at.GetLease().GetToken(), " ", at.GetLease().GetAttempt()))
		}
	}
	return out
}

func carries(list []*pb.Worker) string {
	n := 0
	for _, w := range list {
		n += render.Carries(w)
	}
	if n == 0 {
		return "it carries nothing out"
	}
	return "it still carries out " + count(n, "task")
}

// completeWorker offers names to a shell.
func (a *app) completeWorker(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), time.Second)
	defer cancel()
	var names []string
	_ = a.dial(ctx, func(cl *client.Client) error { // a farm that does not answer at once offers none
		res, err := cl.Farm.ListWorkers(ctx, &pb.ListWorkersRequest{})
		for _, w := range res.GetWorkers() {
			names = append(names, w.GetName())
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
