//go:build e2e

package flaky_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/devfarm/devfarmtest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const pipeline = `version: 1
project: suite
services:
  api:
    path: api
    test:
      unit:
        in: tests
        shards: 2
        list: ls cases
        run: sh run.sh >junit.xml
        report: junit.xml
        retry: { flaky: 1 }
        quarantine: auto
`

const dockerfile = `FROM scratch AS tests
COPY --chmod=755 api/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
WORKDIR /src
COPY api .
FROM scratch
COPY api/version /version
`

// suite carries its cases out, each a script, and reports them.
const suite = `failed=0
echo "<testsuite name='api'>"
for name in $(cat $SLIPWAY_TESTS); do
  if sh cases/$name; then echo "<testcase name='$name'/>"; else failed=1; echo "<testcase name='$name'><failure>no</failure></testcase>"; fi
done
echo "</testsuite>"
exit $failed
`

// moody fails one time in five.
const moody = "[ $(($(od -An -N4 -tu4 /dev/urandom) % 5)) -ne 0 ]\n"

func TestACaseThatFailsOneTimeInFive(t *testing.T) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("needs the package busybox-static: %v", err)
	}
	repo := devfarmtest.NewRepository(t, filepath.Join(t.TempDir(), "suite"))
	files := map[string]string{"slipway.yaml": pipeline, "api/Dockerfile": dockerfile, "api/busybox": string(busybox), "api/run.sh": suite, "api/cases/moody": moody}
	for i := range 6 {
		files[fmt.Sprint("api/cases/good", i)] = "true\n"
	}
	repo.Commit(t, files)
	farm := devfarmtest.Start(t, filepath.Dir(repo.Dir))
	runs := 0
	next := func() *pb.Run {
		t.Helper()
		runs++
		repo.Commit(t, map[string]string{"api/version": fmt.Sprintln(runs)})
		r := farm.Run(t, repo)
		for _, task := range r.GetTasks() {
			if task.GetState() == pb.TaskState_TASK_STATE_FAILED && task.GetResult().GetTests().GetFailed() != 1 {
				t.Fatalf("%s: %s", task.GetId(), task.GetMessage())
			}
		}
		return r
	}
	// known is what there is to say of the case; nil: nothing.
	known := func() *pb.KnownCase {
		t.Helper()
		res, err := pb.NewTestServiceClient(farm.Conn).ListTests(t.Context(), &pb.ListTestsRequest{Project: "suite", Flaky: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.GetTests()) == 0 {
			return nil
		}
		test := res.GetTests()[0]
		if c := test.GetCases(); len(res.GetTests()) > 1 || test.GetId() != "test/api/unit" || len(c) > 1 || c[0].GetCase().GetName() != "moody" {
			t.Fatalf("said to be flaky: %v", res)
		}
		return test.GetCases()[0]
	}

	for next(); known().GetQuarantine() == nil; next() {
		if runs == 200 {
			t.Fatalf("not found in %d runs: %v", runs, known())
		}
	}
	q := known().GetQuarantine()
	t.Logf("in quarantine after %d runs: %s", runs, q.GetReason())
	if !strings.HasPrefix(q.GetReason(), "it failed and passed with the same inputs twice, last in run suite-") || q.GetUntil().AsTime().Sub(q.GetSince().AsTime()).Hours() < 13*24 {
		t.Errorf("quarantine: %v", q)
	}

	found := runs
	for failures := known().GetFailures(); known().GetFailures() < failures+2; {
		if r := next(); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("in quarantine, and it failed a run: %s", r.GetMessage())
		}
		if known().GetQuarantine() == nil || runs > found+200 {
			t.Fatalf("after %d more runs: %v", runs-found, known())
		}
	}
	t.Logf("it failed twice in %d runs since, none of which failed", runs-found)

	repo.Commit(t, map[string]string{"api/cases/moody": "true\n"})
	mended := runs
	for known() != nil {
		if r := next(); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || runs > mended+20 {
			t.Fatalf("mended %d runs ago: %s, %v", runs-mended, r.GetState(), known())
		}
	}
	t.Logf("released %d runs after it was mended", runs-mended)
	repo.Commit(t, map[string]string{"api/cases/moody": "false\n"})
	if r := farm.Run(t, repo); r.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("it is in no quarantine, fails each time, and the run is %s", r.GetState())
	}
}
