package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) plan() *cobra.Command {
	var o origin
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what a run would do, and start nothing",
		Long: `Plan asks the coordinator what it would accept now: what is built and tested and why,
what is reused, and where it goes in which order. Equal plans have equal hashes.`,
		Args: exactly(),
	}
	o.flags(c)
	out := outputFlag(c, "tree", "json", "yaml", "hash")
	c.RunE = func(c *cobra.Command, _ []string) error {
		at, err := a.resolve(c.Context(), o)
		if err != nil {
			return err
		}
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Runs.Plan(c.Context(), &pb.PlanRequest{Repository: at.repository, Ref: at.ref, NoReuse: o.noReuse, Adopt: o.adopt})
			if err != nil {
				return err
			}
			switch *out {
			case "hash":
				return a.printf("%s\n", res.GetHash())
			case "json":
				// As it is: whoever hashes it gets the hash.
				return a.printf("%s\n", strings.TrimSuffix(string(res.GetPlanJson()), "\n"))
			case "yaml":
				return a.document(*out, res.GetPlanJson())
			}
			p, err := plan.Decode(res.GetPlanJson())
			if err != nil {
				return &exitError{ExitUsage, err}
			}
			return a.printf("%s", render.Clean(planner.Tree(p)))
		})
	}
	return c
}
