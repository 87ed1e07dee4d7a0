package api

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/session"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// known are the rows of what one coordinator knows: one for each session, and one for each
// name or process that has a lease or a cordon and no session here.
func known(sessions []session.Seen, leases []partition.Held, cordons []cordon.Cordon) []*pb.Worker {
	rows := make([]*pb.Worker, 0, len(sessions))
	for _, s := range sessions {
		w := &pb.Worker{
			Name: s.Name, Instance: s.Instance, Version: s.Version, Since: timestamppb.New(s.Since), Held: int32(s.Held), Pressed: s.Pressed,
		}
		if s.Draining {
			w.State = pb.WorkerState_WORKER_STATE_DRAINING
		}
		for c, n := range s.Slots {
			w.Slots = append(w.Slots, &pb.WorkerSlots{Capability: c, Slots: n})
		}
		slices.SortFunc(w.GetSlots(), func(a, b *pb.WorkerSlots) int { return cmp.Compare(a.GetCapability(), b.GetCapability()) })
		rows = append(rows, w)
	}
	for _, l := range leases {
		rows = append(rows, &pb.Worker{Name: l.Worker.Name, Instance: l.Worker.Instance, Attempts: []*pb.WorkerAttempt{{
			Lease: &pb.LeaseRef{Token: l.Ref.Token, Attempt: int32(l.Ref.Attempt), Fence: wire.Fence(l.Ref.Fence)},
			Run:   l.Run, Task: l.Task, Capability: l.Can, LeasedAt: wire.Time(l.LeasedAt),
		}}})
	}
	for _, c := range cordons {
		rows = append(rows, &pb.Worker{Name: c.Name, Cordon: &pb.WorkerCordon{Reason: c.Reason, By: c.By, At: wire.Time(c.At)}})
	}
	return rows
}

// merged makes one row of each process, of rows of several coordinators. What is known of a
// name alone belongs to its processes, or has a row of its own if there is none.
func merged(rows []*pb.Worker) []*pb.Worker {
	cordons, sessions := map[string]*pb.WorkerCordon{}, map[string][]*pb.Worker{}
	processes := map[string]*pb.Worker{}
	var out []*pb.Worker
	for _, r := range rows {
		if c := r.GetCordon(); c != nil && !c.GetAt().AsTime().Before(cordons[r.GetName()].GetAt().AsTime()) {
			cordons[r.GetName()] = c
		}
		if r.GetSince() == nil {
			continue
		}
		have, ok := processes[r.GetInstance()]
		if !ok {
			processes[r.GetInstance()] = r
			sessions[r.GetName()] = append(sessions[r.GetName()], r)
			out = append(out, r)
			continue
		}
		join(have, r)
	}
	for _, r := range rows { // those without a session
		if r.GetSince() != nil {
			continue
		}
		if r.GetInstance() == "" && len(sessions[r.GetName()]) > 0 {
			addAttempts(first(sessions[r.GetName()]), r)
			continue
		}
		key := cmp.Or(r.GetInstance(), "name "+r.GetName())
		if have, ok := processes[key]; ok {
			addAttempts(have, r)
			continue
		}
		processes[key] = r
		out = append(out, r)
	}
	out = slices.DeleteFunc(out, func(w *pb.Worker) bool { // a cordon whose process has a row
		return w.GetSince() == nil && len(w.GetAttempts()) == 0 && slices.ContainsFunc(out, func(o *pb.Worker) bool { return o != w && o.GetName() == w.GetName() })
	})
	for _, w := range out {
		w.Cordon = cordons[w.GetName()]
		finish(w)
	}
	slices.SortFunc(out, func(a, b *pb.Worker) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetInstance(), b.GetInstance()))
	})
	return out
}

// first of several processes of a name: the same whoever is asked.
func first(list []*pb.Worker) *pb.Worker {
	return slices.MinFunc(list, func(a, b *pb.Worker) int { return cmp.Compare(a.GetInstance(), b.GetInstance()) })
}

// join adds what another coordinator knows of a process. The session that began first is the
// worker's own: the others are kept on its behalf, and each has only a part of its leases.
func join(to, from *pb.Worker) {
	to.Held = max(to.GetHeld(), from.GetHeld())
	if from.GetSince().AsTime().Before(to.GetSince().AsTime()) {
		to.Since, to.State, to.Pressed, to.Version, to.Slots = from.GetSince(), from.GetState(), from.GetPressed(), from.GetVersion(), from.GetSlots()
	}
	addAttempts(to, from)
}

func addAttempts(to, from *pb.Worker) {
	for _, a := range from.GetAttempts() {
		same := func(o *pb.WorkerAttempt) bool { return o.GetLease().GetToken() == a.GetLease().GetToken() }
		if !slices.ContainsFunc(to.GetAttempts(), same) {
			to.Attempts = append(to.Attempts, a)
		}
	}
}

// finish says what follows from the rest of a row.
func finish(w *pb.Worker) {
	slices.SortFunc(w.GetAttempts(), func(a, b *pb.WorkerAttempt) int {
		return cmp.Or(cmp.Compare(a.GetRun(), b.GetRun()), cmp.Compare(a.GetTask(), b.GetTask()))
	})
	for _, s := range w.GetSlots() {
		s.Taken = 0
		for _, a := range w.GetAttempts() {
			if a.GetCapability() == s.GetCapability() {
				s.Taken++
			}
		}
	}
	w.Reason = ""
	switch {
	case w.GetSince() == nil:
		w.State, w.Reason = pb.WorkerState_WORKER_STATE_AWAY, "it has no session"
	case w.GetState() == pb.WorkerState_WORKER_STATE_DRAINING:
		w.Reason = "it is about to stop"
	case w.GetCordon() != nil:
		w.State, w.Reason = pb.WorkerState_WORKER_STATE_CORDONED, w.GetCordon().GetReason()
	case w.GetPressed() != "":
		w.State, w.Reason = pb.WorkerState_WORKER_STATE_PRESSED, w.GetPressed()
	default:
		w.State = pb.WorkerState_WORKER_STATE_READY
	}
}
