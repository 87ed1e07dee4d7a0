package command

import (
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) forget() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "forget RUN TASK",
		Short: "Have what a task made not be reused any more",
		Long: `Forget has nothing that a task made stand in for later ones, nor what was made of it: an image
that was built while something was wrong outside the repository, such as a mirror of
packages, and the tests and manifests of that image. Runs from now on carry all of it out
again, and build images without what BuildKit has in its cache. Runs that go on keep what
they have; cancel those that should not.`,
		Args: exactly("RUN", "TASK"),
	}
	c.ValidArgsFunction = a.completeRun
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Runs.Forget(c.Context(), &pb.ForgetRequest{Run: args[0], Task: args[1], Reason: reason})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			return a.printf("forgotten is what %s made: %s\n", count(len(res.GetTasks()), "task"), render.Line(strings.Join(res.GetTasks(), ", ")))
		})
	}
	return c
}
