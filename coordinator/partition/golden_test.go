package partition_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/journal/journaltest"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
	"github.com/slipway-build/slipway/internal/natstest"
)

var update = flag.Bool("update", false, "write the journal of the current schema, and its state, into testdata")

// golden is a journal that a program of some schema wrote, and what it adds up to. Only
// that of the current schema is ever written again.
const (
	goldenSchema  = 5
	goldenFrames  = "testdata/journals/schema%d.frames"     // base64, one frame a line, an empty one for each that is gone
	goldenBlobs   = "testdata/journals/schema%d.blobs"      // base64, one blob a line; since schema 2
	goldenPlans   = "testdata/journals/schema%d.plans.json" // by hash
	goldenState   = "testdata/journals/schema%d.state.json"
	goldenPartNum = 0
)

// TestJournalsOfEarlierFormatsReplay: what any release wrote is read by this program as it
// was meant.
func TestJournalsOfEarlierFormatsReplay(t *testing.T) {
	if *update {
		record(t)
	}
	for schema := 1; schema <= goldenSchema; schema++ {
		st := replayGolden(t, schema)
		got := describe(t, st)
		path := fmt.Sprintf(goldenState, schema)
		if *update && schema == goldenSchema {
			write(t, path, got)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("schema %d (-golden +replayed):\n%s", schema, d)
		}
	}
	if _, err := os.Stat(fmt.Sprintf(goldenFrames, goldenSchema+1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a journal of schema %d, which is not replayed", goldenSchema+1)
	}
}

func replayGolden(t *testing.T, schema int) *project.State {
	t.Helper()
	m, blobs := &journaltest.Memory{}, &snapshottest.Blobs{}
	gone := uint64(0)
	for i, frame := range lines(t, fmt.Sprintf(goldenFrames, schema)) {
		if len(frame) == 0 {
			gone++
		}
		if _, err := m.Append(t.Context(), uint64(i), frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Purge(t.Context(), gone+1); err != nil {
		t.Fatal(err)
	}
	if schema > 1 {
		for _, blob := range lines(t, fmt.Sprintf(goldenBlobs, schema)) {
			if _, err := blobs.Put(t.Context(), blob); err != nil {
				t.Fatal(err)
			}
		}
	}
	var plans map[string]json.RawMessage
	data, err := os.ReadFile(fmt.Sprintf(goldenPlans, schema))
	if err == nil {
		err = json.Unmarshal(data, &plans)
	}
	if err != nil {
		t.Fatal(err)
	}
	find := func(hash string) (*plan.Plan, error) {
		p, err := plan.Decode(plans[hash])
		return &p, err
	}
	st := project.New(find)
	j := journal.New(m, journal.Config{Owner: "reader", Snapshots: blobs, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if _, err := j.Resume(t.Context(), func(s project.Saved) (err error) {
		st, err = project.Restore(s, find)
		return err
	}, func(rec journal.Record) error { return st.Fold(rec.Events, rec.Time) }); err != nil {
		t.Fatalf("schema %d: %v", schema, err)
	}
	return st
}

// lines are those of a file, decoded.
func lines(t *testing.T, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for line := range strings.Lines(string(data)) {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(line, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// describe is the state as text: everything that is served of it.
func describe(t *testing.T, st *project.State) []byte {
	t.Helper()
	type used struct{ Run, RequestHash string }
	type answers struct {
		Next  uint64
		Keys  map[string]used
		Known map[string]project.Known
		Green map[string]string
		Serve map[string]project.Stable
		Enter map[string]string
	}
	out := struct {
		Runs     []*run.Run
		Projects map[string]answers
		Archives []project.Archive         `json:",omitempty"`
		Tests    map[string][]project.Test `json:",omitempty"` // by project
		Items    map[string][]plan.Item    `json:",omitempty"` // by test

		Forgotten []project.SavedForgotten `json:",omitempty"`
		Baselines []project.SavedBaseline  `json:",omitempty"`
	}{Projects: map[string]answers{}, Tests: map[string][]project.Test{}, Items: map[string][]plan.Item{}}
	for _, p := range st.Save().Projects {
		if len(p.Tests) > 0 && p.Name == "lab" {
			out.Tests[p.Name], out.Forgotten = p.Tests, p.Forgotten
		}
		for _, t := range p.Times {
			if len(t.Usual.Items) > 0 {
				out.Items[t.Task] = t.Usual.Items
			}
		}
		out.Baselines = append(out.Baselines, p.Baselines...)
		out.Archives = append(out.Archives, p.Archives...)
	}
	for _, r := range st.Runs("", 1<<20) {
		out.Runs = append(out.Runs, bare(r))
		a, ok := out.Projects[r.Project]
		p := st.Project(r.Project)
		if !ok {
			a = answers{
				Next: p.Next(), Keys: map[string]used{}, Known: map[string]project.Known{}, Serve: map[string]project.Stable{}, Enter: map[string]string{},
				Green: map[string]string{"": p.Green(""), "main": p.Green("main")},
			}
			for i := range 5 {
				if k, ok := p.Key(fmt.Sprint("k", i)); ok {
					a.Keys[fmt.Sprint("k", i)] = used{k.Run, k.RequestHash}
				}
			}
		}
		for _, task := range r.Tasks {
			if k, ok := p.Known(task.Spec.Digest); ok {
				a.Known[task.Spec.Digest] = k
			}
			if at := task.Spec.Target; at != nil {
				if s, ok := p.Stable(at.Environment, at.Cluster, task.Spec.Service); ok {
					a.Serve[at.String()+" "+task.Spec.Service] = s
				}
				e, by := p.MayEnter(r, at.Environment)
				a.Enter[r.ID+" "+at.Environment] = fmt.Sprintf("%d %s", e, by)
			}
		}
		out.Projects[r.Project] = a
	}
	data, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

// bare is a run without its plan; of the specs of its tasks it has the ids.
func bare(r *run.Run) *run.Run {
	c := r.Snapshot()
	c.Plan = nil
	for _, task := range c.Tasks {
		task.Spec = &plan.Task{ID: task.Spec.ID, Kind: task.Spec.Kind}
	}
	return c
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// record has an engine write the journal of the current schema: every event of it, by two
// owners.
func record(t *testing.T) {
	t.Helper()
	f := newFarm(t, natstest.Start(t).JetStream(t), goldenPartNum)
	f.clock.runs(time.Millisecond)
	f.everything()
	f.archives()
	f.close()
	var frames, blobs bytes.Buffer
	first, _ := f.bounds()
	frames.WriteString(strings.Repeat("\n", int(first)-1))
	s, err := journal.OpenStream(t.Context(), f.js, goldenPartNum, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Read(t.Context(), first, func(_ uint64, frame []byte) error {
		fmt.Fprintln(&frames, base64.StdEncoding.EncodeToString(frame))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	write(t, fmt.Sprintf(goldenFrames, goldenSchema), frames.Bytes())
	for _, d := range f.blobs.Digests() {
		blob, err := f.blobs.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&blobs, base64.StdEncoding.EncodeToString(blob))
	}
	write(t, fmt.Sprintf(goldenBlobs, goldenSchema), blobs.Bytes())
	plans := map[string]json.RawMessage{}
	for hash, p := range f.plans {
		if plans[hash], err = plan.Encode(*p); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.MarshalIndent(plans, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	write(t, fmt.Sprintf(goldenPlans, goldenSchema), append(data, '\n'))
}

// everything happens once: a release to two environments, a test that is flaky and then
// fails, an apply that is rolled back, a run that is canceled, and one that goes on.
func (f *farm) everything() {
	f.t.Helper()
	accept := func(p *plan.Plan, key string) string {
		s := f.submission(p, key, "request of "+key)
		var id string
		f.must(func(tx *partition.Tx) (err error) { id, _, err = tx.Accept(s); return err })
		f.eventually("the commit is pinned", f.idle)
		return id
	}
	first := accept(plantest.Shop("shop", 1, 1, [][]string{{"a"}, {"b", "c"}}), "k1")
	f.do(first, "build/s0", "test/s0/0", "render/s0@e0/a", "render/s0@e1/b", "render/s0@e1/c", "apply/s0@e0/a", "apply/s0@e1/b", "apply/s0@e1/c")
	f.want(first, "verified/e1", run.TaskSucceeded)

	flaky := plantest.Shop("shop", 1, 1, nil)
	flaky.Tasks[2].Flaky = 1
	second := accept(flaky, "k2")
	f.do(second, "build/s0")
	f.end(f.hold(second, "test/s0/0"), run.OutcomeFailed)
	f.again()
	if err := f.tick(2 * ttl); err != nil {
		f.t.Fatalf("%v", err)
	}
	f.end(f.hold(second, "test/s0/0"), run.OutcomeFailed)

	third := f.built("shop", "a", "b")
	f.do(third, "apply/s0@e0/a")
	for range run.InfraBudget + 1 {
		f.end(f.hold(third, "apply/s0@e0/b"), run.OutcomeErrored)
		if err := f.tick(time.Minute); err != nil {
			f.t.Fatalf("%v", err)
		}
	}
	f.do(third, "rollback/s0@e0/a", "rollback/s0@e0/b")

	stopped := accept(plantest.Shop("bank", 2, 1, nil), "k1")
	f.do(stopped, "build/s0")
	held := f.hold(stopped, "build/s1")
	f.must(func(tx *partition.Tx) error { _, err := tx.Cancel(stopped, "not wanted"); return err })
	f.end(held, run.OutcomeCanceled)

	f.learns(accept)
	f.scans(accept)

	last := f.built("shop", "a")
	f.hold(last, "apply/s0@e0/a")
	f.hold(accept(plantest.Shop("bank", 2, 0, nil), "k3"), "build/s1")
}

// learns has a test of two shards, of which one is flaky, teach what its items take and that a case of
// it belongs into quarantine; people put another one there, and one more that they let out.
func (f *farm) learns(accept func(p *plan.Plan, key string) string) {
	f.t.Helper()
	p := plantest.Gathered(plantest.Shop("lab", 1, 2, [][]string{{"a"}}))
	for i := range p.Tasks {
		if t := &p.Tasks[i]; t.Kind == plan.KindTest || t.Kind == plan.KindGather {
			t.Flaky, t.Quarantine, t.Digest = 1, &plan.Quarantine{After: 1, Days: 14, Release: 20}, "digest of "+t.ID
		}
	}
	id := accept(p, "k1")
	f.do(id, "build/s0")
	for _, task := range []string{"test/s0/0", "test/s0/1", "test/s0/1"} {
		w := f.hold(id, task)
		rep := run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}, Result: plan.Result{Tests: &plan.TestSummary{Total: 1, Passed: 1, Listed: "a hash", Items: []plan.Item{{Name: "item of " + task, Millis: 120}}}}}
		if task == "test/s0/1" && w.Ref.Attempt == 1 {
			rep.Attempt.Outcome, rep.Attempt.Class, rep.Result.Tests = run.OutcomeFailed, run.ClassUser, &plan.TestSummary{Total: 1, Failed: 1, Failures: []plan.TestCase{{Suite: "s", Name: "moody", Output: "no"}}}
		}
		f.must(func(tx *partition.Tx) error { return tx.Complete(w.Ref, rep) })
	}
	f.must(func(tx *partition.Tx) error {
		for _, name := range []string{"slow", "mended"} {
			if _, err := tx.Quarantine("lab", "test/s0/all", plan.TestName{Name: name}, "anna", "not today", 300); err != nil {
				return err
			}
		}
		_, err := tx.Release("lab", "test/s0/all", plan.TestName{Name: "mended"}, "anna", "it works")
		return err
	})
	f.must(func(tx *partition.Tx) error {
		r, err := tx.Run(id)
		if err == nil {
			_, err = tx.Forget(r, "build/s0", "anna", "the mirror lied")
		}
		return err
	})
	f.want(id, "test/s0/all", run.TaskSucceeded)
}

// scans has what the scan of a service finds become what the next run is compared with, which it is, and fails.
func (f *farm) scans(accept func(p *plan.Plan, key string) string) {
	f.t.Helper()
	for i, report := range []string{"clean", "blocks"} {
		id := accept(plantest.Scanned(plantest.Shop("vault", 1, 0, nil)), fmt.Sprint("k", i+1))
		f.do(id, "build/s0")
		f.scanned(id, report)
	}
}

// archives has snapshots taken, and what has ended archived and forgotten, logs too.
func (f *farm) archives() {
	f.t.Helper()
	logs := &frames{purged: map[logstore.Key]bool{}}
	f.upkeep = partition.Upkeep{
		Blobs: f.blobs, Records: 5, Keep: project.Retention{PerProject: 3, Keys: time.Hour, Results: time.Hour, Logs: time.Hour},
		Logs: logs.archiver(f.blobs), LogsAfter: time.Millisecond,
	}
	f.again()
	if err := f.tick(2 * time.Hour); err != nil {
		f.t.Fatalf("%v", err)
	}
	f.purges(1)
	f.eventually("the older runs are archived", func() bool { return len(f.runs()) <= 10 })
}
