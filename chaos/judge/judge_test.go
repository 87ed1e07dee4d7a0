package judge

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/chaos/load"
	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	running   = pb.RunState_RUN_STATE_RUNNING
	succeeded = pb.RunState_RUN_STATE_SUCCEEDED
)

func TestHistoriesOfRuns(t *testing.T) {
	submit := load.Told{Kind: load.Submit, Key: "k", Call: 0, Return: 10, Run: "a"}
	read := func(call, ret int64, ended int, s pb.RunState) load.Told {
		return load.Told{Kind: load.Get, Key: "k", Call: call, Return: ret, Run: "a", Ended: ended, State: s}
	}
	for name, c := range map[string]struct {
		told []load.Told
		ok   bool
	}{
		"in order":                  {[]load.Told{submit, read(11, 12, 1, running), read(13, 14, 4, succeeded)}, true},
		"two at once":               {[]load.Told{submit, read(11, 20, 4, succeeded), read(12, 19, 1, running)}, true},
		"back in time":              {[]load.Told{submit, read(11, 12, 3, running), read(13, 14, 2, running)}, false},
		"an end that is taken back": {[]load.Told{submit, read(11, 12, 3, succeeded), read(13, 14, 3, running)}, false},
		"a key with two runs":       {[]load.Told{submit, {Kind: load.Submit, Key: "k", Call: 11, Return: 12, Run: "b"}}, false},
	} {
		if _, wrong := Linear(c.told, nil); (len(wrong) == 0) != c.ok {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}

func TestHistoriesOfLeases(t *testing.T) {
	entry := func(k witness.Kind, counter uint64, at int64, done bool) witness.Entry {
		return witness.Entry{Kind: k, Attempt: witness.Attempt{Run: "r", Task: "t", Fence: witness.Fence{Epoch: 1, Counter: counter}}, Call: at, Return: at + 1, Done: done}
	}
	refused := []witness.Entry{entry(witness.Begin, 1, 0, true), entry(witness.Begin, 2, 2, true), entry(witness.Effect, 1, 4, false), entry(witness.Effect, 2, 6, true)}
	if _, wrong := Linear(nil, refused); len(wrong) > 0 {
		t.Error(wrong)
	}
	late := []witness.Entry{entry(witness.Begin, 1, 0, true), entry(witness.Begin, 2, 2, true), entry(witness.Effect, 1, 4, true)}
	if _, wrong := Linear(nil, late); len(wrong) == 0 {
		t.Error("an effect with an old fence is in order")
	}
}

// one run of one task, whose second attempt succeeded.
func one() *facts {
	spec := plan.Task{ID: "t", Kind: plan.KindBuild}
	r := &run.Run{ID: "r", Plan: &plan.Plan{Tasks: []plan.Task{spec}}, Tasks: []*run.Task{{Spec: &spec, State: run.TaskSucceeded, Attempts: []run.Attempt{
		{Number: 1, Fence: run.Fence{Epoch: 1, Counter: 1}, Outcome: run.OutcomeLost}, {Number: 2, Fence: run.Fence{Epoch: 1, Counter: 2}, Outcome: run.OutcomeSucceeded},
	}}}}
	return &facts{state: map[string]*run.Run{"r": r}}
}

func TestEffects(t *testing.T) {
	say := func(k witness.Kind, counter uint64, done bool) witness.Entry {
		return witness.Entry{Kind: k, Token: "0_r_0", Attempt: witness.Attempt{Run: "r", Task: "t", Fence: witness.Fence{Epoch: 1, Counter: counter}}, Process: int(counter), Done: done}
	}
	good := []witness.Entry{say(witness.Begin, 1, true), say(witness.Effect, 1, true), say(witness.Begin, 2, true), say(witness.Effect, 2, true), say(witness.Taken, 2, true), say(witness.Aborted, 1, true)}
	twice := say(witness.Begin, 2, true)
	twice.Process = 7
	for name, c := range map[string]struct {
		entries []witness.Entry
		want    string // is said; empty: nothing is
	}{
		"again, under a newer fence": {good, ""},
		"late":                       {append(good[:3:3], say(witness.Effect, 1, true)), "I6"},
		"none":                       {good[:1], "has no effect"},
		"after the one that counts":  {append(good[:6:6], say(witness.Begin, 3, true), say(witness.Effect, 3, true)), "I6"},
		"one fence for two":          {append(good[:3:3], twice, good[3]), "I5"},
		"taken, and lost":            {append(good[:6:6], say(witness.Taken, 1, true)), "I1"},
		"aborted, and used":          {append(good[:6:6], say(witness.Aborted, 2, true)), "I3"},
	} {
		v := &Verdict{}
		v.effects(one(), c.entries, false)
		said := strings.Join(v.Wrong, "\n")
		if c.want == "" && said != "" || !strings.Contains(said, c.want) {
			t.Errorf("%s: %q, want %q", name, said, c.want)
		}
	}
}

// TestLimits: what overlaps counts, what touches does not, and neither does what has no effect.
func TestLimits(t *testing.T) {
	say := func(k witness.Kind, task string, at int64) witness.Entry {
		return witness.Entry{Kind: k, Attempt: witness.Attempt{Run: "r", Task: task, Fence: witness.Fence{Epoch: 1, Counter: 1}}, Call: at, Return: at, Done: true}
	}
	spec := func(id, team, group string) *run.Task {
		return &run.Task{Spec: &plan.Task{ID: id, Team: team, Group: group}}
	}
	r := &run.Run{ID: "r", Project: "p", Plan: &plan.Plan{Teams: []plan.Team{{Name: "crew", Running: 2}}}, Tasks: []*run.Task{
		spec("a", "crew", ""), spec("b", "crew", ""), spec("c", "crew", ""), spec("d", "", "db"), spec("e", "", "db"),
	}}
	for i, t := range r.Tasks {
		t.Index = i
		r.Plan.Tasks = append(r.Plan.Tasks, *t.Spec)
	}
	f := &facts{state: map[string]*run.Run{"r": r}}
	two := []witness.Entry{say(witness.Begin, "a", 0), say(witness.Begin, "b", 1), say(witness.Effect, "a", 5), say(witness.Begin, "c", 5), say(witness.Effect, "b", 9), say(witness.Effect, "c", 9)}
	for name, c := range map[string]struct {
		entries []witness.Entry
		want    string
	}{
		"two of two":                 {two, ""},
		"three of two":               {append([]witness.Entry{say(witness.Begin, "c", 4)}, append(two[:3:3], two[4:]...)...), "3 tasks of team crew"},
		"one that came to no effect": {append([]witness.Entry{say(witness.Begin, "c", 4)}, two[:3]...), ""},
		"two in a group":             {[]witness.Entry{say(witness.Begin, "d", 0), say(witness.Begin, "e", 1), say(witness.Effect, "d", 2), say(witness.Effect, "e", 3)}, "2 tasks of group db of p"},
		"one after the other":        {[]witness.Entry{say(witness.Begin, "d", 0), say(witness.Effect, "d", 2), say(witness.Begin, "e", 2), say(witness.Effect, "e", 3)}, ""},
	} {
		v := &Verdict{}
		v.limits(f, c.entries)
		said := strings.Join(v.Wrong, "\n")
		if c.want == "" && said != "" || !strings.Contains(said, c.want) {
			t.Errorf("%s: %q, want %q", name, said, c.want)
		}
	}
}
