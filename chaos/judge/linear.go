package judge

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/slipway-build/slipway/chaos/load"
	"github.com/slipway-build/slipway/chaos/witness"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// limit of the search for an order; a history that takes longer is reported as such.
const limit = 2 * time.Minute

// Linear checks that calls could have happened one after the other, each between its call
// and its return: what clients were told of each run, and what holders of leases were told
// by the sink.
func Linear(told []load.Told, entries []witness.Entry) (checked int, wrong []string) {
	byRun := map[string][]porcupine.Operation{}
	for _, t := range told {
		byRun[t.Key] = append(byRun[t.Key], porcupine.Operation{ClientId: t.Client, Input: t, Call: t.Call, Output: t, Return: t.Return})
	}
	byObject := map[string][]porcupine.Operation{}
	for _, e := range entries {
		if e.Kind == witness.Begin || e.Kind == witness.Effect {
			o := e.Attempt.Object()
			byObject[o] = append(byObject[o], porcupine.Operation{ClientId: e.Process, Input: e, Call: e.Call, Output: e, Return: e.Return})
		}
	}
	for what, histories := range map[string]map[string][]porcupine.Operation{"run": byRun, "lease": byObject} {
		model := runs()
		if what == "lease" {
			model = leases()
		}
		for key, h := range histories {
			checked++
			if got := porcupine.CheckOperationsTimeout(model, h, limit); got != porcupine.Ok {
				wrong = append(wrong, fmt.Sprintf("the history of the %s %s, %d calls, is not linearizable (%s)", what, key, len(h), got))
			}
		}
	}
	return checked, wrong
}

// seen is a run as far as anybody was told.
type seen struct {
	run   string
	ended int
	state pb.RunState
}

// runs is a run as its clients see it: one id for a key, tasks that have ended stay ended,
// and so does the run. When a task ends is not a call, so a read may see any later state.
func runs() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return seen{} },
		Step: func(state, _, output any) (bool, any) {
			s, t := state.(seen), output.(load.Told) //nolint:forcetypeassert // the model's own
			switch {
			case t.Kind == load.Submit:
				ok := s.run == "" || s.run == t.Run
				s.run = t.Run
				return ok, s
			case s.run != t.Run || t.Ended < s.ended:
				return false, s
			case ended(s.state) && t.State != s.state:
				return false, s
			}
			s.ended, s.state = t.Ended, t.State
			return true, s
		},
	}
}

// leases is the sink of one task: it does what the newest fence asks, and nothing else.
func leases() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return witness.Fence{} },
		Step: func(state, _, output any) (bool, any) {
			last, e := state.(witness.Fence), output.(witness.Entry) //nolint:forcetypeassert // the model's own
			fence := e.Attempt.Fence
			if e.Kind == witness.Effect {
				return e.Done == (last == fence), last
			}
			if last.Less(fence) {
				return e.Done, fence
			}
			return !e.Done, last
		},
	}
}
