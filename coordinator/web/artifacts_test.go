package web_test

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func (f *farm) Download(req *pb.DownloadRequest, out grpc.ServerStreamingServer[pb.DownloadResponse]) error {
	if req.GetRun() != "shop-7-abcd" || req.GetTask() != "test/api/unit" || req.GetArtifact() != "shots" {
		return status.Errorf(codes.NotFound, "artifact %s is gone: removed at noon %s", req.GetArtifact(), evil)
	}
	half := len(f.artifact) / 2
	if err := out.Send(&pb.DownloadResponse{Digest: "sha256:ab", Size: int64(len(f.artifact)), MediaType: "text/html", File: `a"; x=<b>.html`, Data: f.artifact[:half]}); err != nil {
		return err
	}
	if f.broken {
		return status.Error(codes.DataLoss, "the rest is not there")
	}
	return out.Send(&pb.DownloadResponse{Data: f.artifact[half:]})
}

// TestAnArtifactIsAFileToKeep: a browser is told to show nothing of it, whatever it is.
func TestAnArtifactIsAFileToKeep(t *testing.T) {
	f := &farm{runs: []*pb.Run{sample()}, artifact: []byte(strings.Repeat(evil, 1000))}
	c, site := browser(t, f, "looker")
	const path = "/runs/shop-7-abcd/artifacts/test/api/unit/shots"
	a := ask(t, c, site+path)
	if a.err != nil || a.code != http.StatusOK || a.body != string(f.artifact) {
		t.Fatalf("%d, %d bytes, %v", a.code, len(a.body), a.err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Disposition": `attachment; filename="a\"; x=<b>.html"`, "Etag": `"sha256:ab"`,
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%v", a.header)
	}
	if page := ask(t, c, site+"/runs/shop-7-abcd"); strings.Count(page.body, `<a href="`+path+`">shots</a> 2 files, 1.5 MiB`) != 2 {
		t.Errorf("the page of the run does not link to it twice, at the failure and at the task:\n%s", page.body)
	}
	if page := ask(t, c, site+"/runs/shop-7-abcd"); !strings.Contains(page.body, "66.6 % covered, 50.0 % before") {
		t.Errorf("the page of the run does not say what is covered:\n%s", page.body)
	}
	if a := ask(t, c, site+"/runs/shop-7-abcd/artifacts/test/api/unit/video"); a.code != http.StatusNotFound || !strings.Contains(a.body, "removed at noon") || strings.Contains(a.body, evil) {
		t.Errorf("one that is gone: %d %s", a.code, a.body)
	}
	if a := ask(t, c, site+"/runs/shop-7-abcd/artifacts/video"); a.code != http.StatusNotFound {
		t.Errorf("without a task: %d", a.code)
	}
	nobody := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if a := ask(t, nobody, site+path); a.code != http.StatusSeeOther || len(a.body) > 1000 {
		t.Errorf("without a session: %d, %d bytes", a.code, len(a.body))
	}
	f.broken = true
	if a := ask(t, c, site+path); a.err == nil || len(a.body) == len(f.artifact) {
		t.Errorf("half of one is taken for all: %d, %d bytes, %v", a.code, len(a.body), a.err)
	}
}
