package command

import (
	"crypto/rand"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) retry() *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use:   "retry [RUN]",
		Short: "Try a failed run again from where it failed, and follow it",
		Long: `Retry begins a new run of the plan of one that failed or was canceled (the latest, if
none is named), and follows it as run does. What was built, tested and rendered there is
reused; everything else is carried out anew, for the same commit and the same targets.

A run that goes on or succeeded is refused, and so is one whose environment a newer run
has begun to change: that would bring older code back.`,
		Args: between(0, "RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	c.Flags().BoolVar(&detach, "detach", false, "print the id of the run and do not follow it")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		req := &pb.RetryRequest{IdempotencyKey: rand.Text(), Run: runName(args)}
		return a.dial(ctx, func(cl *client.Client) error {
			run, err := a.insist(ctx, func() (*pb.Run, error) {
				res, err := cl.Runs.Retry(ctx, req)
				return res.GetRun(), err
			})
			if err != nil {
				return err
			}
			return a.begun(ctx, cl, run, detach, *out)
		})
	}
	return c
}
