package project_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// suite carries out a test of one project, as the owner of a partition does: with two shards that are
// gathered, or without.
type suite struct {
	*project.State

	at        time.Time
	plans     map[string]*plan.Plan
	n         uint64
	sharded   bool
	untrusted bool
	retries   int
	after     int // of the quarantine's policy
	said      []run.Event
}

func newSuite() *suite {
	s := &suite{at: time.Unix(1_000_000, 0).UTC(), plans: map[string]*plan.Plan{}, after: 2}
	s.State = project.New(func(hash string) (*plan.Plan, error) { return s.plans[hash], nil })
	return s
}

func (s *suite) emit(r *run.Run, events ...run.Event) {
	for _, e := range events {
		s.at = s.at.Add(time.Second)
		if err := s.Apply(e, s.at); err != nil {
			panic(err)
		}
		if e, ok := e.(run.TaskFinished); ok {
			t, _ := r.Find(e.Task)
			verdict := s.Project("shop").Judge(r, t, s.at)
			s.said = append(s.said, verdict...)
			s.emit(r, verdict...)
		}
	}
	if r == nil {
		return
	}
	for next := r.Next(); len(next) > 0; next = r.Next() {
		s.emit(r, next...)
	}
}

// run carries the test out at a commit; fails says which cases an attempt fails with.
func (s *suite) run(commit string, fails func(task string, attempt int) []plan.TestName) *run.Run {
	q := &plan.Quarantine{After: s.after, Days: 14, Release: 20, Cases: s.Project("shop").Held("test/a/t", s.at)}
	p := &plan.Plan{Untrusted: s.untrusted}
	tasks := []string{"test/a/t"}
	if s.sharded {
		tasks = []string{"test/a/t/1of2", "test/a/t/2of2"}
	}
	for _, id := range tasks {
		t := plan.Task{ID: id, Kind: plan.KindTest, Can: plan.CapabilityBuild, Digest: id + " at " + commit, Flaky: s.retries, Quarantine: q, Test: &plan.Test{}}
		if s.sharded {
			t.Test.Shard = &plan.Shard{Test: "test/a/t"}
		}
		p.Tasks = append(p.Tasks, t)
	}
	if s.sharded {
		p.Tasks = append(p.Tasks, plan.Task{ID: "test/a/t", Kind: plan.KindGather, Digest: "all at " + commit, Needs: tasks, Quarantine: q})
	}
	s.n++
	id := fmt.Sprintf("shop-%d", s.n)
	s.plans[id] = p
	s.emit(nil, run.Accepted{Run: id, Number: s.n, Project: "shop", PlanHash: id})
	r, _ := s.Run(id)
	for _, id := range tasks {
		for {
			t, _ := r.Find(id)
			if t.State.Ended() {
				break
			}
			n := len(t.Attempts) + 1
			fence := run.Fence{Epoch: 1, Counter: s.n*100 + uint64(n)}
			s.emit(r, run.AttemptStarted{Run: r.ID, Task: id, Attempt: n, Worker: "w1", Fence: fence})
			rep := run.Report{Attempt: *t.Current(), Result: plan.Result{Tests: &plan.TestSummary{Total: 9, Passed: 9}}}
			rep.Attempt.Outcome = run.OutcomeSucceeded
			if bad := fails(id, n); len(bad) > 0 {
				rep.Attempt.Outcome, rep.Attempt.Class, rep.Attempt.Message = run.OutcomeFailed, run.ClassUser, "exit code 1"
				rep.Result.Tests = &plan.TestSummary{Total: 9, Passed: 9 - len(bad), Failed: len(bad)}
				for _, n := range bad {
					rep.Result.Tests.Failures = append(rep.Result.Tests.Failures, plan.TestCase{Suite: n.Suite, Name: n.Name})
				}
			}
			s.emit(r, r.Finish(t, rep, s.at)...)
		}
	}
	if gather, ok := r.Find("test/a/t"); ok && gather.State == run.TaskReady {
		s.emit(r, r.Gather(gather)...)
	}
	return r
}

func (s *suite) cases() []project.Case {
	if all := s.Project("shop").Tests(); len(all) > 0 {
		return all[0].Cases
	}
	return nil
}

var (
	moody  = plan.TestName{Suite: "cart", Name: "TestMoody"}
	broken = plan.TestName{Suite: "cart", Name: "TestBroken"}
)

// TestACaseThatFailsNowAndThen: whatever the dice say, with retries and with runs that are tried again, alone and
// in shards: a case that fails one time in five goes into quarantine, from then on fails no run, and leaves it
// once it is mended; one that always fails never goes there.
func TestACaseThatFailsNowAndThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSuite()
		s.sharded = rapid.Bool().Draw(t, "sharded")
		s.retries = rapid.IntRange(0, 1).Draw(t, "retries")
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "dice"), 1))
		at := "test/a/t"
		if s.sharded {
			at = "test/a/t/2of2"
		}
		throw := func(task string, _ int) []plan.TestName {
			if task == at && dice.IntN(5) == 0 {
				return []plan.TestName{moody}
			}
			return nil
		}
		held := func() bool { return len(s.Project("shop").Held("test/a/t", s.at)) > 0 }
		commits := 0
		for ; !held(); commits++ {
			if commits > 1000 {
				t.Fatalf("not found in %d commits: %+v", commits, s.cases())
			}
			for tries := 0; s.run(fmt.Sprint("c", commits), throw).State == run.Failed && tries < 20; tries++ {
			}
		}
		if e, ok := s.said[0].(run.Quarantined); !ok || e.Case != moody || e.Test != "test/a/t" || !strings.Contains(e.Reason, "it failed and passed with the same inputs twice") {
			t.Fatalf("said %+v", s.said)
		}
		for range rapid.IntRange(0, 15).Draw(t, "while it is in quarantine") {
			commits++
			if r := s.run(fmt.Sprint("c", commits), throw); r.State != run.Succeeded {
				t.Fatalf("it failed a run: %s", r.Message)
			}
		}
		also := func(task string, attempt int) []plan.TestName {
			if task == at {
				return append(throw(task, attempt), broken)
			}
			return nil
		}
		for range 5 { // the same commit: it fails each time
			if r := s.run("broken", also); r.State != run.Failed {
				t.Fatalf("a case that is in no quarantine does not fail the run: %s %s", r.State, r.Message)
			}
		}
		mended := 0
		for ; held(); mended++ {
			commits++
			if r := s.run(fmt.Sprint("c", commits), func(string, int) []plan.TestName { return nil }); r.State != run.Succeeded {
				t.Fatalf("mended, and failed: %s", r.Message)
			}
		}
		if e, ok := s.said[len(s.said)-1].(run.Released); !ok || e.Case != moody || mended > 20 {
			t.Fatalf("after %d passes: %+v", mended, s.said[len(s.said)-1])
		}
		for _, e := range s.said {
			if q, ok := e.(run.Quarantined); ok && q.Case == broken {
				t.Fatalf("a case that failed each time is in quarantine: %+v", q)
			}
		}
		if got := s.cases(); len(got) > 1 || len(got) == 1 && got[0].Name != broken {
			t.Fatalf("remembered: %+v", got)
		}
	})
}

// TestWhatPassedOnlyBecauseOfAQuarantineStandsForNothing: nor does what gathers it.
func TestWhatPassedOnlyBecauseOfAQuarantineStandsForNothing(t *testing.T) {
	for _, sharded := range []bool{false, true} {
		s := newSuite()
		s.sharded = sharded
		s.run("c1", func(string, int) []plan.TestName { return nil })
		s.emit(nil, run.Quarantined{Project: "shop", Test: "test/a/t", Case: moody, By: "anna", Until: s.at.AddDate(0, 0, 1), Release: 3})
		r := s.run("c2", func(task string, _ int) []plan.TestName {
			if strings.Contains(task, "1of2") {
				return nil
			}
			return []plan.TestName{moody}
		})
		test, _ := r.Find("test/a/t")
		if r.State != run.Succeeded || test.Class != run.ClassFlaky || test.Result.Tests.Failed != 1 || !strings.HasPrefix(test.Message, "cart TestMoody failed, which is in quarantine; the other ") {
			t.Errorf("sharded %t: %s, %s %q, %+v", sharded, r.State, test.Class, test.Message, test.Result.Tests)
		}
		for _, digest := range []string{"test/a/t at c2", "test/a/t/2of2 at c2", "all at c2"} {
			if _, ok := s.Project("shop").Known(digest); ok {
				t.Errorf("sharded %t: %s is known", sharded, digest)
			}
		}
		want := []project.Execution{{Run: "shop-1", Passed: true}, {Run: "shop-2", Passed: true, Flaky: true}}
		got := s.Project("shop").Tests()[0].Recent
		for i := range got {
			got[i].At = time.Time{}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("sharded %t: executions (-want +got):\n%s", sharded, d)
		}
		if c := s.cases()[0]; c.Flakes != 0 || c.Failures != 1 || c.Open == "" {
			t.Errorf("sharded %t: that it failed in quarantine counts as a pass: %+v", sharded, c)
		}
		none := func(string, int) []plan.TestName { return nil }
		for n := range 2 {
			s.run(fmt.Sprint("d", n), none)
		}
		if len(s.Project("shop").Held("test/a/t", s.at)) != 1 {
			t.Errorf("sharded %t: released after two passes of three", sharded)
		}
		s.run("d3", none)
		if len(s.Project("shop").Held("test/a/t", s.at)) != 0 {
			t.Errorf("sharded %t: not released after three passes", sharded)
		}
	}
}

func TestAQuarantineEnds(t *testing.T) {
	s := newSuite()
	until := s.at.AddDate(0, 0, 14)
	s.emit(nil, run.Quarantined{Project: "shop", Test: "test/a/t", Case: moody, Until: until, Release: 20})
	if got := s.Expired(until.Add(-time.Second)); len(got) > 0 {
		t.Errorf("before its time is over: %+v", got)
	}
	got := s.Expired(until)
	want := []run.Event{run.Released{Project: "shop", Test: "test/a/t", Case: moody, Reason: "its time in quarantine is over"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("when its time is over (-want +got):\n%s", d)
	}
	s.emit(nil, got...)
	if len(s.Expired(until)) > 0 || len(s.cases()) > 0 {
		t.Errorf("released: %+v", s.cases())
	}
	// Held says nothing of one whose time is over, though nobody has said so yet.
	s.emit(nil, run.Quarantined{Project: "shop", Test: "test/a/t", Case: moody, Until: until, Release: 20})
	if s.Project("shop").Held("test/a/t", until) != nil {
		t.Error("held beyond its time")
	}
}

func TestStrangersTeachNothing(t *testing.T) {
	s := newSuite()
	s.untrusted = true
	for range 6 {
		fail := true
		s.run("c", func(string, int) []plan.TestName {
			if fail = !fail; fail {
				return nil
			}
			return []plan.TestName{moody}
		})
	}
	if all := s.Project("shop").Tests(); len(all) > 0 || len(s.said) > 0 {
		t.Errorf("known: %+v, said %+v", all, s.said)
	}
}

// TestOnlySoManyCasesAreRemembered, of which those that were there first stay; what people put into quarantine is.
func TestOnlySoManyCasesAreRemembered(t *testing.T) {
	s := newSuite()
	for n := range 20 {
		s.run("c", func(string, int) (out []plan.TestName) {
			for i := range 50 {
				out = append(out, plan.TestName{Name: fmt.Sprintf("case %03d", n*50+i)})
			}
			return out
		})
	}
	if got := s.cases(); len(got) != 500 || got[499].Name.Name != "case 499" {
		t.Fatalf("%d cases, the last %s", len(got), got[len(got)-1].Name)
	}
	s.emit(nil, run.Quarantined{Project: "shop", Test: "test/a/t", Case: moody, Until: s.at.AddDate(0, 0, 1), Release: 20})
	if got := s.Project("shop").Held("test/a/t", s.at); len(got) != 1 || len(s.cases()) != 501 {
		t.Errorf("held: %v", got)
	}
}
