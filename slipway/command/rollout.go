package command

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) rollout() *cobra.Command {
	var project string
	c := &cobra.Command{
		Use:   "rollout",
		Short: "Show environments, and hold, pause, resume, abort or roll back what is there",
		Long: `Rollout lists the environments of a project to which a run has rolled out: whether one does now,
whether the environment is held or paused, by whom and why, and how many services serve there.`,
		Args: exactly(),
	}
	c.PersistentFlags().StringVar(&project, "project", "", "of this project; default: that of the newest run")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.ofProject(c.Context(), project, func(cl *client.Client, project string) error {
			res, err := cl.Rollout.ListEnvironments(c.Context(), &pb.ListEnvironmentsRequest{Project: project})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			if len(res.GetEnvironments()) == 0 {
				a.note("no run of project %s has rolled out to an environment", render.Line(project))
				return nil
			}
			return a.printf("%s", a.style().Environments(res.GetEnvironments(), time.Now()))
		})
	}
	c.AddCommand(a.watchRollout(),
		a.hold(&project, "hold", "Begin no rollout to an environment", `Hold keeps runs from beginning a rollout to an environment, until slipway rollout resume. A rollout
that goes on there goes on; slipway rollout pause stops it, too.`, false),
		a.hold(&project, "pause", "Begin nothing more of the rollout to an environment", `Pause holds an environment, and has the rollout that goes on there begin nothing more, until slipway
rollout resume. What was begun is brought to its end, the candidate keeps what it has, and what fails is
rolled back nevertheless.`, true),
		a.resume(&project), a.abort(&project), a.rollback(&project), a.drift(&project),
		a.approve("approve", "Approve the release of a run for an environment", `Approve says yes to the release of a run that waits for approvals before its rollout to an environment, as
targets.yaml asks for. It counts when the token that slipway uses is of the group that is asked. With --release it
counts only for that release, as slipway get shows it.`, false),
		a.approve("reject", "Say no to the release of a run for an environment", `Reject says no to the release of a run that waits for approvals: it does not get to the environment, nor to those
after it.`, true))
	return c
}

func (a *app) watchRollout() *cobra.Command {
	c := &cobra.Command{
		Use:   "watch [RUN]",
		Short: "Follow the rollouts of a run: clusters and steps",
		Long: `Watch follows a run (the latest, if none is named) until it has ended, and shows for each environment its
clusters and the steps of its rollout: · not begun, ● under way, ✓ done, – stopped, ✗ what failed. It ends with the exit
codes of slipway watch.`,
		Args: between(0, "RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			return a.follow(c.Context(), cl, runName(args), *out, func(r *pb.Run) string { return a.style().Rollouts(r) })
		})
	}
	return c
}

func (a *app) hold(project *string, name, short, long string, pause bool) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: name + " ENVIRONMENT", Short: short, Long: long, Args: exactly("ENVIRONMENT")}
	c.ValidArgsFunction = a.completeEnvironment(project)
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.ofProject(c.Context(), *project, func(cl *client.Client, project string) error {
			_, err := cl.Rollout.Hold(c.Context(), &pb.HoldRequest{Project: project, Environment: args[0], Reason: reason, Pause: pause})
			if err != nil {
				return err
			}
			done := map[bool]string{false: "held", true: "paused"}[pause]
			return a.printf("%s of project %s is %s; slipway rollout resume %s lets it go on\n", render.Line(args[0]), render.Line(project), done, render.Line(args[0]))
		})
	}
	return c
}

func (a *app) resume(project *string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "resume ENVIRONMENT",
		Short: "Take a hold or a pause back",
		Long:  "Resume lets a rollout that is paused go on. Of the runs that waited the newest begins; older ones are superseded by it.",
		Args:  exactly("ENVIRONMENT"),
	}
	c.ValidArgsFunction = a.completeEnvironment(project)
	c.Flags().StringVar(&reason, "reason", "", "kept in the journal")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.ofProject(c.Context(), *project, func(cl *client.Client, project string) error {
			if _, err := cl.Rollout.Resume(c.Context(), &pb.ResumeRequest{Project: project, Environment: args[0], Reason: reason}); err != nil {
				return err
			}
			return a.printf("%s of project %s is neither held nor paused\n", render.Line(args[0]), render.Line(project))
		})
	}
	return c
}

func (a *app) abort(project *string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "abort ENVIRONMENT",
		Short: "End the rollout to an environment, and roll it back",
		Long: `Abort ends the rollout that goes on in an environment: services that are not promoted go back to their
last good release in every cluster. The run goes on elsewhere; slipway cancel stops all of it.`,
		Args: exactly("ENVIRONMENT"),
	}
	c.ValidArgsFunction = a.completeEnvironment(project)
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.ofProject(c.Context(), *project, func(cl *client.Client, project string) error {
			res, err := cl.Rollout.Abort(c.Context(), &pb.AbortRequest{Project: project, Environment: args[0], Reason: reason})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			return a.printf("the rollout of run %s to %s ends, and is rolled back; slipway rollout watch %s shows how far it is\n", render.Line(res.GetRun()), render.Line(args[0]), render.Line(res.GetRun()))
		})
	}
	return c
}

func (a *app) rollback(project *string) *cobra.Command {
	var reason, to string
	var detach bool
	c := &cobra.Command{
		Use:   "rollback ENVIRONMENT",
		Short: "Bring an earlier release back to an environment, and hold it",
		Long: `Rollback begins a run that brings the release before the one that serves in an environment, or with --to
that of another run, back there, and follows it as run does. Nothing is built again, and nothing that takes time is waited
for: no steps, soaks, windows and approvals. The environment is held, so that the next push does not bring back what you went back
from: slipway rollout resume lets it go on. A rollout that goes on is refused: slipway rollout abort takes it back.`,
		Args: exactly("ENVIRONMENT"),
	}
	c.ValidArgsFunction = a.completeEnvironment(project)
	c.Flags().StringVar(&to, "to", "", "the run whose release is wanted; it was good there")
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	c.Flags().BoolVar(&detach, "detach", false, "print the id of the run and do not follow it")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx, key := c.Context(), rand.Text()
		return a.ofProject(ctx, *project, func(cl *client.Client, project string) error {
			run, err := a.insist(ctx, func() (*pb.Run, error) {
				res, err := cl.Rollout.Rollback(ctx, &pb.RollbackRequest{Project: project, Environment: args[0], Run: to, Reason: reason, IdempotencyKey: key})
				if err == nil && *out == "table" {
					a.note("%s goes back to the release of run %s, and is held until slipway rollout resume %s", render.Line(args[0]), render.Line(res.GetRun().GetBack()), render.Line(args[0]))
				}
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

func (a *app) completeEnvironment(project *string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		var names []string
		err := a.ofProject(ctx, *project, func(cl *client.Client, project string) error {
			res, err := cl.Rollout.ListEnvironments(ctx, &pb.ListEnvironmentsRequest{Project: project})
			for _, e := range res.GetEnvironments() {
				if strings.HasPrefix(e.GetName(), begin) {
					names = append(names, e.GetName())
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) approve(name, short, long string, reject bool) *cobra.Command {
	var reason, release string
	c := &cobra.Command{Use: name + " RUN ENVIRONMENT", Short: short, Long: long, Args: exactly("RUN", "ENVIRONMENT")}
	c.ValidArgsFunction = a.completeRun
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	c.Flags().StringVar(&release, "release", "", "hash of the release that is meant; default: the one that the run has")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Rollout.Approve(c.Context(), &pb.ApproveRequest{Run: args[0], Environment: args[1], Release: release, Reason: reason, Reject: reject})
			if err != nil {
				return err
			}
			env := render.Line(args[1])
			switch n := int(res.GetMin()) - len(res.GetApprovals()); {
			case *out != "table":
				return a.message(*out, res)
			case reject:
				return a.printf("run %s does not get to %s\n", render.Line(res.GetRun()), env)
			case res.GetDone():
				return a.printf("release %s of run %s is approved for %s\n", render.Short(res.GetRelease()), render.Line(res.GetRun()), env)
			default:
				return a.printf("release %s of run %s needs %s more for %s\n", render.Short(res.GetRelease()), render.Line(res.GetRun()), count(n, "approval"), env)
			}
		})
	}
	return c
}
