package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/scripts/devcluster/cluster"
	"github.com/slipway-build/slipway/scripts/devcluster/doctor"
)

func doctorCommand() *cobra.Command {
	var kind, output, bin string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell whether this machine can run a kind of cluster, and what is missing; exit code 1 if it cannot",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := doctor.Report{Kind: kind, Checks: []doctor.Finding{}}
			switch kind {
			case cluster.KindNode:
				report.Checks = doctor.Check(doctor.Options{Bin: bin})
			case cluster.KindKwok: // it needs nothing but this program
			default:
				return fmt.Errorf("--kind %s: expected %s or %s", kind, cluster.KindKwok, cluster.KindNode)
			}
			missing := doctor.Missing(report.Checks)
			report.OK = len(missing) == 0
			out := cmd.OutOrStdout()
			if output == "json" {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(report); err != nil {
					return err
				}
			} else {
				for _, f := range report.Checks {
					fmt.Fprintf(out, "%-12s %-5t %s\n", f.Name, f.OK, f.Detail)
				}
			}
			if !report.OK {
				return errors.New("this machine cannot run a cluster of kind " + kind)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&kind, "kind", cluster.KindNode, "kwok or node")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	f.StringVar(&bin, "bin", "", "also look for the node's programs in this folder")
	return cmd
}
