package command

import (
	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) explainRun() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain [RUN [TASK]]",
		Short: "Say what the tasks of a run wait for",
		Long: `Explain says of each task of a run (the latest, if none is named) that waits what it waits
for: the one reason that would have to go away for it to go on, its position among the
tasks that wait for the same workers, and a guess of how long that takes, from how long
such tasks took lately. Tasks that wait for other tasks of the run are counted; -o json has
them all. A task that is named is explained also when it does not wait.`,
		Args: between(0, "[RUN", "[TASK]]"),
	}
	c.ValidArgsFunction = a.completeRun
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		req := &pb.ExplainRequest{Run: runName(args[:min(1, len(args))])}
		if len(args) > 1 {
			req.Task = args[1]
		}
		return a.dial(c.Context(), func(cl *client.Client) error {
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
