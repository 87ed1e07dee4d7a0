package submit

import (
	"errors"
	"testing"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

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
