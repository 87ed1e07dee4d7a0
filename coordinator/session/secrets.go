package session

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/secret"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// secretsWithin is how long the values of a task's secrets may take. The worker waits for its answer meanwhile.
const secretsWithin = 8 * time.Second

// grant answers a lease, with the values of its secrets. They are read beside the
// partition, which waits for nobody; the lease is held meanwhile.
func (st *stream) grant(part *partition.Partition, w partition.Work, g *pb.Grant) {
	if !needsSecrets(w.Task) {
		st.later(func(m *pb.SessionResponse) { m.Grants = append(m.Grants, g) })
		return
	}
	st.beside(func() {
		ctx, cancel := context.WithTimeout(st.ctx, secretsWithin)
		defer cancel()
		values, err := st.cfg.Secrets.Resolve(ctx, w.Task, w.Project, w.Trusted)
		if err != nil {
			st.withhold(part, w, g.GetCapability(), err)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			g.Secrets = append(g.Secrets, &pb.SecretValue{Name: name, Value: values[name]})
		}
		st.later(func(m *pb.SessionResponse) { m.Grants = append(m.Grants, g) })
	})
}

func needsSecrets(t *plan.Task) bool { return len(secret.Uses(t)) > 0 }

// withhold ends an attempt that cannot have its secrets. That one cannot be read is the
// farm's fault, and tried again within its budget; that the task may not have it is not.
func (st *stream) withhold(part *partition.Partition, w partition.Work, next string, why error) {
	if st.ctx.Err() != nil {
		return // the worker is gone: its lease runs out
	}
	rep := run.Report{Attempt: run.Attempt{Outcome: run.OutcomeErrored, Class: run.ClassInfra, Message: clip(why.Error())}}
	if errors.Is(why, secret.ErrRefused) {
		rep.Attempt.Outcome, rep.Attempt.Class = run.OutcomeFailed, run.ClassUser
	}
	st.cfg.Log.WarnContext(st.ctx, "secrets withheld", "run", w.Run, "task", w.Task.ID, "attempt", w.Ref.Attempt, "err", why)
	ref := toRef(w.Ref)
	err := part.Go(st.ctx, func(tx *partition.Tx) error { return tx.Complete(w.Ref, rep) }, func(error) {
		st.drop(ref)
		if next != "" {
			st.passed(next, 1)
			return
		}
		st.later(func(m *pb.SessionResponse) {
			m.Refusals = append(m.Refusals, &pb.Refusal{Token: ref.GetToken(), Reason: "its secrets cannot be given"})
		})
	})
	if err != nil {
		st.cfg.Log.WarnContext(st.ctx, "attempt without secrets not ended", "task", w.Task.ID, "err", err)
		if next != "" {
			st.passed(next, 1)
		}
	}
}

// forget overwrites the values in what was sent.
func forget(m *pb.SessionResponse) {
	for _, g := range m.GetGrants() {
		for _, s := range g.GetSecrets() {
			clear(s.GetValue())
			s.Value = nil
		}
	}
}
