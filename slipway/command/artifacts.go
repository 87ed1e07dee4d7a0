package command

import (
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) artifacts() *cobra.Command {
	c := &cobra.Command{
		Use:   "artifacts [RUN [TASK]]",
		Short: "List the files that the tests of a run left",
		Long: `Artifacts lists what the tests of a run (the latest, if none is named) left of files, as artifacts:
in slipway.yaml says, whether they passed or failed; of a test that was reused, what the run left
that carried it out. "slipway download" fetches one.`,
		Example: "  slipway artifacts shop-12\n  slipway artifacts latest test/web/e2e -o json",
		Args:    between(0, "[RUN]", "[TASK]"),
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeArtifact(c, args, word)
	}
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		req := &pb.ArtifactsRequest{Run: runName(args)}
		if len(args) > 1 {
			req.Task = args[1]
		}
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Runs.Artifacts(c.Context(), req)
			switch {
			case err != nil:
				return err
			case *out != "table":
				return a.message(*out, res)
			case len(res.GetArtifacts()) == 0:
				a.note("the tests of %s left no artifacts, or have not ended; artifacts: in slipway.yaml says which files are kept", res.GetRun())
				return nil
			}
			return a.printf("%s", a.style().Artifacts(res.GetArtifacts(), time.Now()))
		})
	}
	return c
}

// completeArtifact offers runs, then tasks, then what the task left.
func (a *app) completeArtifact(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) < 1 || len(args) > 2 {
		return a.completeRun(c, args, word)
	}
	var names []string
	err := a.withRun(c.Context(), args[0], func(r *pb.Run) error {
		for _, t := range r.GetTasks() {
			if len(args) == 1 && t.GetResult() != nil {
				names = append(names, t.GetId())
			}
			for _, left := range t.GetResult().GetArtifacts() {
				if len(args) == 2 && t.GetId() == args[1] {
					names = append(names, left.GetName())
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
