package command

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/doctor"
	"github.com/slipway-build/slipway/slipway/render"
)

// Contexts answers the clusters of a kubeconfig (paths as in KUBECONFIG; empty: the
// user's own); with ask, as their API servers answer now.
type Contexts func(ctx context.Context, kubeconfig string, ask bool) ([]doctor.Context, error)

func (a *app) doctor() *cobra.Command {
	var kubeconfig, registry string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine lacks for slipway up, and how to get it",
		Long: `Doctor looks for git, runc and BuildKit, at ports and disk space, whether base images
can be fetched, and whether the clusters of the kubeconfig answer. It changes nothing.

The exit code is 1 if something is missing that slipway up needs.`,
		Args: exactly(),
	}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig files, separated by colons (default: KUBECONFIG or ~/.kube/config)")
	c.Flags().StringVar(&registry, "registry", "registry-1.docker.io:443", "HOST:PORT that base images come from; empty: do not ask")
	out := outputFlag(c, "text", "json", "yaml")
	c.RunE = func(c *cobra.Command, _ []string) error {
		m := doctor.This()
		m.State, m.Tools = a.state, filepath.Join(a.env.Home, ".cache", "slipway", "bin")
		m.Ports, m.Registry, m.Running = a.env.Ports, registry, a.answers(c.Context())
		for _, e := range a.env.Environ {
			name, value, _ := strings.Cut(e, "=")
			switch strings.ToUpper(name) {
			case "PATH":
				m.Path = value
			case "HTTP_PROXY", "HTTPS_PROXY":
				if value != "" {
					m.Proxies = append(m.Proxies, name)
				}
			}
		}
		m.Contexts, m.Kubeconfig = a.env.Contexts(c.Context(), kubeconfig, true)
		return a.findings(m.Look(c.Context()), *out)
	}
	return c
}

// answers says whether the farm of the state folder runs.
func (a *app) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return a.dial(ctx, func(cl *client.Client) error {
		_, err := cl.Runs.List(ctx, &pb.ListRequest{})
		return err
	}) == nil
}

func (a *app) findings(list []doctor.Finding, out format) error {
	missing := 0
	for _, f := range list {
		if f.State == doctor.Missing {
			missing++
		}
	}
	if out != "text" {
		data, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("encode findings: %w", err)
		}
		if err := a.document(out, data); err != nil {
			return err
		}
	} else if err := a.printf("%s", a.checkup(list)); err != nil {
		return err
	}
	if missing > 0 {
		return &exitError{ExitFailed, fmt.Errorf("%s missing for slipway up", count(missing, "thing"))}
	}
	return nil
}

func (a *app) checkup(list []doctor.Finding) string {
	rows := make([][]render.Cell, 0, len(list))
	for _, f := range list {
		text := f.Found
		if f.Remedy != "" {
			text += "\n→ " + f.Remedy
		}
		color := map[doctor.State]render.Color{doctor.OK: render.Green, doctor.Note: render.Yellow, doctor.Missing: render.Red}[f.State]
		rows = append(rows, []render.Cell{{Text: string(f.State), Color: color}, {Text: f.What}, {Text: text}})
	}
	return a.style().Table([]string{"", "WHAT", "FOUND"}, rows)
}
