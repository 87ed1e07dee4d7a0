package command

import (
	"errors"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/clientfile"
)

func (a *app) dashboard() *cobra.Command {
	c := &cobra.Command{
		Use: "dashboard", Short: "Print a link to the farm's dashboard that signs you in", Args: exactly(),
		Long: `Print a link to the dashboard of the farm on this machine. The token stands behind the #
of the link, which browsers send to nobody; whoever sees the link can use the farm.

The dashboard of another farm is at the HTTP address of its coordinator, and asks for a
token of its own.`,
	}
	c.RunE = func(*cobra.Command, []string) error {
		f, err := clientfile.Read(a.state)
		if err != nil {
			return usage("%w; start a farm with slipway up", err)
		}
		if f.Web == "" {
			return usage("%w", errors.New("the farm of this state folder has no dashboard: start it again with this version of slipway"))
		}
		return a.printf("%s/login#%s\n", f.Web, url.QueryEscape(f.Token))
	}
	return c
}
