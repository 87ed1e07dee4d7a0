package submit

import (
	"errors"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// TestTheClassOfARequest: what began it decides, and of a fork's pull request it is the
// branch that it is to be merged into, not its own.
func TestTheClassOfARequest(t *testing.T) {
	targets := &pipeline.Targets{Classes: []pipeline.Class{
		{Event: "push", Branches: []string{"hotfix/*"}, Class: pipeline.ClassUrgent},
		{Event: "pull_request", Branches: []string{"main"}, Class: pipeline.ClassUrgent},
		{Event: "pull_request", Class: pipeline.ClassLow},
		{Event: pipeline.EventManual, Branches: []string{"main"}, Class: pipeline.ClassLow},
	}}
	for name, c := range map[string]struct {
		req  Request
		want string
	}{
		"a push":                     {Request{Ref: "hotfix/1", Event: &Event{Kind: "push", Branch: "hotfix/1", Onto: "hotfix/1"}}, plan.ClassUrgent},
		"a pull request of a hotfix": {Request{Ref: "pull/7", Event: &Event{Kind: "pull_request", Branch: "hotfix/1", Onto: "dev"}}, plan.ClassLow},
		"a pull request":             {Request{Ref: "pull/7", Event: &Event{Kind: "pull_request", Branch: "x", Onto: "main"}}, plan.ClassUrgent},
		"a fork's":                   {Request{Ref: "pull/7", Untrusted: true, Event: &Event{Kind: "pull_request", Branch: "x", Onto: "main"}}, plan.ClassNormal},
		"somebody":                   {Request{Ref: "refs/heads/main"}, plan.ClassLow},
		"somebody, of a hotfix":      {Request{Ref: "hotfix/1"}, plan.ClassNormal},
	} {
		if got := c.req.class(targets); got != c.want {
			t.Errorf("%s: class %q, want %q", name, got, c.want)
		}
	}
}

func TestHowFarAnEventGoes(t *testing.T) {
	some := []pipeline.Trigger{
		{Event: "push", Branches: []string{"main", "release/*"}, Until: pipeline.StageRelease},
		{Event: "pull_request", Until: pipeline.StageRelease},
	}
	for _, test := range []struct {
		name     string
		triggers []pipeline.Trigger
		event    *Event
		want     string // empty and a nil event: everything; "-": no run
	}{
		{"somebody asked", some, nil, ""},
		{"no triggers, main", nil, &Event{Kind: "push", Onto: "main"}, pipeline.StageRelease},
		{"no triggers, master", nil, &Event{Kind: "push", Onto: "master"}, pipeline.StageRelease},
		{"no triggers, another branch", nil, &Event{Kind: "push", Onto: "feature"}, pipeline.StageTest},
		{"no triggers, pull request", nil, &Event{Kind: "pull_request", Onto: "main"}, pipeline.StageTest},
		{"a branch of the trigger", some, &Event{Kind: "push", Onto: "release/1"}, pipeline.StageRelease},
		{"another branch", some, &Event{Kind: "push", Onto: "feature"}, "-"},
		{"a pull request that asks for a release", some, &Event{Kind: "pull_request", Onto: "main"}, pipeline.StageTest},
		{"an event without trigger", some[:1], &Event{Kind: "pull_request", Onto: "main"}, "-"},
	} {
		got, err := test.event.allowed(&pipeline.Pipeline{Triggers: test.triggers})
		until := got.Until
		if test.want == "-" {
			if !errors.Is(err, ErrNotTriggered) {
				t.Errorf("%s: %q, %v, want no run", test.name, until, err)
			}
		} else if err != nil || until != test.want {
			t.Errorf("%s: %q, %v, want %q", test.name, until, err, test.want)
		}
	}
}
