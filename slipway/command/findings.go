package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-build/slipway/internal/sarif"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) found() *cobra.Command {
	c := &cobra.Command{
		Use:   "findings [RUN]",
		Short: "Show what the scans of a run found, and what of it is new",
		Long: `Findings lists what the scans of a run (the latest, if none is named) found: what the last green
commit did not have, and what is waived, with the day on which that ends. What blocks failed the
run. What was known before is counted; --known shows it, and -o json and -o sarif always have it.`,
		Args: between(0, "[RUN]"),
	}
	c.ValidArgsFunction = a.completeRun
	service := c.Flags().String("service", "", "of this service only")
	known := c.Flags().Bool("known", false, "show what was known before, too")
	out := outputFlag(c, "table", "json", "yaml", "sarif")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			list, err := collect(c.Context(), cl, &pb.FindingsRequest{Run: runName(args), Service: *service})
			if err != nil {
				return err
			}
			switch *out {
			case "table":
				if len(list) == 0 {
					a.note("nothing was scanned, or the scans have not ended; scan: in slipway.yaml says what is")
					return nil
				}
				return a.printf("%s", a.style().Findings(list, *known))
			case "sarif":
				data, err := toSARIF(list)
				if err != nil {
					return err
				}
				return a.document("json", data)
			default:
				return a.services(*out, list)
			}
		})
	}
	return c
}

// collect reads all findings of a run: one answer for each service, in their order.
func collect(ctx context.Context, cl *client.Client, req *pb.FindingsRequest) ([]*pb.FindingsResponse, error) {
	stream, err := cl.Runs.Findings(ctx, req)
	if err != nil {
		return nil, err
	}
	var list []*pb.FindingsResponse
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if n := len(list); n > 0 && list[n-1].GetService() == m.GetService() {
			list[n-1].Findings = append(list[n-1].Findings, m.GetFindings()...)
			continue
		}
		list = append(list, m)
	}
}

func (a *app) services(f format, list []*pb.FindingsResponse) error {
	out := make([]json.RawMessage, 0, len(list))
	for _, m := range list {
		data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		out = append(out, data)
	}
	data, err := json.Marshal(map[string]any{"services": out})
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return a.document(f, data)
}

// toSARIF is what is not waived, for tools that show SARIF. A rule is named with its scan, and the same
// finding of two services is there once.
func toSARIF(list []*pb.FindingsResponse) ([]byte, error) {
	r := sarif.Report{Tool: "slipway"}
	for _, m := range list {
		for _, f := range m.GetFindings() {
			if f.GetState() == pb.FindingState_FINDING_STATE_WAIVED {
				continue
			}
			r.Findings = append(r.Findings, sarif.Finding{
				Rule: f.GetScan() + "/" + f.GetRule(), Severity: sarif.Severity(f.GetSeverity()), Path: f.GetPath(), Line: int(f.GetLine()),
				Message: f.GetMessage(), Help: f.GetHelp(), Fingerprint: f.GetFingerprint(),
			})
		}
	}
	type id struct{ rule, fingerprint string }
	seen := map[id]bool{}
	r.Findings = slices.DeleteFunc(r.Findings, func(f sarif.Finding) bool {
		was := seen[id{f.Rule, f.Fingerprint}]
		seen[id{f.Rule, f.Fingerprint}] = true
		return was
	})
	if len(r.Findings) > sarif.MaxFindings {
		return nil, fmt.Errorf("%d findings, and a SARIF file has at most %d: ask for one service after the other with --service", len(r.Findings), sarif.MaxFindings)
	}
	sarif.Sort(r.Findings)
	sarif.Number(r.Findings)
	data, err := sarif.Write(r)
	if err != nil {
		return nil, fmt.Errorf("write SARIF: %w", err)
	}
	return data, nil
}
