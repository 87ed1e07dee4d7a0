//go:build e2e

package kill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const jaegerConfig = `service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines: { traces: { receivers: [otlp], exporters: [jaeger_storage_exporter] } }
  telemetry: { metrics: { level: none }, logs: { level: warn } }
extensions:
  jaeger_storage: { backends: { memory: { memory: { max_traces: 1000 } } } }
  jaeger_query:
    storage: { traces: memory }
    http: { endpoint: %q }
    grpc: { endpoint: %q }
receivers: { otlp: { protocols: { grpc: { endpoint: %q } } } }
exporters: { jaeger_storage_exporter: { trace_storage: memory } }
`

// jaeger starts one that keeps traces in memory.
func (f *farm) jaeger(ctx context.Context) error {
	var ports [3]string
	for i := range ports {
		var err error
		if ports[i], err = port(); err != nil {
			return err
		}
	}
	f.query, f.otlp = ports[0], ports[2]
	if err := f.write("jaeger.yaml", jaegerConfig, ports[0], ports[1], ports[2]); err != nil {
		return err
	}
	p, err := f.program("jaeger", filepath.Join(tools(), "jaeger"), "--config", f.path("jaeger.yaml"))
	if err != nil {
		return err
	}
	err = until("Jaeger", func() bool {
		var services struct{ Data []string }
		return ask(ctx, "http://"+f.query+"/api/services", &services) == nil || !p.Running()
	})
	if err == nil && !p.Running() {
		err = errors.New("jaeger ended; see jaeger.log")
	}
	return err
}

func ask(ctx context.Context, url string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// jaegerSpan is a span as Jaeger's query API answers it.
type jaegerSpan struct {
	ID         string `json:"spanID"`
	Name       string `json:"operationName"`
	References []struct {
		Type string `json:"refType"`
		ID   string `json:"spanID"`
	} `json:"references"`
	Began int64 `json:"startTime"` // microseconds
	Took  int64 `json:"duration"`
}

func (s jaegerSpan) parent() string {
	for _, r := range s.References {
		if r.Type == "CHILD_OF" {
			return r.ID
		}
	}
	return ""
}

// trace is the tree of a run's spans.
type trace struct {
	byID  map[string]jaegerSpan
	kids  map[string][]jaegerSpan
	roots []jaegerSpan
	lost  []jaegerSpan // whose parent is not there
}

func read(t *testing.T, id string) []jaegerSpan {
	t.Helper()
	var answer struct {
		Data []struct {
			Spans []jaegerSpan `json:"spans"`
		} `json:"data"`
	}
	if err := ask(t.Context(), "http://"+shared.query+"/api/traces/"+id, &answer); err != nil || len(answer.Data) == 0 {
		return nil // not there yet
	}
	return answer.Data[0].Spans
}

func treeOf(spans []jaegerSpan) trace {
	tr := trace{byID: map[string]jaegerSpan{}, kids: map[string][]jaegerSpan{}}
	for _, s := range spans {
		tr.byID[s.ID] = s
	}
	for _, s := range tr.byID {
		switch parent := s.parent(); {
		case parent == "":
			tr.roots = append(tr.roots, s)
		case tr.byID[parent].ID == "":
			tr.lost = append(tr.lost, s)
		default:
			tr.kids[parent] = append(tr.kids[parent], s)
		}
	}
	return tr
}

func (tr trace) find(name string) (jaegerSpan, bool) {
	for _, s := range tr.byID {
		if s.Name == name {
			return s, true
		}
	}
	return jaegerSpan{}, false
}

// leaves are the names of the spans below one that have none below them.
func (tr trace) leaves(id string) []string {
	var names []string
	for _, kid := range tr.kids[id] {
		if len(tr.kids[kid.ID]) == 0 {
			names = append(names, kid.Name)
		}
		names = append(names, tr.leaves(kid.ID)...)
	}
	slices.Sort(names)
	return names
}

// traced asks a real Jaeger for the run: one tree with everything in it. Spans are sent
// a moment after the run ended; what is missing then is a fault.
func traced(t *testing.T, run *pb.Run) {
	t.Helper()
	var faults []string
	var spans []jaegerSpan
	err := until("a whole trace of "+run.GetId(), func() bool {
		spans = read(t, run.GetTraceId())
		faults = faultsOf(treeOf(spans), run)
		return len(faults) == 0
	})
	if err != nil {
		t.Fatalf("trace %s of run %s:\n  %s", run.GetTraceId(), run.GetId(), strings.Join(faults, "\n  "))
	}
	t.Logf("%s: %d spans", run.GetId(), len(spans))
	tell(t, treeOf(spans))
	needed := []string{"run accepted", "build/one", "attempt 1", "queue", "healthy", "pod started"}
	if shared.real {
		needed = append(needed, "pod pulled")
	}
	for _, name := range needed { // the check must notice
		without := slices.DeleteFunc(slices.Clone(spans), func(s jaegerSpan) bool { return s.Name == name })
		if len(without) == len(spans) || len(faultsOf(treeOf(without), run)) == 0 {
			t.Errorf("a trace without %q passes for whole", name)
		}
	}
}

// tell logs where the time of the rollouts went, as somebody who looks at the trace reads it.
func tell(t *testing.T, tr trace) {
	t.Helper()
	for _, cluster := range clusters {
		s, _ := tr.find("apply/one@prod/" + cluster)
		for _, attempt := range tr.kids[s.ID] {
			t.Logf("  %s %s: %d ms", s.Name, attempt.Name, attempt.Took/1000)
			for _, step := range tr.kids[attempt.ID] {
				t.Logf("    %-14s %6d ms after %d ms", step.Name, step.Took/1000, (step.Began-attempt.Began)/1000)
			}
		}
	}
}

// expected are the leaves that say what a task of the changed service did.
func expected(id string) []string {
	switch {
	case id == "build/one":
		return []string{"RUN sleep 3"}
	case id == "test/one/unit":
		return []string{"test -s /sum"}
	case !strings.HasPrefix(id, "apply/one@"):
		return nil
	case shared.real: // what the kubelet of that cluster said
		return []string{"healthy", "pod scheduled", "pod pulled", "pod started", "pod ready"}
	}
	return []string{"healthy", "pod scheduled", "pod started", "pod ready"}
}

func faultsOf(tr trace, run *pb.Run) []string {
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if len(tr.roots) != 1 || tr.roots[0].Name != "run accepted" {
		bad("roots: %v, want one: run accepted", tr.roots)
	}
	for _, s := range tr.lost {
		bad("%q is an orphan: its parent %s is not there", s.Name, s.parent())
	}
	for _, task := range run.GetTasks() {
		s, ok := tr.find(task.GetId())
		if !ok {
			bad("no span of %s, which is %s", task.GetId(), task.GetState())
			continue
		}
		if len(task.GetAttempts()) == 0 {
			continue
		}
		attempts, queues := 0, 0
		for _, kid := range tr.kids[s.ID] {
			switch {
			case strings.HasPrefix(kid.Name, "attempt "):
				attempts++
			case kid.Name == "queue":
				queues++
			}
		}
		if n := len(task.GetAttempts()); attempts != n || queues != n {
			bad("%s has spans of %d attempts and %d waits, want %d", task.GetId(), attempts, queues, n)
		}
		work := slices.DeleteFunc(tr.leaves(s.ID), func(name string) bool { return name == "queue" || strings.HasPrefix(name, "attempt ") })
		if len(work) == 0 {
			bad("nothing below %s says what was done: %v", task.GetId(), tr.leaves(s.ID))
		}
		for _, part := range expected(task.GetId()) {
			if !slices.ContainsFunc(work, func(name string) bool { return strings.Contains(name, part) }) {
				bad("no span %q below %s: %v", part, task.GetId(), work)
			}
		}
	}
	return faults
}
