package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// leaver is a worker whose tests leave what they are told, or fail and leave it.
type leaver struct {
	t     *testing.T
	store session.Artifacts

	mu    sync.Mutex
	data  []byte
	fails bool
	seen  map[string]*pb.TestWork // by task
}

func (w *leaver) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	c := good(ctx, l)
	test := l.Grant.GetTest()
	if test == nil {
		return c
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[l.Grant.GetTaskId()] = test
	for _, a := range test.GetArtifacts() {
		sum := sha256.Sum256(w.data)
		digest := "sha256:" + hex.EncodeToString(sum[:])
		if err := w.store.Put(ctx, digest, int64(len(w.data)), bytes.NewReader(w.data)); err != nil {
			w.t.Error(err)
		}
		c.Result.Artifacts = append(c.Result.Artifacts, &pb.Artifact{Name: a.GetName(), Digest: digest, Size: int64(len(w.data)), Files: 1, File: "x.bin"})
	}
	if w.fails {
		c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "exit code 1"
	}
	return c
}

// worked are the tests that were leased since it was asked last.
func (w *leaver) worked() map[string]*pb.TestWork {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.seen
	w.seen = map[string]*pb.TestWork{}
	return out
}

// artifact downloads one.
func (f *farm) artifact(t *testing.T, run, task, name string) ([]byte, error) {
	t.Helper()
	stream, err := f.runs.Download(t.Context(), &pb.DownloadRequest{Run: run, Task: task, Artifact: name})
	var data []byte
	for err == nil {
		var m *pb.DownloadResponse
		if m, err = stream.Recv(); err == nil {
			data = append(data, m.GetData()...)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data, err
}

func (f *farm) removeArtifacts(t *testing.T) {
	t.Helper()
	s, err := f.nats.JetStream(t).Stream(t.Context(), "SLIPWAY_ARTIFACTS")
	if err == nil {
		err = s.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatTestsLeaveIsListedAndFetched: of tests that passed and of those that failed; of one that is reused it is that of
// the run that carried it out, and a test is reused also when it is gone.
func TestWhatTestsLeaveIsListedAndFetched(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" }`, `{ run: "true", artifacts: { shots: out/*.png, log: /tmp/log } }`, 1))
	commitAll(t, f.repo)
	w := &leaver{t: t, store: session.Artifacts{Client: f.workers}, data: bytes.Repeat([]byte("0123456789"), 200_000), fails: true, seen: map[string]*pb.TestWork{}}
	defer f.work(t, w.handle)()
	failed := f.end(t, f.submit(t, "k1").GetId())
	work := w.worked()["test/api/unit"]
	if d := cmp.Diff([]*pb.ArtifactWork{{Name: "log", Pattern: "/tmp/log"}, {Name: "shots", Pattern: "out/*.png"}}, work.GetArtifacts(), protocmp.Transform()); d != "" || work.GetArtifactLimits().GetEach() != 512<<20 || work.GetArtifactLimits().GetAll() != 1<<30 {
		t.Errorf("asked for %v:\n%s", work, d)
	}
	if failed.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Fatalf("the run is %s", failed.GetState())
	}
	w.fails = false
	passed := f.end(t, f.submit(t, "k2").GetId())
	w.worked()
	reused := f.end(t, f.submit(t, "k3").GetId())
	if got := w.worked(); len(got) > 0 || taskOf(t, reused, "test/api/unit").GetState() != pb.TaskState_TASK_STATE_REUSED {
		t.Errorf("carried out again: %v", got)
	}
	for _, r := range []*pb.Run{failed, passed, reused} {
		res, err := f.runs.Artifacts(t.Context(), &pb.ArtifactsRequest{Run: r.GetId()})
		if err != nil || len(res.GetArtifacts()) != 2 {
			t.Fatalf("%v, %v", res, err)
		}
		for _, a := range res.GetArtifacts() {
			if left := time.Until(a.GetUntil().AsTime()); a.GetTask() != "test/api/unit" || a.GetGone() != "" || left < 29*24*time.Hour {
				t.Errorf("%v", a)
			}
			data, err := f.artifact(t, r.GetId(), a.GetTask(), a.GetArtifact().GetName())
			if err != nil || !bytes.Equal(data, w.data) {
				t.Errorf("%s: %d bytes, %v", a.GetArtifact().GetName(), len(data), err)
			}
		}
	}
	if _, err := f.artifact(t, passed.GetId(), "test/api/unit", "video"); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "it left log, shots") {
		t.Errorf("one that it did not leave: %v", err)
	}
	f.removeArtifacts(t)
	if _, err := f.artifact(t, passed.GetId(), "test/api/unit", "shots"); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "no such artifact") {
		t.Errorf("one that is gone: %v", err)
	}
	late := f.end(t, f.submit(t, "k4").GetId())
	res, err := f.runs.Artifacts(t.Context(), &pb.ArtifactsRequest{Run: late.GetId()})
	if err != nil || len(res.GetArtifacts()) != 2 || res.GetArtifacts()[0].GetGone() == "" || taskOf(t, late, "test/api/unit").GetState() != pb.TaskState_TASK_STATE_REUSED {
		t.Errorf("%v, %v", res, err)
	}
}
