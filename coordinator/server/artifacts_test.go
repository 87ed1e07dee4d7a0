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
	bad   string                  // a task that fails
	seen  map[string]*pb.TestWork // by task

	covers *pb.Coverage
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
	if w.covers != nil {
		c.Result.Coverage = w.covers
	}
	if w.fails || l.Grant.GetTaskId() == w.bad {
		c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "exit code 1"
	}
	return c
}

func (w *leaver) failing(task string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bad = task
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
	w.mu.Lock()
	w.fails = false
	w.mu.Unlock()
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

// TestWhatATestUsesIsThere: it is given to the test, which is reused with what made it; when it is gone and needed, what
// left it is carried out again, and says why; also when a run is tried again.
func TestWhatATestUsesIsThere(t *testing.T) {
	f := start(t)
	say := func(command string) {
		t.Helper()
		write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ unit: { run: "true" } }`, `{ make: { run: x, artifacts: { dist: out } }, unit: { run: "`+command+`", use: { /dist: api/make/dist } } }`, 1))
		commitAll(t, f.repo)
	}
	say("one")
	w := &leaver{t: t, store: session.Artifacts{Client: f.workers}, data: []byte("dist"), seen: map[string]*pb.TestWork{}}
	defer f.work(t, w.handle)()
	step := func(key string, want ...string) *pb.Run {
		t.Helper()
		r := f.end(t, f.submit(t, key).GetId())
		got := w.worked()
		if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || len(got) != len(want) {
			t.Fatalf("%s: %s, carried out: %v, want %v", r.GetState(), r.GetMessage(), got, want)
		}
		for _, id := range want {
			if got[id] == nil {
				t.Errorf("%s was not carried out", id)
			}
		}
		if unit := got["test/api/unit"]; unit != nil {
			u := unit.GetUse()
			if len(u) != 1 || u[0].GetPath() != "/dist" || u[0].GetTask() != "test/api/make" || u[0].GetArtifact().GetName() != "dist" || u[0].GetArtifact().GetSize() != 4 || u[0].GetArtifact().GetDigest() == "" {
				t.Errorf("it is given %v", u)
			}
		}
		return r
	}
	step("k1", "test/api/make", "test/api/unit")
	say("two")
	r := step("k2", "test/api/unit")
	if task := taskOf(t, r, "test/api/make"); task.GetState() != pb.TaskState_TASK_STATE_REUSED {
		t.Errorf("what made it is %s", task.GetState())
	}
	f.removeArtifacts(t)
	step("k3") // nobody needs it
	say("three")
	r = step("k4", "test/api/make", "test/api/unit")
	if task := taskOf(t, r, "test/api/make"); !strings.Contains(task.GetReason(), "the artifacts that run shop-1") || !strings.Contains(task.GetReason(), "made of the same inputs cannot be found any more") {
		t.Errorf("it is carried out again: %s", task.GetReason())
	}

	say("four")
	w.failing("test/api/unit")
	failed := f.end(t, f.submit(t, "k5").GetId())
	w.worked()
	w.failing("")
	again := func(key string) map[string]*pb.TestWork {
		t.Helper()
		res, err := f.runs.Retry(t.Context(), &pb.RetryRequest{IdempotencyKey: key, Run: failed.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if r := f.end(t, res.GetRun().GetId()); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("tried again: %s: %s", r.GetState(), r.GetMessage())
		}
		return w.worked()
	}
	f.removeArtifacts(t)
	if got := again("k6"); len(got) != 2 {
		t.Errorf("tried again without what was left: %v", got)
	}
}

// TestCoverageIsComparedWithTheBaseCommit: with what the test covered there, whatever its worker says; a test that is
// reused is compared with nothing.
func TestCoverageIsComparedWithTheBaseCommit(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ run: "true" }`, `{ run: "true", coverage: "cov/*.info" }`, 1))
	commitAll(t, f.repo)
	w := &leaver{t: t, seen: map[string]*pb.TestWork{}, covers: &pb.Coverage{Covered: 5, Total: 10, Files: 2, Before: &pb.CoverageBefore{Run: "made up", Covered: 1, Total: 1}}}
	defer f.work(t, w.handle)()
	step := func(key string, want *pb.Coverage) *pb.Run {
		t.Helper()
		r := f.end(t, f.submit(t, key).GetId())
		if d := cmp.Diff(want, taskOf(t, r, "test/api/unit").GetResult().GetCoverage(), protocmp.Transform()); d != "" {
			t.Errorf("%s: (-want +got):\n%s", key, d)
		}
		return r
	}
	first := step("k1", &pb.Coverage{Covered: 5, Total: 10, Files: 2})
	if got := w.worked()["test/api/unit"].GetCoverage(); got != "cov/*.info" {
		t.Errorf("asked for %q", got)
	}
	w.mu.Lock()
	w.covers = &pb.Coverage{Covered: 7, Total: 10, Files: 2}
	w.mu.Unlock()
	write(t, f.repo, "services/api/more", "x")
	commitAll(t, f.repo)
	step("k2", &pb.Coverage{Covered: 7, Total: 10, Files: 2, Before: &pb.CoverageBefore{Run: first.GetId(), Covered: 5, Total: 10}})
	write(t, f.repo, "services/web/more", "x")
	commitAll(t, f.repo)
	step("k3", &pb.Coverage{Covered: 7, Total: 10, Files: 2})
}

// TestAWorkerThatLeavesNotWhatOthersUseIsNotBelieved: it is of an older version, and what uses it would be given nothing.
func TestAWorkerThatLeavesNotWhatOthersUseIsNotBelieved(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.Replace(pipelineFile, `{ unit: { run: "true" } }`, `{ make: { run: x, artifacts: { dist: out }, retry: { infra: 1 } }, unit: { run: x, use: { /dist: api/make/dist } } }`, 1))
	commitAll(t, f.repo)
	defer f.work(t, good)()
	r := f.end(t, f.submit(t, "k1").GetId())
	maker := taskOf(t, r, "test/api/make")
	if maker.GetState() != pb.TaskState_TASK_STATE_ERRORED || !strings.Contains(maker.GetMessage(), "worker w0 does not know artifacts, and left none: upgrade it") {
		t.Errorf("%s: %s", maker.GetState(), maker.GetMessage())
	}
	if s := taskOf(t, r, "test/api/unit").GetState(); s != pb.TaskState_TASK_STATE_SKIPPED {
		t.Errorf("what uses it is %s", s)
	}
}
