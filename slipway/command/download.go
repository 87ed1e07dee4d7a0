package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

func (a *app) download() *cobra.Command {
	c := &cobra.Command{
		Use:   "download RUN TASK",
		Short: "Fetch the document that a task of a run left",
		Long: `Download prints what a task left, or writes it to a file: the SBOM of a build (SPDX), the report of
a scan (SARIF), the findings of a service, and what a release holds (JSON). The bytes are checked against their digest before they are written.`,
		Example: "  slipway download latest build/api -f api.spdx.json\n  slipway download shop-12 scan/api/secrets",
		Args:    exactly("RUN", "TASK"),
	}
	c.ValidArgsFunction = a.completeRun
	file := c.Flags().StringP("file", "f", "", "write to this file (default: to standard output)")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			data, err := fetch(c.Context(), cl, &pb.DownloadRequest{Run: args[0], Task: args[1]})
			if err != nil {
				return err
			}
			if *file == "" {
				return a.printf("%s", data)
			}
			if err := os.WriteFile(*file, data, 0o644); err != nil { //nolint:gosec // as any file that is downloaded
				return fmt.Errorf("write what was downloaded: %w", err)
			}
			return nil
		})
	}
	return c
}

// fetch reads a document, and checks that it is whole.
func fetch(ctx context.Context, cl *client.Client, req *pb.DownloadRequest) ([]byte, error) {
	stream, err := cl.Runs.Download(ctx, req)
	if err != nil {
		return nil, err
	}
	var data []byte
	digest := ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if m.GetDigest() != "" {
			digest = m.GetDigest()
		}
		data = append(data, m.GetData()...)
	}
	sum := sha256.Sum256(data)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		return nil, fmt.Errorf("what came for task %s is not what it left: want %s, got %s; try again", req.GetTask(), digest, got)
	}
	return data, nil
}
