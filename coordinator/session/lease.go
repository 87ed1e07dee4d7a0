package session

import (
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// complete ends an attempt once its log is durable.
func (st *stream) complete(c *pb.Completion) error {
	part, err := st.cfg.Partitions.Of(c.GetLease().GetToken())
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "completion: %v", err) //nolint:wrapcheck // the edge
	}
	outcome, class := st.codec.Outcome(c.GetOutcome(), c.GetFailureClass())
	rep := run.Report{
		Attempt: run.Attempt{
			Outcome: outcome, Class: class, Message: clip(c.GetMessage()), StartedAt: wire.FromTime(c.GetStartedAt()), FinishedAt: wire.FromTime(c.GetFinishedAt()),
			Steps: wire.FromSteps(c.GetSteps()[:min(len(c.GetSteps()), maxSteps)]), LogSize: c.GetLogSize(),
			Untouched: c.GetUntouched(),
		},
		Result: wire.FromResult(c.GetResult()),
	}
	if st.missed(c.GetLease()) {
		return nil // its log was not taken either: both come again
	}
	st.mu.Lock()
	st.ending[c.GetLease().GetToken()] = c
	st.mu.Unlock()
	st.cfg.Logs.Flushed(key(c.GetLease()), c.GetLogSize(), func() { st.conclude(part, c, rep) })
	return nil
}

// conclude has the owner end the attempt, and asks again until one has answered or the
// stream ends; then the worker says it again in its next session.
func (st *stream) conclude(part *partition.Partition, c *pb.Completion, rep run.Report) {
	again := func() {
		st.beside(func() {
			select {
			case <-time.After(retry):
			case <-st.ctx.Done():
				return
			}
			if st.open(c) {
				st.conclude(part, c, rep)
			}
		})
	}
	up, err := st.elsewhere(part.Number())
	switch {
	case err != nil:
		again()
		return
	case up != nil:
		up.later(func(m *pb.SessionRequest) { m.Completions = append(m.Completions, c) })
		again() // unless it has answered by then
		return
	}
	end := func(tx *partition.Tx) error { return tx.End(fromRef(c.GetLease()), st.worker, st, rep) }
	err = part.Go(st.ctx, end, func(err error) {
		if err != nil && !errors.Is(err, partition.ErrAborted) && !errors.Is(err, partition.ErrNotFound) {
			again() // not durable
			return
		}
		st.completed(c.GetLease())
		st.later(func(m *pb.SessionResponse) {
			m.CompletionAcks = append(m.CompletionAcks, &pb.CompletionAck{Lease: c.GetLease(), Aborted: err != nil})
		})
	})
	if err != nil {
		again()
	}
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

// lease asks the partition, and answers as early as the partition allows.
func (st *stream) lease(token string) error {
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
	case up != nil:
		if !up.later(func(m *pb.SessionRequest) {
			up.asked[token] = true
			m.LeaseRequests = append(m.LeaseRequests, &pb.LeaseRequest{Token: token})
		}) {
			st.refuse(token, "the owner of the task is being replaced")
		}
		return nil
	}
	var late func()
	grant := func(tx *partition.Tx) error {
		w, early, err := tx.Lease(token, st.worker, st)
		if err != nil {
			return err
		}
		st.note(toRef(w.Ref), held{run: w.Run, task: w.Task.ID})
		g := toGrant(w, st.cfg.Traceparent(w.TraceID, w.Task.ID, w.Ref.Attempt))
		answer := func() { st.grant(part, w, g) }
		if early {
			answer()
		} else {
			late = answer
		}
		return nil
	}
	err = part.Go(st.ctx, grant, func(err error) {
		switch {
		case err != nil:
			st.refuse(token, err.Error())
		case late != nil:
			late()
		}
	})
	if err != nil {
		st.refuse(token, err.Error())
	}
	return nil
}
