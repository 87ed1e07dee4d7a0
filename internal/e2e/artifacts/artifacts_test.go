//go:build e2e

package artifacts_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/slipway-build/slipway/internal/archive"
	"github.com/slipway-build/slipway/internal/devfarm/devfarmtest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const pipeline = `version: 1
project: site
services:
  web:
    path: web
    test:
      bundle: { in: tests, run: "mkdir -p dist/js && cp page dist/page && head -c 3000000 /dev/urandom >dist/js/large", artifacts: { dist: dist } }
      e2e: { in: tests, run: "cp /site/js/large shots; sh e2e.sh", use: { /site: web/bundle/dist }, artifacts: { shots: shots } }
`

const dockerfile = `FROM scratch AS tests
COPY --chmod=755 web/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
WORKDIR /src
COPY web .
FROM scratch
COPY web/page /page
`

func task(t *testing.T, r *pb.Run, id string) *pb.Task {
	t.Helper()
	i := slices.IndexFunc(r.GetTasks(), func(task *pb.Task) bool { return task.GetId() == id })
	if i < 0 {
		t.Fatalf("there is no %s", id)
	}
	return r.GetTasks()[i]
}

func fetch(t *testing.T, farm *devfarmtest.Farm, run, task, name string) []byte {
	t.Helper()
	stream, err := farm.Runs.Download(t.Context(), &pb.DownloadRequest{Run: run, Task: task, Artifact: name})
	var data []byte
	for err == nil {
		var m *pb.DownloadResponse
		if m, err = stream.Recv(); err == nil {
			data = append(data, m.GetData()...)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return data
}

// TestFilesGoFromTestToTestAndToPeople: what one test left is what the next one finds, what that one leaves when it fails
// is what people fetch, and once it is mended only it is carried out again.
func TestFilesGoFromTestToTestAndToPeople(t *testing.T) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("needs the package busybox-static: %v", err)
	}
	repo := devfarmtest.NewRepository(t, filepath.Join(t.TempDir(), "site"))
	repo.Commit(t, map[string]string{"slipway.yaml": pipeline, "web/Dockerfile": dockerfile, "web/busybox": string(busybox), "web/page": "hello", "web/e2e.sh": "grep goodbye /site/page"})
	farm := devfarmtest.Start(t, filepath.Dir(repo.Dir))
	failed := farm.Run(t, repo)
	if s := task(t, failed, "test/web/e2e").GetState(); s != pb.TaskState_TASK_STATE_FAILED {
		t.Fatalf("%s: %s", s, failed.GetMessage())
	}
	dir := t.TempDir()
	if _, err := archive.Unpack(dir, bytes.NewReader(fetch(t, farm, failed.GetId(), "test/web/bundle", "dist")), archive.Rules{}); err != nil {
		t.Fatal(err)
	}
	large, err := os.ReadFile(filepath.Join(dir, "js", "large"))
	if err != nil || len(large) != 3_000_000 {
		t.Fatalf("%d bytes, %v", len(large), err)
	}
	if shots := fetch(t, farm, failed.GetId(), "test/web/e2e", "shots"); !bytes.Equal(shots, large) {
		t.Errorf("the test that failed left %d bytes that are not those it was given", len(shots))
	}

	mended := bytes.ReplaceAll([]byte(pipeline), []byte("sh e2e.sh"), []byte("grep hello /site/page"))
	repo.Commit(t, map[string]string{"slipway.yaml": string(mended)})
	passed := farm.Run(t, repo)
	if s := task(t, passed, "test/web/bundle").GetState(); passed.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || s != pb.TaskState_TASK_STATE_REUSED {
		t.Fatalf("%s, what made the bundle is %s: %s", passed.GetState(), s, passed.GetMessage())
	}
	if shots := fetch(t, farm, passed.GetId(), "test/web/e2e", "shots"); !bytes.Equal(shots, large) {
		t.Errorf("after it was mended, it was given other bytes: %d", len(shots))
	}
}
