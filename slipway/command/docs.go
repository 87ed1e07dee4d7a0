package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Docs is docs/cli.md: every command as --help shows it.
func Docs() string {
	a := &app{env: Env{Size: func() (int, int) { return 80, 24 }}}
	root := a.root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var b strings.Builder
	b.WriteString("# The command line\n\nWritten from the program: `go test ./slipway/command -update` writes it again.\n\n")
	describe(&b, root)
	return b.String()
}

func describe(b *strings.Builder, c *cobra.Command) {
	if c.Hidden || c.Name() == "help" || c.HasParent() && c.Parent().Name() == "completion" {
		return
	}
	fmt.Fprintf(b, "## %s\n\n", c.CommandPath())
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	fmt.Fprintf(b, "```\n%s\n```\n\n", c.UseLine())
	fmt.Fprintf(b, "```text\n%s\n```\n\n", strings.TrimSpace(long))
	if c.Example != "" {
		fmt.Fprintf(b, "Examples:\n\n```sh\n%s\n```\n\n", strings.TrimRight(c.Example, "\n"))
	}
	if f := c.LocalFlags(); f.HasAvailableFlags() {
		fmt.Fprintf(b, "Flags:\n\n```text\n%s```\n\n", f.FlagUsages())
	}
	for _, sub := range c.Commands() {
		describe(b, sub)
	}
}
