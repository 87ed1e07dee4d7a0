package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) tests() *cobra.Command {
	var project string
	var flaky bool
	c := &cobra.Command{
		Use:   "tests",
		Short: "Show how tests have fared, and which of their cases fail now and then",
		Long: `Tests lists the tests of a project that were carried out lately, with how each of the last ten
executions ended (✓ passed, ✗ failed, ~ flaky: passed in another attempt, or because of a
quarantine), and the cases that failed not long ago: how often each failed and then passed
with the same inputs, and whether it is in quarantine. A case in quarantine is carried out,
and its failure does not fail the test.`,
		Args: exactly(),
	}
	c.PersistentFlags().StringVar(&project, "project", "", "of this project; default: that of the newest run")
	c.Flags().BoolVar(&flaky, "flaky", false, "only cases that failed and passed with the same inputs, or are in quarantine")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.ofProject(c.Context(), project, func(cl *client.Client, project string) error {
			res, err := cl.Tests.ListTests(c.Context(), &pb.ListTestsRequest{Project: project, Flaky: flaky})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			switch {
			case len(res.GetTests()) == 0 && flaky:
				a.note("no test of project %s has a case that fails now and then", render.Line(project))
				return nil
			case len(res.GetTests()) == 0:
				a.note("no test of project %s was carried out lately", render.Line(project))
				return nil
			}
			return a.printf("%s", a.style().KnownTests(res.GetTests(), time.Now()))
		})
	}
	c.AddCommand(a.quarantine(&project), a.release(&project))
	return c
}

// ofProject calls with a project: the one that is named, or that of the newest run.
func (a *app) ofProject(ctx context.Context, project string, do func(cl *client.Client, project string) error) error {
	return a.dial(ctx, func(cl *client.Client) error {
		if project == "" {
			res, err := cl.Runs.List(ctx, &pb.ListRequest{Limit: 1})
			if err != nil {
				return err
			}
			if len(res.GetRuns()) == 0 {
				return errors.New("no runs yet, and so no tests; slipway run starts one")
			}
			project = res.GetRuns()[0].GetProject()
		}
		return do(cl, project)
	})
}

func (a *app) quarantine(project *string) *cobra.Command {
	var reason, suite string
	var days int32
	c := &cobra.Command{
		Use:   "quarantine TEST CASE",
		Short: "Have the failure of a case not fail its test",
		Long: `Quarantine has the failure of a test case not fail its test, in runs that are submitted from now
on. It ends after some days, or when the case has passed twenty times in a row, or with
slipway tests release. TEST is as slipway tests shows it, as api/unit; CASE is the name of a
case there, or of one that has not failed yet.`,
		Args: exactly("TEST", "CASE"),
	}
	c.Flags().StringVar(&reason, "reason", "", "shown to people")
	c.Flags().StringVar(&suite, "suite", "", "the suite of a case that has not failed lately")
	c.Flags().Int32Var(&days, "days", 14, "how long at most")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		if days < 1 {
			return usage("--days is %d; want at least 1", days)
		}
		return a.ofProject(c.Context(), *project, func(cl *client.Client, project string) error {
			name, err := findCase(c.Context(), cl, project, args, suite)
			if err != nil {
				return err
			}
			res, err := cl.Tests.Quarantine(c.Context(), &pb.QuarantineRequest{Project: project, Test: testID(args[0]), Case: name, Reason: reason, Days: days})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			return a.printf("%s of %s is in quarantine for %s\n", render.Line(render.CaseName(name)), render.Line(testID(args[0])), count(int(days), "day"))
		})
	}
	return c
}

func (a *app) release(project *string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "release TEST CASE", Short: "Let a case out of quarantine", Args: exactly("TEST", "CASE"),
	}
	c.Flags().StringVar(&reason, "reason", "", "kept in the journal")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.ofProject(c.Context(), *project, func(cl *client.Client, project string) error {
			name, err := findCase(c.Context(), cl, project, args, "")
			if err != nil {
				return err
			}
			res, err := cl.Tests.Release(c.Context(), &pb.ReleaseRequest{Project: project, Test: testID(args[0]), Case: name, Reason: reason})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res)
			}
			return a.printf("%s of %s is in no quarantine\n", render.Line(render.CaseName(name)), render.Line(testID(args[0])))
		})
	}
	return c
}

// testID is the id of a test that people may call by its service and name.
func testID(name string) string { return "test/" + strings.TrimPrefix(name, "test/") }

// findCase is the case that is meant by what a table shows, or by its name alone where that is one's.
func findCase(ctx context.Context, cl *client.Client, project string, args []string, suite string) (*pb.TestName, error) {
	if suite != "" {
		return &pb.TestName{Suite: suite, Name: args[1]}, nil
	}
	res, err := cl.Tests.ListTests(ctx, &pb.ListTestsRequest{Project: project})
	if err != nil {
		return nil, err
	}
	var exact, named []*pb.TestName
	for _, t := range res.GetTests() {
		if t.GetId() != testID(args[0]) {
			continue
		}
		for _, c := range t.GetCases() {
			if render.CaseName(c.GetCase()) == args[1] {
				exact = append(exact, c.GetCase())
			}
			if c.GetCase().GetName() == args[1] {
				named = append(named, c.GetCase())
			}
		}
	}
	switch found := slices.Concat(exact, named); {
	case len(exact) == 1 || len(named) == 1:
		return found[0], nil
	case len(found) == 0:
		return &pb.TestName{Name: args[1]}, nil
	}
	suites := make([]string, 0, len(named))
	for _, n := range named {
		suites = append(suites, n.GetSuite())
	}
	return nil, fmt.Errorf("%d cases of %s are called %q; say which with --suite: %s", len(named), testID(args[0]), args[1], strings.Join(suites, ", "))
}
