package session

import (
	"errors"

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
	end := func(tx *partition.Tx) error { return tx.Complete(fromRef(c.GetLease()), rep) }
	reply := func(err error) {
		if err != nil && !errors.Is(err, partition.ErrAborted) && !errors.Is(err, partition.ErrNotFound) {
			return // not durable: the worker says it again in its next session
		}
		st.drop(c.GetLease())
		st.later(func(m *pb.SessionResponse) {
			m.CompletionAcks = append(m.CompletionAcks, &pb.CompletionAck{Lease: c.GetLease(), Aborted: err != nil})
		})
	}
	st.cfg.Logs.Flushed(key(c.GetLease()), c.GetLogSize(), func() {
		if err := part.Go(st.ctx, end, reply); err != nil {
			st.cfg.Log.WarnContext(st.ctx, "completion not taken", "worker", st.worker.Name, "err", err)
		}
	})
	return nil
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

// lease asks the partition, and answers as early as the partition allows.
func (st *stream) lease(token string) error {
	refuse := func(err error) {
		st.later(func(m *pb.SessionResponse) {
			m.Refusals = append(m.Refusals, &pb.Refusal{Token: token, Reason: err.Error()})
		})
	}
	part, err := st.cfg.Partitions.Of(token)
	if err != nil {
		refuse(err)
		return nil
	}
	if st.relay != nil {
		st.relay.answered(token)
	}
	var late func()
	grant := func(tx *partition.Tx) error {
		w, early, err := tx.Lease(token, st.worker, st)
		if err != nil {
			return err
		}
		st.note(token, held{w.Run, w.Task.ID, w.Ref.Fence})
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
			refuse(err)
		case late != nil:
			late()
		}
	})
	if err != nil {
		refuse(err)
	}
	return nil
}
