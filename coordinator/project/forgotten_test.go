package project_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// built is a partition whose runs build two services, one upon the other, test them and render one.
func built(t *testing.T) (s *state, begin func() *run.Run, start func(r *run.Run, task string), end func(r *run.Run, task string)) {
	t.Helper()
	p := &plan.Plan{Tasks: []plan.Task{
		{ID: "checkout", Kind: plan.KindCheckout},
		{ID: "build/base", Kind: plan.KindBuild, Can: plan.CapabilityBuild, Digest: "base", Needs: []string{"checkout"}},
		{ID: "test/api/own", Kind: plan.KindTest, Service: "api", Can: plan.CapabilityBuild, Digest: "own", Needs: []string{"checkout"}}, // in a stage of its own
		{ID: "build/other", Kind: plan.KindBuild, Can: plan.CapabilityBuild, Digest: "other", Needs: []string{"checkout"}},
		{ID: "build/api", Kind: plan.KindBuild, Can: plan.CapabilityBuild, Digest: "api", Needs: []string{"build/base", "checkout"}},
		{ID: "test/api/t/1of2", Kind: plan.KindTest, Can: plan.CapabilityBuild, Digest: "t1", Needs: []string{"build/api"}},
		{ID: "test/api/t/2of2", Kind: plan.KindTest, Can: plan.CapabilityBuild, Digest: "t2", Needs: []string{"build/api"}},
		{ID: "test/api/t", Kind: plan.KindGather, Digest: "t", Needs: []string{"test/api/t/1of2", "test/api/t/2of2"}},
		{ID: "test/other/t", Kind: plan.KindTest, Service: "other", Can: plan.CapabilityBuild, Digest: "o", Needs: []string{"checkout"}},
		{ID: "release", Kind: plan.KindRelease, Needs: []string{"build/api", "build/other", "test/api/t", "test/other/t"}},
		{ID: "late", Kind: plan.KindRender, Digest: "never: it is behind the release", Needs: []string{"release"}},
	}}
	s = &state{t: t, at: time.Unix(1_000_000, 0).UTC(), State: project.New(func(string) (*plan.Plan, error) { return p, nil })}
	counter := uint64(0)
	begin = func() *run.Run {
		r := s.accept("shop", "")
		s.apply(run.TaskFinished{Run: r.ID, Task: "checkout", State: run.TaskSucceeded})
		return r
	}
	start = func(r *run.Run, task string) {
		counter++
		s.apply(run.AttemptStarted{Run: r.ID, Task: task, Attempt: 1, Fence: run.Fence{Epoch: 1, Counter: counter}, LeasedAt: s.at.Add(time.Second)})
	}
	end = func(r *run.Run, task string) {
		t, _ := r.Find(task)
		if a := t.Current(); a != nil {
			end := *a
			end.Outcome = run.OutcomeSucceeded
			s.apply(run.AttemptFinished{Run: r.ID, Task: task, Attempt: end})
		}
		s.apply(run.TaskFinished{Run: r.ID, Task: task, State: run.TaskSucceeded, Digest: t.Spec.Digest})
	}
	return s, begin, start, end
}

func TestWhatWasMadeOfIt(t *testing.T) {
	_, begin, _, _ := built(t)
	r := begin()
	for task, want := range map[string][]string{
		"build/base":      {"build/base", "test/api/own", "build/api", "test/api/t/1of2", "test/api/t/2of2", "test/api/t"},
		"build/other":     {"build/other", "test/other/t"},
		"test/other/t":    {"test/other/t"},
		"test/api/t/1of2": {"test/api/t/1of2", "test/api/t"},
		"test/api/t":      {"test/api/t/1of2", "test/api/t/2of2", "test/api/t"},
	} {
		got, digests := project.Dependents(r, task)
		if d := cmp.Diff(want, got); d != "" || len(digests) != len(want) {
			t.Errorf("%s (-want +got):\n%s%v", task, d, digests)
		}
	}
}

// TestWhatBeganBeforeItWasForgottenStandsForNothing: nor does what was gathered from that; what began since does.
func TestWhatBeganBeforeItWasForgottenStandsForNothing(t *testing.T) {
	s, begin, start, end := built(t)
	p := s.Project("shop")
	known := func(digest string, want bool) {
		t.Helper()
		if _, ok := p.Known(digest); ok != want {
			t.Errorf("%s is known: %t", digest, ok)
		}
		if _, ok := p.Forgotten(digest, time.Time{}); ok == want {
			t.Errorf("%s is forgotten: %t", digest, ok)
		}
	}
	r := begin()
	for _, task := range []string{"build/base", "build/api"} {
		start(r, task)
		end(r, task)
	}
	start(r, "test/api/t/1of2")
	s.apply(run.ResultsForgotten{Project: "shop", Digests: []string{"base", "api", "t1", "t2", "t"}, By: "anna", Reason: "no"})
	known("base", false)
	start(r, "test/api/t/2of2")
	end(r, "test/api/t/1of2")
	known("t1", false)
	end(r, "test/api/t/2of2")
	known("t2", false) // it began later, of an image from before
	end(r, "test/api/t")
	known("t", false)

	again := begin()
	for _, task := range []string{"build/base", "test/api/own", "build/api", "test/api/t/1of2", "test/api/t/2of2"} {
		start(again, task)
		end(again, task)
	}
	end(again, "test/api/t")
	for _, digest := range []string{"base", "api", "t1", "t2", "t"} {
		known(digest, true)
	}

	s.apply(run.ResultsForgotten{Project: "shop", Digests: []string{"base"}, By: "anna", Reason: "again"})
	back, err := project.Restore(s.Save(), func(string) (*plan.Plan, error) { return again.Plan, nil })
	if err != nil {
		t.Fatal(err)
	}
	want, _ := p.Forgotten("base", time.Time{})
	if got, ok := back.Project("shop").Forgotten("base", time.Time{}); !ok || got != want || got.Reason != "again" {
		t.Errorf("restored: %+v, want %+v", got, want)
	}
	e, _, _ := s.Forget(project.Retention{Results: time.Hour}, s.at.Add(2*time.Hour))
	s.apply(e)
	if _, ok := p.Forgotten("base", time.Time{}); ok {
		t.Error("remembered for longer than results are")
	}
}
