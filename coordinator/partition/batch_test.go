package partition_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/partition/partitiontest"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// many is a run with more tasks than one record can end.
func (f *farm) many(tests int) string {
	f.t.Helper()
	return f.submit(plantest.Shop("shop", 1, tests, nil))
}

func (f *farm) audit(id string, want run.State) []journal.Record {
	f.t.Helper()
	served := f.state()
	if err := f.stop(); err != nil {
		f.t.Fatalf("partition: %v", err)
	}
	replayed, records := f.read()
	if d := partitiontest.Diff(served, replayed); d != "" {
		f.t.Errorf("the journal says something else than was served (-served +journal):\n%s", d)
	}
	h := partitiontest.ReadHistory(records, f.plans)
	for _, wrong := range append(h.Wrong, f.shown.wrong...) {
		f.t.Errorf("%s", wrong)
	}
	if got := h.Ended[id]; got != want {
		f.t.Errorf("run %s is %q, want %s", id, got, want)
	}
	return records
}

func TestARunOfThousandsOfTasksCanBeCanceled(t *testing.T) {
	f := open(t)
	id := f.many(5000)
	f.must(func(tx *partition.Tx) error { _, err := tx.Cancel(id, strings.Repeat("not wanted ", 20)); return err })
	if r := f.run(id); r.State != run.Canceled {
		t.Errorf("run is %s", r.State)
	}
	f.audit(id, run.Canceled)
}

// TestAnEndThatIsHalfWrittenGoesOn kills the owner between the records of one command.
func TestAnEndThatIsHalfWrittenGoesOn(t *testing.T) {
	for name, fault := range map[string]fault{"before the second record": killedBefore, "after it": killedAfter} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			f.clock.runs(time.Microsecond) // so that a time that is taken twice shows
			id := f.many(2000)
			build := f.hold(id, "build/s0")
			f.js.armAt(1, fault)
			err := f.Do(t.Context(), func(tx *partition.Tx) error {
				return tx.Complete(build.Ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeFailed, Message: "no"}})
			})
			if err == nil {
				t.Fatal("the owner was killed, and the end of the build is acknowledged")
			}
			<-f.done
			f.owner = f.start()
			f.must(func(tx *partition.Tx) error {
				return tx.Complete(build.Ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeFailed, Message: "no"}})
			})
			if r := f.run(id); r.State != run.Failed {
				t.Errorf("run is %s", r.State)
			}
			if records := f.audit(id, run.Failed); len(records) < 6 {
				t.Errorf("%d records: the test does not cut what it means to cut", len(records))
			}
		})
	}
}

func TestAReportBeyondARecordKeepsItsOutcome(t *testing.T) {
	f := open(t)
	id := f.submit(plantest.Shop("shop", 1, 1, nil))
	f.do(id, "build/s0")
	test := f.hold(id, "test/s0/0")
	rep := run.Report{
		Attempt: run.Attempt{Outcome: run.OutcomeFailed, Class: run.ClassUser, Message: strings.Repeat("m", 1<<20)},
		Result:  plan.Result{Tests: &plan.TestSummary{Total: 900, Failed: 900}},
	}
	for i := range 900 {
		rep.Attempt.Steps = append(rep.Attempt.Steps, run.Step{Name: fmt.Sprint(i), Error: strings.Repeat("e", 2000)})
		rep.Result.Tests.Failures = append(rep.Result.Tests.Failures, plan.TestCase{Name: fmt.Sprint(i), Output: strings.Repeat("o", 2000)})
	}
	f.must(func(tx *partition.Tx) error { return tx.Complete(test.Ref, rep) })
	f.must(func(tx *partition.Tx) error { return tx.Complete(test.Ref, rep) }) // said again
	got, _ := f.run(id).Find("test/s0/0")
	if got.State != run.TaskFailed || got.Class != run.ClassUser || got.Result.Tests == nil || got.Result.Tests.Failed != 900 || len(rep.Result.Tests.Failures) != 900 {
		t.Errorf("the test is %s (%s): %+v", got.State, got.Class, got.Result.Tests)
	}
	f.audit(id, run.Failed)
}

func TestTheEndOfAnAttemptAndWhatItMeansAreInOneRecord(t *testing.T) {
	small, large := run.TaskFinished{Run: "r", Task: "t"}, run.TaskFinished{Run: "r", Task: "t", Message: strings.Repeat("m", 300<<10)}
	end, long := run.AttemptFinished{Run: "r", Task: "t"}, run.AttemptFinished{Run: "r", Task: "t", Attempt: run.Attempt{Message: large.Message}}
	for name, c := range map[string]struct {
		events []run.Event
		want   int
	}{
		"all fit":                      {[]run.Event{small, end, small}, 3},
		"one that is large":            {[]run.Event{large, small}, 1},
		"the end of an attempt":        {[]run.Event{small, long, small, small}, 3},
		"full before another attempt":  {[]run.Event{large, end, small}, 1},
		"what follows may go on later": {[]run.Event{end, large, small}, 2},
	} {
		if got := partition.Cut(c.events); got != c.want {
			t.Errorf("%s: %d events in the first record, want %d", name, got, c.want)
		}
	}
}
