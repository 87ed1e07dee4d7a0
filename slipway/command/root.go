package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// Execute runs one command and returns the exit code. When ctx is done the command
// stops as Ctrl-C stops it.
func Execute(ctx context.Context, env Env) int {
	a := &app{env: env}
	root := a.root()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{ExitUsage, err}
		if ctx.Err() != nil {
			exit = &exitError{code: ExitInterrupted}
		}
	}
	if exit.err != nil {
		a.note("%s %s", a.style().Paint("31", "error:"), exit.err)
	}
	return exit.code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "Build, test and roll out the services of a repository",
		Long: `Slipway takes a commit of a repository with many services and brings it, built and
tested, to every cluster it belongs on.

  slipway up        starts a whole farm on this machine
  slipway run       builds, tests and rolls out the repository of the current directory

Commands find the farm by client.yaml in the state folder (--state), which slipway up
writes, or by the environment: SLIPWAY_ADDR (host:port), SLIPWAY_TOKEN, and
SLIPWAY_CA_FILE for a certificate that signed the coordinator's. An address that is not
on this machine is only spoken to with TLS. NO_COLOR switches colors off.

` + exitCodes,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&a.state, "state", filepath.Join(a.env.Home, ".local", "state", "slipway"), "state folder of the farm")
	root.PersistentFlags().Lookup("state").DefValue = "~/.local/state/slipway"
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w; see %s --help", err, c.CommandPath())
	})
	root.AddGroup(&cobra.Group{ID: "runs", Title: "Runs:"}, &cobra.Group{ID: "files", Title: "Files:"}, &cobra.Group{ID: "farm", Title: "Farm:"})
	add := func(group string, list ...*cobra.Command) {
		for _, c := range list {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("runs", a.run(), a.diff(), a.watch(), a.list(), a.get(), a.explainRun(), a.logs(), a.trace(), a.tests(), a.found(), a.artifacts(), a.download(), a.simulate(), a.rollout(), a.cancel(), a.retry(), a.forget())
	add("files", a.initialize(), a.plan(), a.lint())
	add("farm", a.up(), a.down(), a.dashboard(), a.workers(), a.doctor(), a.images(), a.version())
	return root
}

// exactly checks the number of arguments and says what they are.
func exactly(names ...string) cobra.PositionalArgs {
	return between(len(names), names...)
}

func between(least int, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= len(names) {
			return nil
		}
		want := "no argument"
		if len(names) > 0 {
			want = strings.Join(names, " ")
		}
		return usage("%s takes %s, and got %s; see %s --help", c.CommandPath(), want, quoted(args), c.CommandPath())
	}
}

func quoted(args []string) string {
	if len(args) == 0 {
		return "nothing"
	}
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = fmt.Sprintf("%q", a)
	}
	return strings.Join(out, " ")
}
