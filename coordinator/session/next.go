package session

import (
	"slices"

	"github.com/slipway-build/slipway/coordinator/partition"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// inRow is how many tasks in a row a worker is given by this coordinator without the queue,
// where there are others: their tasks come through the queue alone.
const inRow = 4

// next gives the slot of an attempt that has ended the task that comes next, in the same
// command: so a task costs one frame each way, and nothing of the queue. If none waits,
// nextOf asks once more.
func (st *stream) next(tx *partition.Tx, part *partition.Partition, e *ending, late *answers) {
	const tries = 3
	for range tries {
		if e.next == "" || st.standing().aside() || !st.ours() {
			break
		}
		token, ok := st.cfg.Presence.Take(e.next, st.worker.Instance)
		if !ok {
			return
		}
		home, err := st.cfg.Partitions.Of(token)
		switch {
		case err != nil:
			continue
		case home != part:
			st.nextAt(home, token, e.next)
			e.next = ""
			return
		}
		if err := st.give(tx, part, token, e.next, late); err == nil {
			e.next = ""
			return
		}
	}
	st.pass(e)
}

// can: the worker has slots of a capability.
func (st *stream) can(capability string) bool {
	return slices.ContainsFunc(st.hello.GetCapacity(), func(c *pb.Capacity) bool { return c.GetCapability() == capability })
}

// ours: the worker may have a task of this coordinator's again.
func (st *stream) ours() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.row++; len(st.ups) == 0 || st.row <= inRow {
		return true
	}
	st.row = 0
	return false
}

// nextOf is next for slots for which nothing waited: what their own attempts made ready does
// now. Then they are free.
func (st *stream) nextOf(part *partition.Partition, list []*ending) {
	var slots []*ending
	for _, e := range list {
		if e.next != "" {
			slots = append(slots, &ending{next: e.next})
			e.next = ""
		}
	}
	if len(slots) == 0 {
		return
	}
	var late answers
	give := func(tx *partition.Tx) error {
		waiting := false
		for _, e := range slots {
			st.next(tx, part, e, &late)
			waiting = waiting || e.next != ""
		}
		if !waiting && len(late) == 0 {
			tx.Unhurried()
		}
		return nil
	}
	done := func(err error) {
		late.send(err)
		st.pass(slots...)
	}
	if err := part.Try(give, done); err != nil {
		st.pass(slots...)
	}
}

// nextAt gives a slot a task of another partition.
func (st *stream) nextAt(home *partition.Partition, token, next string) {
	var late answers
	var refused error
	give := func(tx *partition.Tx) error {
		refused = st.give(tx, home, token, next, &late)
		if refused == nil && len(late) == 0 {
			tx.Unhurried()
		}
		return nil
	}
	done := func(err error) {
		late.send(err)
		if refused != nil {
			st.passed(next, 1)
		}
	}
	if err := home.Try(give, done); err != nil {
		st.passed(next, 1)
	}
}

// pass says of slots that wait that they are free.
func (st *stream) pass(list ...*ending) {
	n := map[string]int32{}
	for _, e := range list {
		if e.next != "" {
			n[e.next]++
			e.next = ""
		}
	}
	for capability, k := range n {
		st.passed(capability, k)
	}
}

func (st *stream) passed(capability string, n int32) {
	st.later(func(m *pb.SessionResponse) {
		for _, c := range m.GetPassed() {
			if c.GetCapability() == capability {
				c.Slots += n
				return
			}
		}
		m.Passed = append(m.Passed, &pb.Capacity{Capability: capability, Slots: n})
	})
}
