package command

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) version() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Say which slipway this is", Args: exactly()}
	out := outputFlag(c, "text", "json", "yaml")
	c.RunE = func(*cobra.Command, []string) error {
		v := a.env.Version
		if *out == "text" {
			text := "slipway " + v.Version
			if v.Revision != "" {
				text += " (" + v.Revision + ")"
			}
			return a.printf("%s, %s\n", text, v.Go)
		}
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode the version: %w", err)
		}
		return a.document(*out, data)
	}
	return c
}
