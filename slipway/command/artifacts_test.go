package command_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	packed "github.com/slipway-build/slipway/internal/archive"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// shelf has a run whose tests left artifacts.
type shelf struct {
	pb.UnimplementedRunServiceServer
	data []byte
	file string
}

func (s *shelf) Artifacts(_ context.Context, r *pb.ArtifactsRequest) (*pb.ArtifactsResponse, error) {
	out := &pb.ArtifactsResponse{Run: "shop-7"}
	if r.GetTask() == "test/api/unit" {
		return out, nil
	}
	out.Artifacts = []*pb.KeptArtifact{
		{Task: "test/web/e2e", Artifact: &pb.Artifact{Name: "shots", Digest: "sha256:ab", Size: 1536, Files: 3}, Until: timestamppb.New(time.Now().Add(50*time.Hour + time.Minute))},
		{Task: "test/web/e2e", Artifact: &pb.Artifact{Name: "video", Digest: "sha256:cd", Size: 12, Files: 1, File: "v.webm"}, Gone: "removed at 2026-01-02 03:04:05 UTC: nothing stored it again for 30 days"},
	}
	return out, nil
}

func (s *shelf) Download(r *pb.DownloadRequest, out grpc.ServerStreamingServer[pb.DownloadResponse]) error {
	sum := sha256.Sum256(s.data)
	head := &pb.DownloadResponse{Digest: "sha256:" + hex.EncodeToString(sum[:]), MediaType: "application/zstd", File: r.GetArtifact(), Data: s.data, Executable: true}
	if s.file != "" {
		head.MediaType, head.File = "application/octet-stream", s.file
	}
	return out.Send(head)
}

func TestArtifacts(t *testing.T) {
	s := &shelf{}
	do := serve(t, func(srv *grpc.Server) { pb.RegisterRunServiceServer(srv, s) })
	for args, want := range map[string][]string{
		"artifacts":                      {"TASK          NAME   FILES  SIZE     DIGEST     KEPT", "shots  3      1.5 KiB  sha256:ab  for 2d02h", "video  1      12 B     sha256:cd  removed at 2026-01-02 03:04:05 UTC: nothing stored it again for 30 days"},
		"artifacts shop-7 test/api/unit": {"the tests of shop-7 left no artifacts"},
		"artifacts shop-7 -o json":       {`"digest": "sha256:cd"`, `"gone": "removed at`},
	} {
		code, out, errs := do(t.Context(), strings.Fields(args)...)
		for _, w := range want {
			if all := out.String() + errs.String(); code != 0 || !strings.Contains(all, w) {
				t.Errorf("%s: code %d, no %q in\n%s", args, code, w, all)
			}
		}
	}
}

func TestArtifactsAreUnpackedWhereTheyBelong(t *testing.T) {
	pack := func(name string) []byte {
		var b bytes.Buffer
		w, err := packed.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(packed.Entry{Name: name, Mode: 0o644, Size: 3}, strings.NewReader("one")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	s := &shelf{data: pack("deep/1.png")}
	do := serve(t, func(srv *grpc.Server) { pb.RegisterRunServiceServer(srv, s) })
	get := func(more ...string) (code int, errs string) {
		code, _, e := do(t.Context(), append([]string{"download", "shop-7", "test/web/e2e"}, more...)...)
		return code, e.String()
	}
	dir := t.TempDir()
	files := func(in string) (out []string) {
		_ = filepath.WalkDir(in, func(name string, e fs.DirEntry, _ error) error {
			if !e.IsDir() {
				rel, _ := filepath.Rel(in, name)
				out = append(out, rel)
			}
			return nil
		})
		return out
	}
	in := filepath.Join(dir, "in")
	if code, errs := get("shots", "-C", in); code != 0 || strings.Join(files(in), " ") != "deep/1.png" {
		t.Errorf("code %d, %s, %v", code, errs, files(in))
	}
	if code, errs := get("shots", "-C", in); code == 0 || !strings.Contains(errs, "exists") {
		t.Errorf("over what is there: code %d, %s", code, errs)
	}
	if code, errs := get("-C", in); code != 2 || !strings.Contains(errs, "slipway artifacts shop-7 lists them") {
		t.Errorf("without a name: code %d, %s", code, errs)
	}
	if code, out, _ := do(t.Context(), "download", "shop-7", "test/web/e2e", "shots"); code != 0 || !bytes.Equal(out.Bytes(), s.data) {
		t.Errorf("to standard output: code %d, %d bytes", code, out.Len())
	}
	s.data = pack("../out.png")
	if code, errs := get("shots", "-C", filepath.Join(dir, "evil")); code == 0 || !strings.Contains(errs, "lies outside the folder") {
		t.Errorf("out of the folder: code %d, %s", code, errs)
	}
	s.data, s.file = []byte("#!/bin/sh"), "../../tool"
	if code, errs := get("tool", "-C", in); code != 0 {
		t.Errorf("code %d, %s", code, errs)
	}
	file := filepath.Join(dir, "tool")
	if code, errs := get("tool", "-f", file); code != 0 {
		t.Errorf("code %d, %s", code, errs)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	code, errs := get("tool", "-f", fmt.Sprintf("/dev/fd/%d", w.Fd()))
	_ = w.Close()
	if got, err := io.ReadAll(r); code != 0 || err != nil || !bytes.Equal(got, s.data) {
		t.Errorf("to a pipe: code %d, %s, %q, %v", code, errs, got, err)
	}
	for _, name := range []string{filepath.Join(in, "tool"), file} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o111 == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if got := strings.Join(files(dir), " "); got != "in/deep/1.png in/tool tool" {
		t.Errorf("files: %s", got)
	}
}
