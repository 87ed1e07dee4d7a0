package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/archive"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

// Of what an archive unpacks to.
const (
	maxUnpacked      = 64 << 30
	maxUnpackedFiles = 1_000_000
)

func (a *app) download() *cobra.Command {
	c := &cobra.Command{
		Use:   "download RUN TASK [ARTIFACT]",
		Short: "Fetch the document that a task of a run left, or an artifact of a test",
		Long: `Download prints what a task left, or writes it to a file: the SBOM of a build (SPDX), the report of
a scan (SARIF), the findings of a service, and what a release holds (JSON); with the name of one,
an artifact of a test ("slipway artifacts" lists them). -C unpacks an artifact into a folder, which
is made if it is not there; files that are there are not overwritten, and nothing outside of the
folder is. The bytes are checked against their digest before they are written.`,
		Example: "  slipway download latest build/api -f api.spdx.json\n  slipway download shop-12 scan/api/secrets\n  slipway download shop-12 test/web/e2e screenshots -C shots",
		Args:    between(2, "RUN", "TASK", "[ARTIFACT]"),
	}
	c.ValidArgsFunction = a.completeArtifact
	file := c.Flags().StringP("file", "f", "", "write to this file (default: to standard output)")
	folder := c.Flags().StringP("directory", "C", "", "unpack an artifact into this folder")
	c.MarkFlagsMutuallyExclusive("file", "directory")
	c.RunE = func(c *cobra.Command, args []string) error {
		req := &pb.DownloadRequest{Run: args[0], Task: args[1]}
		if len(args) > 2 {
			req.Artifact = args[2]
		} else if *folder != "" {
			return usage("-C unpacks an artifact: say which, for example slipway download %s %s NAME -C %s; slipway artifacts %s lists them", args[0], args[1], *folder, args[0])
		}
		return a.dial(c.Context(), func(cl *client.Client) error {
			switch {
			case *folder != "":
				return unpack(c.Context(), cl, req, *folder)
			case *file != "" && req.GetArtifact() != "":
				return into(c.Context(), cl, req, *file)
			case *file != "":
				var data bytes.Buffer
				if _, err := fetch(c.Context(), cl, req, &data); err != nil {
					return err
				}
				if err := os.WriteFile(*file, data.Bytes(), 0o644); err != nil { //nolint:gosec // as any file that is downloaded
					return fmt.Errorf("write what was downloaded: %w", err)
				}
				return nil
			}
			return a.print(c.Context(), cl, req)
		})
	}
	return c
}

// print writes to standard output what was checked.
func (a *app) print(ctx context.Context, cl *client.Client, req *pb.DownloadRequest) error {
	var small bytes.Buffer
	if req.GetArtifact() == "" {
		if _, err := fetch(ctx, cl, req, &small); err != nil {
			return err
		}
		return a.printf("%s", small.String())
	}
	return checked(ctx, cl, req, a.env.Stdout)
}

// checked writes an artifact to w once all of it came. It may be large: it waits in a file.
func checked(ctx context.Context, cl *client.Client, req *pb.DownloadRequest, w io.Writer) error {
	tmp, err := os.CreateTemp("", "slipway-artifact-")
	if err != nil {
		return fmt.Errorf("make room for the artifact: %w", err)
	}
	defer discard(tmp)
	if _, err := fetch(ctx, cl, req, tmp); err != nil {
		return err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the artifact: %w", err)
	}
	if _, err := io.Copy(w, tmp); err != nil {
		return fmt.Errorf("write what was downloaded: %w", err)
	}
	return nil
}

// into writes to a file, which is there only once it is whole. A device or a pipe stays what it is, and is written to.
func into(ctx context.Context, cl *client.Client, req *pb.DownloadRequest, file string) error {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		out, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("write what is downloaded: %w", err)
		}
		return errors.Join(checked(ctx, cl, req, out), out.Close())
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-")
	if err != nil {
		return fmt.Errorf("write what is downloaded: %w", err)
	}
	defer discard(tmp)
	head, err := fetch(ctx, cl, req, tmp)
	if err != nil {
		return err
	}
	if err := errors.Join(tmp.Chmod(modeOf(head)), tmp.Close(), os.Rename(tmp.Name(), file)); err != nil {
		return fmt.Errorf("write what was downloaded: %w", err)
	}
	return nil
}

// unpack writes the files of an artifact into a folder.
func unpack(ctx context.Context, cl *client.Client, req *pb.DownloadRequest, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // as any folder that is made
		return fmt.Errorf("make the folder: %w", err)
	}
	tmp, err := os.CreateTemp(folder, ".slipway-artifact-")
	if err != nil {
		return fmt.Errorf("make room for the artifact: %w", err)
	}
	defer discard(tmp)
	head, err := fetch(ctx, cl, req, tmp)
	if err != nil {
		return err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the artifact: %w", err)
	}
	if head.GetMediaType() == "application/zstd" {
		_, err = archive.Unpack(folder, tmp, archive.Rules{Bytes: maxUnpacked, Files: maxUnpackedFiles, Whole: "the folder"})
		return err //nolint:wrapcheck // it says which file
	}
	return archive.Place(folder, head.GetFile(), modeOf(head), tmp) //nolint:wrapcheck // as above
}

func modeOf(head *pb.DownloadResponse) os.FileMode {
	if head.GetExecutable() {
		return 0o755
	}
	return 0o644
}

func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name()) // or it has its place
}

// fetch writes a document or an artifact to w, and checks that it is whole. The answer has what is
// said of it.
func fetch(ctx context.Context, cl *client.Client, req *pb.DownloadRequest, w io.Writer) (*pb.DownloadResponse, error) {
	stream, err := cl.Runs.Download(ctx, req)
	if err != nil {
		return nil, err
	}
	head := &pb.DownloadResponse{}
	sum := sha256.New()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if m.GetDigest() != "" {
			head = m
		}
		sum.Write(m.GetData())
		if _, err := w.Write(m.GetData()); err != nil {
			return nil, fmt.Errorf("write what is downloaded: %w", err)
		}
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != head.GetDigest() {
		return nil, fmt.Errorf("what came for task %s is not what it left: want %s, got %s; try again", req.GetTask(), head.GetDigest(), got)
	}
	return head, nil
}
