package command_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/sarif"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// archive has a run whose scans found something, and a document of it.
type archive struct {
	pb.UnimplementedRunServiceServer
	broken bool
}

func (a *archive) Findings(r *pb.FindingsRequest, out grpc.ServerStreamingServer[pb.FindingsResponse]) error {
	if r.GetRun() == "shop-1" {
		return nil
	}
	one := func(rule, severity string, line int32, state pb.FindingState) *pb.Finding {
		return &pb.Finding{Scan: "secrets", Rule: rule, Severity: severity, Path: "api/a.go", Line: line, Message: "there is " + rule, State: state, Fingerprint: strings.Repeat("0", 31) + map[string]string{"aws": "a", "key": "b", "npm": "c"}[rule]}
	}
	fresh, known, waived := one("aws", "critical", 3, pb.FindingState_FINDING_STATE_NEW), one("key", "high", 0, pb.FindingState_FINDING_STATE_KNOWN), one("npm", "low", 9, pb.FindingState_FINDING_STATE_WAIVED)
	fresh.Blocking, waived.WaivedUntil, waived.WaivedBecause = true, "2027-01-31", "for a test"
	for _, m := range []*pb.FindingsResponse{
		{Run: "shop-7", Service: "api", Findings: []*pb.Finding{fresh, known}}, {Run: "shop-7", Service: "api", Findings: []*pb.Finding{waived}}, {Run: "shop-7", Service: "web"},
	} {
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) Download(r *pb.DownloadRequest, out grpc.ServerStreamingServer[pb.DownloadResponse]) error {
	if r.GetTask() != "build/api" {
		return status.Error(codes.NotFound, "no such document")
	}
	sum := sha256.Sum256([]byte("half and half"))
	for i, part := range []string{"half", " and half"} {
		m := &pb.DownloadResponse{Data: []byte(part)}
		if i == 0 {
			m.Digest = "sha256:" + hex.EncodeToString(sum[:])
		}
		if i == 1 && a.broken {
			return nil
		}
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func TestFindings(t *testing.T) {
	do := serve(t, func(srv *grpc.Server) { pb.RegisterRunServiceServer(srv, &archive{}) })
	for _, c := range []struct {
		args     string
		want     []string
		unwanted string
	}{
		{"findings", []string{"critical  blocks", "api/a.go:3", "secrets/aws", "there is aws", "waived until 2027-01-31", "(waived: for a test)", "api: 1 new, 1 known, 1 waived\nweb: 0 new, 0 known, 0 waived\n1 known, which --known shows\n"}, "secrets/key"},
		{"findings --known", []string{"high      known", "secrets/key"}, "which --known shows"},
		{"findings shop-1", []string{"nothing was scanned"}, "SEVERITY"},
	} {
		code, out, errs := do(t.Context(), strings.Fields(c.args)...)
		all := out.String() + errs.String()
		for _, want := range c.want {
			if code != 0 || !strings.Contains(all, want) {
				t.Errorf("%s: code %d, no %q in\n%s", c.args, code, want, all)
			}
		}
		if strings.Contains(all, c.unwanted) {
			t.Errorf("%s: %q in\n%s", c.args, c.unwanted, all)
		}
	}
	_, out, _ := do(t.Context(), "findings", "-o", "json")
	var doc struct {
		Services []struct {
			Service  string
			Findings []any
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || len(doc.Services) != 2 || len(doc.Services[0].Findings) != 3 {
		t.Errorf("json: %v, %+v", err, doc)
	}
	_, out, _ = do(t.Context(), "findings", "-o", "sarif")
	r, err := sarif.Read(out.Bytes(), func(string, int) string { return "" })
	if err != nil || len(r.Findings) != 2 || r.Findings[1].Rule != "secrets/aws" || r.Findings[1].Line != 3 || r.Findings[1].Severity != sarif.Critical {
		t.Errorf("sarif: %v, %+v", err, r)
	}
}

func TestDownload(t *testing.T) {
	a := &archive{}
	do := serve(t, func(srv *grpc.Server) { pb.RegisterRunServiceServer(srv, a) })
	if code, out, errs := do(t.Context(), "download", "shop-7", "build/api"); code != 0 || out.String() != "half and half" {
		t.Errorf("code %d, %q, %s", code, out, errs)
	}
	file := filepath.Join(t.TempDir(), "doc")
	if code, out, errs := do(t.Context(), "download", "shop-7", "build/api", "-f", file); code != 0 || out.Len() > 0 {
		t.Errorf("into a file: code %d, %q, %s", code, out, errs)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "half and half" {
		t.Errorf("in the file: %v, %q", err, data)
	}
	if code, _, errs := do(t.Context(), "download", "shop-7", "test/api"); code != 5 || !strings.Contains(errs.String(), "no such document") {
		t.Errorf("a task without one: code %d, %s", code, errs)
	}
	a.broken = true
	if code, out, errs := do(t.Context(), "download", "shop-7", "build/api"); code == 0 || out.Len() > 0 || !strings.Contains(errs.String(), "is not what it left") {
		t.Errorf("half of one: code %d, %q, %s", code, out, errs)
	}
}
