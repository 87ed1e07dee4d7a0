package buildkit

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/worker/runner"
)

// said is a report whose log is looked at.
type said struct{ bytes.Buffer }

func (*said) Started()                    {}
func (*said) Progress(...runner.Progress) {}

// TestOnlyTheLastSolveCounts: of a step that is carried out once more, without the cache, the log shows both and the rest the last.
func TestOnlyTheLastSolveCounts(t *testing.T) {
	var log said
	w := NewWatch(&log, nil)
	id := digest.FromString("x")
	at := func(s int) *time.Time { v := time.Unix(1000+int64(s), 0); return &v }
	step := func(v client.Vertex) *client.SolveStatus {
		v.Digest, v.Name = id, "[2/2] RUN test"
		return &client.SolveStatus{Vertexes: []*client.Vertex{&v}}
	}
	says := func(text string, s int) *client.SolveStatus {
		return &client.SolveStatus{Logs: []*client.VertexLog{{Vertex: id, Data: []byte(text), Timestamp: *at(s)}}}
	}
	w.take(step(client.Vertex{Started: at(0)}))
	w.take(says("--- FAIL: TestA\n", 1))
	w.take(step(client.Vertex{Started: at(0), Completed: at(1), Error: "context canceled"}))
	w.again(errors.New("layer is gone"))
	if out, steps := w.Output(), w.Steps(); len(out) > 0 || len(steps) > 0 {
		t.Errorf("of a solve that does not count: %q, %+v", out, steps)
	}
	before := log.Len()
	w.take(step(client.Vertex{Started: at(10)}))
	w.take(says("--- PASS: TestA\nlast words", 11))
	w.take(step(client.Vertex{Started: at(10), Completed: at(12), Error: "exit code: 1"}))
	second := log.String()[before:]
	for _, want := range []string{"#1 [2/2] RUN test\n", "#1 1.000 --- PASS", "last words\n", "#1 ERROR: exit code: 1\n"} {
		if !strings.Contains(second, want) {
			t.Errorf("the log of the second solve lacks %q:\n%s", want, second)
		}
	}
	if out := string(w.Output()); out != "--- PASS: TestA\nlast words" {
		t.Errorf("output: %q", out)
	}
	if steps := w.Steps(); len(steps) != 1 || !steps[0].Started.Equal(*at(10)) || steps[0].Error != "exit code: 1" {
		t.Errorf("steps: %+v", steps)
	}
}
