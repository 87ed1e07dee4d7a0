package session

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/failpoint"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// ending is the end of an attempt that a worker reports.
type ending struct {
	part *partition.Partition
	c    *pb.Completion
	rep  run.Report
	err  error  // of the owner
	next string // capability of the slot that waits for another task; empty: none does any more
}

// complete ends attempts, each once its log is durable: those whose logs are, together.
func (st *stream) complete(list []*pb.Completion) error {
	now := make([]*ending, 0, len(list))
	for _, c := range list {
		part, err := st.cfg.Partitions.Of(c.GetLease().GetToken())
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "completion: %v", err) //nolint:wrapcheck // the edge
		}
		failpoint.Hit(failpoint.CompleteReceived)
		e := &ending{part: part, c: c, rep: st.report(c), next: c.GetNext()}
		c.Next = "" // it is for this coordinator to answer, and once
		if !st.can(e.next) {
			e.next = ""
		} else if st.standing().aside() {
			st.pass(e)
		}
		if st.missed(c.GetLease()) {
			st.pass(e)
			continue // its log was not taken either: both come again
		}
		st.mu.Lock()
		st.ending[c.GetLease().GetToken()] = c
		st.mu.Unlock()
		next := e.next
		e.next = ""
		if st.cfg.Logs.Flushed(key(c.GetLease()), st.hello.GetSession(), c.GetLogSize(), func() { st.conclude(part, []*ending{e}) }) {
			e.next = next
			now = append(now, e)
		} else if next != "" { // its slot need not wait for the log
			st.nextOf(part, []*ending{{next: next}})
		}
	}
	for len(now) > 0 {
		var same, others []*ending
		for _, e := range now {
			if e.part == now[0].part {
				same = append(same, e)
			} else {
				others = append(others, e)
			}
		}
		st.conclude(now[0].part, same)
		now = others
	}
	return nil
}

func (st *stream) report(c *pb.Completion) run.Report {
	outcome, class := st.codec.Outcome(c.GetOutcome(), c.GetFailureClass())
	return run.Report{
		Attempt: run.Attempt{
			Outcome: outcome, Class: class, Message: clip(c.GetMessage()), StartedAt: wire.FromTime(c.GetStartedAt()), FinishedAt: wire.FromTime(c.GetFinishedAt()),
			Steps: wire.FromSteps(c.GetSteps()[:min(len(c.GetSteps()), maxSteps)]), LogSize: c.GetLogSize(),
			Untouched: c.GetUntouched(), Unreachable: c.GetUnreachable(),
		},
		Result: wire.FromResult(c.GetResult()),
	}
}

// conclude has the owner of a partition end attempts, and asks again until it has answered
// for each or the stream ends; then the worker says it again in its next session.
func (st *stream) conclude(part *partition.Partition, list []*ending) {
	up, err := st.elsewhere(part.Number())
	switch {
	case err != nil:
		st.pass(list...)
		st.again(part, list)
		return
	case up != nil:
		st.pass(list...)
		up.later(func(m *pb.SessionRequest) {
			for _, e := range list {
				m.Completions = append(m.Completions, e.c)
			}
		})
		st.again(part, list) // unless it has answered by then
		return
	}
	var late answers
	end := func(tx *partition.Tx) error {
		for _, e := range list {
			e.err = tx.End(fromRef(e.c.GetLease()), st.worker, st, e.rep)
		}
		for _, e := range list {
			st.next(tx, part, e, &late)
		}
		return nil
	}
	if err := part.Go(st.ctx, end, func(err error) {
		late.send(err)
		st.settled(part, list, err)
	}); err != nil {
		st.pass(list...)
		st.again(part, list)
	}
}

// settled answers for attempts that their owner has decided about; err: it is not durable.
func (st *stream) settled(part *partition.Partition, list []*ending, err error) {
	var open []*ending
	acks := make([]*pb.CompletionAck, 0, len(list))
	for _, e := range list {
		refused := e.err != nil
		if err != nil || refused && !errors.Is(e.err, partition.ErrAborted) && !errors.Is(e.err, partition.ErrNotFound) {
			open = append(open, e)
			continue
		}
		st.completed(e.c.GetLease())
		acks = append(acks, &pb.CompletionAck{Lease: e.c.GetLease(), Aborted: refused})
	}
	if len(acks) > 0 {
		failpoint.Hit(failpoint.CompleteDurable)
		st.later(func(m *pb.SessionResponse) { m.CompletionAcks = append(m.CompletionAcks, acks...) })
	}
	if len(open) > 0 {
		st.again(part, open)
	}
	st.nextOf(part, list)
}

// again concludes what nobody has answered by then. What another coordinator hands on, that
// one says again, to whoever is the owner then.
func (st *stream) again(part *partition.Partition, list []*ending) {
	if st.forwarded {
		return
	}
	st.beside(func() {
		select {
		case <-time.After(retry):
		case <-st.ctx.Done():
			return
		}
		open := slices.DeleteFunc(slices.Clone(list), func(e *ending) bool { return !st.open(e.c) })
		if len(open) > 0 {
			st.conclude(part, open)
		}
	})
}

// retry is how long a completion waits for its owner's answer before it is sent again.
const retry = 500 * time.Millisecond

// open reports that nobody has answered the completion yet.
func (st *stream) open(c *pb.Completion) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ending[c.GetLease().GetToken()] == c
}

// completed: the owner has answered.
func (st *stream) completed(ref *pb.LeaseRef) {
	st.drop(ref)
	st.mu.Lock()
	defer st.mu.Unlock()
	if c, ok := st.ending[ref.GetToken()]; ok && same(c.GetLease(), ref) {
		delete(st.ending, ref.GetToken())
	}
}

const (
	maxSteps   = 500
	maxMessage = 16 << 10
)

func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return s[:maxMessage/2] + "\n[…]\n" + s[len(s)-maxMessage/2:]
}

func (st *stream) refuse(token, reason string) {
	st.later(func(m *pb.SessionResponse) {
		m.Refusals = append(m.Refusals, &pb.Refusal{Token: token, Reason: reason})
	})
}

// refused says of a lease why the worker does not get it.
func (st *stream) refused(token string, err error) {
	st.later(func(m *pb.SessionResponse) {
		m.Refusals = append(m.Refusals, &pb.Refusal{Token: token, Reason: err.Error(), Others: errors.Is(err, errCordoned)})
	})
}

// lease asks for the leases of a frame, and answers as early as each partition allows.
func (st *stream) lease(list []*pb.LeaseRequest) {
	if err := st.cordoned(); err != nil && len(list) > 0 {
		for _, r := range list {
			st.refused(r.GetToken(), err)
		}
		return
	}
	var parts []*partition.Partition // in the order of the frame
	tokens := map[*partition.Partition][]string{}
	for _, r := range list {
		if part := st.owner(r.GetToken()); part != nil {
			if tokens[part] == nil {
				parts = append(parts, part)
			}
			tokens[part] = append(tokens[part], r.GetToken())
		}
	}
	for _, part := range parts {
		st.ask(part, tokens[part])
	}
}

// owner answers the partition of a token, if this coordinator owns it. If another one
// does, the request is handed on; if nobody does, it is refused.
func (st *stream) owner(token string) *partition.Partition {
	part, err := st.cfg.Partitions.Of(token)
	if err != nil {
		st.refuse(token, err.Error())
		return nil
	}
	if st.relay != nil {
		st.relay.answered(token)
	}
	up, err := st.elsewhere(part.Number())
	switch {
	case err != nil:
		st.refuse(token, err.Error())
		return nil
	case up == nil:
		return part
	}
	if !up.later(func(m *pb.SessionRequest) {
		up.asked[token] = true
		m.LeaseRequests = append(m.LeaseRequests, &pb.LeaseRequest{Token: token})
	}) {
		st.refuse(token, "the owner of the task is being replaced")
	}
	return nil
}

// ask asks one partition for leases.
func (st *stream) ask(part *partition.Partition, tokens []string) {
	var late answers
	grant := func(tx *partition.Tx) error {
		for _, token := range tokens {
			if err := st.give(tx, part, token, "", &late); err != nil {
				late.add(func(error) { st.refused(token, err) })
			}
		}
		if len(late) == 0 {
			tx.Unhurried()
		}
		return nil
	}
	err := part.Go(st.ctx, grant, late.send)
	if err != nil {
		for _, token := range tokens {
			st.refuse(token, err.Error())
		}
	}
}

// answers are given once what they rest on is durable, or is not: with the error.
type answers []func(error)

func (a *answers) add(f func(error)) { *a = append(*a, f) }

func (a *answers) send(err error) {
	for _, answer := range *a {
		answer(err)
	}
}

// give leases a task to the worker, and answers as early as the partition allows. next is the
// capability of the slot that waits for it; empty: the worker has asked for this task.
func (st *stream) give(tx *partition.Tx, part *partition.Partition, token, next string, late *answers) error {
	if err := st.cordoned(); err != nil {
		return err
	}
	w, early, err := tx.Lease(token, st.worker, st)
	if err != nil {
		return err //nolint:wrapcheck // what the worker is told
	}
	st.note(toRef(w.Ref), held{run: w.Run, task: w.Task.ID, can: w.Task.Can})
	g := toGrant(w, st.cfg.Traceparent(w.TraceID, w.Task.ID, w.Ref.Attempt))
	g.Capability = next
	if test := g.GetTest(); len(test.GetArtifacts())+len(test.GetUse()) > 0 || test.GetCoverage() != "" {
		test.ArtifactLimits = &pb.ArtifactLimits{Each: st.cfg.Artifacts.Each, All: st.cfg.Artifacts.All}
	}
	if early {
		st.grant(part, w, g)
		failpoint.Hit(failpoint.LeaseAnswered)
		return nil
	}
	late.add(func(err error) {
		if err != nil {
			st.drop(g.GetLease())
		}
		switch {
		case err == nil:
			st.grant(part, w, g)
		case next == "":
			st.refuse(token, err.Error())
		default:
			st.passed(next, 1)
		}
	})
	return nil
}
