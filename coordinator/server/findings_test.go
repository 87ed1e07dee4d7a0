package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// scanner is a worker whose scans find what it is told.
type scanner struct {
	t     *testing.T
	blobs pb.WorkerServiceClient

	mu    sync.Mutex
	finds []sarif.Finding
	seen  []*pb.ScanWork
}

func (s *scanner) find(list ...sarif.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finds, s.seen = list, nil
}

func (s *scanner) scans() []*pb.ScanWork {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *scanner) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	c := good(ctx, l)
	if l.Grant.GetScan() == nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, l.Grant.GetScan())
	data, err := sarif.Write(sarif.Report{Tool: "x", Findings: s.finds})
	if err != nil {
		s.t.Error(err)
	}
	digest, err := put(ctx, s.blobs, data)
	if err != nil {
		s.t.Error(err)
	}
	c.Result = &pb.Result{Scan: &pb.ScanSummary{Tool: "x", Report: digest, High: int32(len(s.finds))}}
	return c
}

func put(ctx context.Context, c pb.WorkerServiceClient, data []byte) (string, error) {
	stream, err := c.PutBlob(ctx)
	if err != nil {
		return "", err
	}
	if err := stream.Send(&pb.PutBlobRequest{Data: data}); err != nil {
		return "", err
	}
	res, err := stream.CloseAndRecv()
	return res.GetDigest(), err
}

func (f *farm) found(t *testing.T, req *pb.FindingsRequest) (out []string, err error) {
	t.Helper()
	stream, err := f.runs.Findings(t.Context(), req)
	for err == nil {
		var m *pb.FindingsResponse
		if m, err = stream.Recv(); err == nil {
			for _, x := range m.GetFindings() {
				out = append(out, fmt.Sprintf("%s %s %s/%s %s:%d %s", m.GetService(), strings.TrimPrefix(x.GetState().String(), "FINDING_STATE_"), x.GetScan(), x.GetRule(), x.GetPath(), x.GetLine(), x.GetWaivedUntil()))
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, err
}

func (f *farm) download(t *testing.T, run, task string) (kind, data string, err error) {
	t.Helper()
	stream, err := f.runs.Download(t.Context(), &pb.DownloadRequest{Run: run, Task: task})
	size := int64(0)
	for err == nil {
		var m *pb.DownloadResponse
		if m, err = stream.Recv(); err == nil {
			kind, size, data = kind+m.GetMediaType(), size+m.GetSize(), data+string(m.GetData())
		}
	}
	if errors.Is(err, io.EOF) && size == int64(len(data)) {
		err = nil
	}
	return kind, data, err
}

// TestNewFindingsFailARun: what was there on the first day does not; a waiver lets one pass until its day is over, though
// the scan itself is reused and nothing else has changed.
func TestNewFindingsFailARun(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" } }`, `{ run: "true" } }`+"\n    scan: { secrets: {} }", 1))
	commitAll(t, f.repo)
	s := &scanner{t: t, blobs: f.workers}
	defer f.work(t, s.handle)()
	one := func(rule string, line int) sarif.Finding {
		return sarif.Finding{Rule: rule, Severity: sarif.High, Path: "services/api/x", Line: line, Message: "m", Fingerprint: plan.Sum([]byte(rule))[7:39]}
	}
	old, fresh := one("old", 1), one("fresh", 2)
	s.find(old)
	first := f.end(t, f.submit(t, "k1").GetId())
	judged := taskOf(t, first, "findings/api")
	if first.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || judged.GetMessage() != "scanned for the first time: 1 high; later runs are told what is new since" {
		t.Fatalf("%s: %s", first.GetState(), judged)
	}
	if got := s.scans(); len(got) != 1 || got[0].GetUsing() != "secrets" || strings.Join(got[0].GetPaths(), " ") != "deploy/api services/api" {
		t.Errorf("scans: %v", got)
	}

	write(t, f.repo, "services/api/x", "a secret")
	commitAll(t, f.repo)
	s.find(old, fresh)
	blocked := f.end(t, f.submit(t, "k2").GetId())
	judged = taskOf(t, blocked, "findings/api")
	if blocked.GetState() != pb.RunState_RUN_STATE_FAILED || judged.GetState() != pb.TaskState_TASK_STATE_FAILED || judged.GetResult().GetFindings().GetBlocking() != 1 ||
		!strings.Contains(judged.GetMessage(), "✗ high services/api/x:2: m (secrets/fresh)\n  besides: 1 known") {
		t.Errorf("%s: %v", blocked.GetState(), judged)
	}
	if got := taskOf(t, blocked, "release").GetState(); got != pb.TaskState_TASK_STATE_SKIPPED {
		t.Errorf("the release is %s", got)
	}
	if got, err := f.found(t, &pb.FindingsRequest{Run: blocked.GetId()}); err != nil || strings.Join(got, ", ") != "api KNOWN secrets/old services/api/x:1 , api NEW secrets/fresh services/api/x:2 " {
		t.Errorf("findings: %v, %v", got, err)
	}

	day := func(d int) string { return time.Now().UTC().AddDate(0, 0, d).Format(time.DateOnly) }
	waive := func(until string) {
		t.Helper()
		write(t, f.dir, "targets.yaml", targetsFile+"findings: { waivers: [{ rule: secrets/fresh, until: "+until+", reason: it is none }] }\n")
	}
	waive(day(1))
	s.find()
	passed := f.end(t, f.submit(t, "k3").GetId())
	judged = taskOf(t, passed, "findings/api")
	if passed.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || judged.GetMessage() != "nothing new; 1 known, 1 waived" || len(s.scans()) > 0 || taskOf(t, passed, "scan/api/secrets").GetState() != pb.TaskState_TASK_STATE_REUSED {
		t.Errorf("waived: %s: %v\n%v", passed.GetState(), judged, s.scans())
	}
	if got, err := f.found(t, &pb.FindingsRequest{Run: passed.GetId(), Service: "api"}); err != nil || len(got) != 2 || got[1] != "api WAIVED secrets/fresh services/api/x:2 "+day(1) {
		t.Errorf("findings: %v, %v", got, err)
	}
	waive(day(-1))
	if over := f.end(t, f.submit(t, "k4").GetId()); taskOf(t, over, "findings/api").GetState() != pb.TaskState_TASK_STATE_FAILED || len(s.scans()) > 0 {
		t.Errorf("on the day after, with the same commit: %s", states(over))
	}
	if kind, data, err := f.download(t, passed.GetId(), "scan/api/secrets"); err != nil || kind != "application/sarif+json" || !strings.Contains(data, `"fresh"`) {
		t.Errorf("the report of a scan that was reused: %s, %v, %s", kind, err, data)
	}
	if _, _, err := f.download(t, passed.GetId(), "build/web"); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "builds with sbom") {
		t.Errorf("a build without an SBOM: %v", err)
	}
	if _, err := f.found(t, &pb.FindingsRequest{Run: passed.GetId(), Service: "wbe"}); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), `has no service "wbe"`) {
		t.Errorf("a service that there is none of: %v", err)
	}
}

// TestPackagesAreComparedWithTheAdvisoriesOfTheFarm: what changes in the folder is another input; what cannot be read leaves
// it as it was.
func TestPackagesAreComparedWithTheAdvisoriesOfTheFarm(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" } }`, `{ run: "true" } }`+"\n    scan: { packages: {} }", 1))
	commitAll(t, f.repo)
	submit := func(key string) error {
		_, err := f.runs.Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: key, Repository: f.repo, Ref: "main"})
		return err
	}
	if err := submit("k0"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "this farm has none") {
		t.Errorf("a farm without advisories: %v", err)
	}
	f.stop()
	f.advisories = t.TempDir()
	f.run(t)
	s := &scanner{t: t, blobs: f.workers}
	stop := f.work(t, s.handle)
	defer stop()
	advisory := `{"schema_version":"1.6.0","id":"GO-1","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"example.com/x"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.2.0"}]}]}]}`
	write(t, f.advisories, "GO-1.json", advisory)
	digest := func(key string) string {
		t.Helper()
		r := f.end(t, f.submit(t, key).GetId())
		scans := s.scans()
		if s.find(); len(scans) == 0 {
			return taskOf(t, r, "scan/api/packages").GetState().String()
		}
		return scans[0].GetAdvisories()
	}
	before := digest("k1")
	data, err := session.Blobs{Client: f.workers}.Get(t.Context(), before)
	if err != nil || len(data) == 0 {
		t.Fatalf("advisories: %v", err)
	}
	if again := digest("k2"); again != "TASK_STATE_REUSED" {
		t.Errorf("nothing changed: %s", again)
	}
	write(t, f.advisories, filepath.Join("more", "GO-2.json"), strings.ReplaceAll(advisory, "GO-1", "GO-2"))
	if now := digest("k3"); now == before || !strings.HasPrefix(now, "sha256:") {
		t.Errorf("one more advisory: %s", now)
	}
	write(t, f.advisories, "GO-3.json", "{")
	// One that cannot be read, as while it is being replaced, is in nobody's way; it is, where there are no others yet.
	if again := digest("k4"); again != "TASK_STATE_REUSED" {
		t.Errorf("an advisory that cannot be read: %s", again)
	}
	stop()
	f.stop()
	f.run(t)
	if err := submit("k5"); err == nil || !strings.Contains(err.Error(), "GO-3.json") {
		t.Errorf("an advisory that cannot be read, after a start: %v", err)
	}
	write(t, f.repo, "slipway.yaml", pipelineFile)
	commitAll(t, f.repo)
	if err := submit("k6"); err != nil {
		t.Errorf("a project that has no packages scanned: %v", err)
	}
}
