package api

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/explain"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Queue knows the order of what waits for workers.
type Queue interface {
	// Place answers what the tasks of a capability wait among.
	Place(capability string) dispatch.Place
}

func (s *runs) Explain(ctx context.Context, req *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	var out *pb.ExplainResponse
	var facts explain.Facts
	tokens := map[string]int{}
	err := s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) error {
		if _, ok := r.Find(req.GetTask()); !ok && req.GetTask() != "" {
			return fmt.Errorf("run %s has no task %q: %w", r.ID, req.GetTask(), partition.ErrNotFound)
		}
		facts = tx.Facts(r)
		for _, t := range r.Tasks {
			tokens[tx.Token(r, t)] = t.Index
		}
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		out, err = pb.NewRunServiceClient(c).Explain(ctx, &pb.ExplainRequest{Run: id, Task: req.GetTask()})
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	if facts.Lanes, err = s.lanes(ctx, facts.Run, tokens); err != nil {
		return nil, toStatus(err)
	}
	return s.explained(facts, req.GetTask()), nil
}

// lanes are what the tasks of a run wait in.
func (s *runs) lanes(ctx context.Context, r *run.Run, tokens map[string]int) (map[string]explain.Lane, error) {
	taken, aside := map[string]int{}, map[string]bool{}
	for _, w := range s.cfg.Sessions.Workers() {
		aside[w.Instance] = w.Aside()
	}
	leases, err := s.cfg.leases(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if !aside[l.Worker.Instance] { // whose slots do not count either
			taken[l.Can]++
		}
	}
	lanes := map[string]explain.Lane{}
	for _, t := range r.Tasks {
		c := t.Spec.Can
		if _, have := lanes[c]; have || c == plan.CapabilityCoordinator {
			continue
		}
		place := s.cfg.Queue.Place(c)
		l := explain.Lane{Slots: place.Slots, Taken: taken[c] + place.OthersRun, Others: place.OthersWait, Position: map[int]int{}, Full: map[string]explain.Quota{}, HeldBack: place.HeldBack}
		for team, q := range place.Full {
			l.Full[team] = explain.Quota(q)
		}
		for token, i := range tokens {
			if p, ok := place.Position[token]; ok {
				l.Position[i] = p
			}
		}
		lanes[c] = l
	}
	return lanes, nil
}

// explained answers for one task, or for all that wait.
func (s *runs) explained(f explain.Facts, task string) *pb.ExplainResponse {
	head := s.codec.Run(f.Run)
	out := &pb.ExplainResponse{Run: head.GetId(), State: head.GetState(), Message: head.GetMessage()}
	for _, w := range explain.Waits(f) {
		if task == "" && (w.Reason == explain.Ended || w.Reason == explain.None) || task != "" && w.Task != task {
			continue
		}
		out.Waits = append(out.Waits, &pb.Wait{
			Task: w.Task, Reason: reason(w.Reason), Message: w.Message, On: w.On, NotBefore: wire.Time(w.NotBefore),
			Position: int32(w.Position), Slots: int32(w.Slots), ReadyAt: wire.Time(w.ReadyAt), EstimateMillis: w.Estimate.Milliseconds(),
		})
	}
	return out
}

func reason(r explain.Reason) pb.WaitReason {
	switch r {
	case explain.None:
		return pb.WaitReason_WAIT_REASON_NONE
	case explain.Ended:
		return pb.WaitReason_WAIT_REASON_ENDED
	case explain.Dependency:
		return pb.WaitReason_WAIT_REASON_DEPENDENCY
	case explain.Environment:
		return pb.WaitReason_WAIT_REASON_ENVIRONMENT
	case explain.BackOff:
		return pb.WaitReason_WAIT_REASON_BACK_OFF
	case explain.NoWorker:
		return pb.WaitReason_WAIT_REASON_NO_WORKER
	case explain.Queue:
		return pb.WaitReason_WAIT_REASON_QUEUE
	case explain.Offered:
		return pb.WaitReason_WAIT_REASON_OFFERED
	case explain.Coordinator:
		return pb.WaitReason_WAIT_REASON_COORDINATOR
	case explain.Takeover:
		return pb.WaitReason_WAIT_REASON_TAKEOVER
	case explain.TeamQuota:
		return pb.WaitReason_WAIT_REASON_QUOTA
	case explain.Held:
		return pb.WaitReason_WAIT_REASON_HELD
	case explain.Approval:
		return pb.WaitReason_WAIT_REASON_APPROVAL
	case explain.Window:
		return pb.WaitReason_WAIT_REASON_WINDOW
	case explain.Soak:
		return pb.WaitReason_WAIT_REASON_SOAK
	case explain.Group:
		return pb.WaitReason_WAIT_REASON_GROUP
	case explain.Shared:
		return pb.WaitReason_WAIT_REASON_SHARED
	default:
		return pb.WaitReason_WAIT_REASON_UNSPECIFIED
	}
}
