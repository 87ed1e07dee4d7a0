package api

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/submit"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

type rollouts struct {
	pb.UnimplementedRolloutServiceServer
	cfg Config
}

// of has the owner of a project answer.
func (s *rollouts) of(ctx context.Context, project string, here func(*partition.Tx) error, there func(context.Context, pb.RolloutServiceClient) error) error {
	return s.cfg.ofProject(ctx, project, here, func(ctx context.Context, c *grpc.ClientConn) error { return there(ctx, pb.NewRolloutServiceClient(c)) })
}

func (s *rollouts) ListEnvironments(ctx context.Context, req *pb.ListEnvironmentsRequest) (out *pb.ListEnvironmentsResponse, err error) {
	var found []project.Environment
	err = s.of(ctx, req.GetProject(), func(tx *partition.Tx) error {
		found = tx.Environments(req.GetProject())
		return nil
	}, func(ctx context.Context, c pb.RolloutServiceClient) (err error) {
		out, err = c.ListEnvironments(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	return &pb.ListEnvironmentsResponse{Environments: wire.Environments(found)}, nil
}

func (s *rollouts) Hold(ctx context.Context, req *pb.HoldRequest) (*pb.HoldResponse, error) {
	return &pb.HoldResponse{}, s.of(ctx, req.GetProject(), func(tx *partition.Tx) error {
		return tx.Hold(req.GetProject(), req.GetEnvironment(), caller(ctx), req.GetReason(), req.GetPause())
	}, func(ctx context.Context, c pb.RolloutServiceClient) error {
		_, err := c.Hold(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
}

func (s *rollouts) Resume(ctx context.Context, req *pb.ResumeRequest) (*pb.ResumeResponse, error) {
	return &pb.ResumeResponse{}, s.of(ctx, req.GetProject(), func(tx *partition.Tx) error {
		return tx.Free(req.GetProject(), req.GetEnvironment(), caller(ctx), req.GetReason())
	}, func(ctx context.Context, c pb.RolloutServiceClient) error {
		_, err := c.Resume(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
}

func (s *rollouts) Abort(ctx context.Context, req *pb.AbortRequest) (out *pb.AbortResponse, err error) {
	err = s.of(ctx, req.GetProject(), func(tx *partition.Tx) error {
		message := "the rollout to " + req.GetEnvironment() + " was aborted by " + caller(ctx)
		if req.GetReason() != "" {
			message += ": " + req.GetReason()
		}
		r, err := tx.Abort(req.GetProject(), req.GetEnvironment(), message)
		if err == nil {
			out = &pb.AbortResponse{Run: r.ID}
		}
		return err
	}, func(ctx context.Context, c pb.RolloutServiceClient) (err error) {
		out, err = c.Abort(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	return out, err
}

func (s *rollouts) Approve(ctx context.Context, req *pb.ApproveRequest) (out *pb.ApproveResponse, err error) {
	who, _ := rpc.IdentityFrom(ctx)
	err = s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) error {
		r, err := tx.Answer(r.ID, req.GetEnvironment(), run.Answer{
			By: who.Name, Groups: who.Groups, Administer: who.Role == pb.Role_ROLE_ADMINISTER, Release: req.GetRelease(), Reason: req.GetReason(),
		}, req.GetReject())
		if err != nil {
			return err
		}
		t, _ := r.Find(plan.ApproveID(req.GetEnvironment()))
		out = &pb.ApproveResponse{Run: r.ID, Release: r.Release, Approvals: wire.Approvals(t.Approvals), Min: int32(t.Spec.Approve.Min), Done: t.State.Ended()}
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		next := proto.CloneOf(req)
		next.Run = id
		out, err = pb.NewRolloutServiceClient(c).Approve(ctx, next)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	return out, err
}

func (s *rollouts) Rollback(ctx context.Context, req *pb.RollbackRequest) (out *pb.RollbackResponse, err error) {
	b := back{submit.BackRequest{Project: req.GetProject(), Environment: req.GetEnvironment(), What: "back to", Run: req.GetRun(), Key: req.GetIdempotencyKey()}, submit.GoingBack}
	r, err := s.back(ctx, b, func(tx *partition.Tx) (*run.Run, error) {
		old, err := tx.Good(req.GetProject(), req.GetEnvironment(), req.GetRun())
		if err != nil {
			return nil, err
		}
		reason := "rolled back to the release of run " + old.ID
		if req.GetReason() != "" {
			reason += ": " + req.GetReason()
		}
		return old, tx.Hold(req.GetProject(), req.GetEnvironment(), caller(ctx), reason, false)
	}, func(ctx context.Context, c pb.RolloutServiceClient) (err error) {
		out, err = c.Rollback(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	return &pb.RollbackResponse{Run: r}, nil
}

func (s *rollouts) Adopt(ctx context.Context, req *pb.AdoptRequest) (out *pb.AdoptResponse, err error) {
	var compared *run.Run
	err = s.cfg.find(ctx, req.GetRun(), func(_ *partition.Tx, r *run.Run) error {
		compared = r.Snapshot()
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		next := proto.CloneOf(req)
		next.Run = id
		out, err = pb.NewRolloutServiceClient(c).Adopt(ctx, next)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	p, err := s.cfg.Proposals.Adopt(ctx, compared, caller(ctx), req.GetPatch())
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.AdoptResponse{Patch: p.Patch, Branch: p.Branch, Url: p.URL, Problem: p.Problem, Done: p.Done, Left: p.Left}, nil
}

func (s *rollouts) Notice(ctx context.Context, req *pb.NoticeRequest) (*pb.NoticeResponse, error) {
	return &pb.NoticeResponse{}, s.of(ctx, req.GetProject(), func(*partition.Tx) error {
		s.cfg.Noticed(req.GetProject(), req.GetEnvironment())
		return nil
	}, func(ctx context.Context, c pb.RolloutServiceClient) error {
		_, err := c.Notice(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
}

func (s *rollouts) Compare(ctx context.Context, req *pb.CompareRequest) (out *pb.CompareResponse, err error) {
	b := back{submit.BackRequest{Project: req.GetProject(), Environment: req.GetEnvironment(), What: "compare", Key: req.GetIdempotencyKey()}, submit.Comparing}
	r, err := s.back(ctx, b, func(tx *partition.Tx) (*run.Run, error) { return tx.Serving(req.GetProject(), req.GetEnvironment()) }, func(ctx context.Context, c pb.RolloutServiceClient) (err error) {
		out, err = c.Compare(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	return &pb.CompareResponse{Run: r}, nil
}

func (s *rollouts) Restore(ctx context.Context, req *pb.RestoreRequest) (out *pb.RestoreResponse, err error) {
	b := back{submit.BackRequest{Project: req.GetProject(), Environment: req.GetEnvironment(), What: "restore", Key: req.GetIdempotencyKey()}, submit.Restoring}
	r, err := s.back(ctx, b, func(tx *partition.Tx) (*run.Run, error) { return tx.Serving(req.GetProject(), req.GetEnvironment()) }, func(ctx context.Context, c pb.RolloutServiceClient) (err error) {
		out, err = c.Restore(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	return &pb.RestoreResponse{Run: r}, nil
}

// back is a run that is made of an earlier one.
type back struct {
	submit.BackRequest
	what submit.Of
}

// back begins one where the project is, with what the owner finds; nil: it was begun by another coordinator, which there answered.
func (s *rollouts) back(ctx context.Context, b back, find func(*partition.Tx) (*run.Run, error), there func(context.Context, pb.RolloutServiceClient) error) (*pb.Run, error) {
	here := false
	err := s.of(ctx, b.Project, func(*partition.Tx) error { here = true; return nil }, there)
	if err != nil || !here {
		return nil, err
	}
	b.By = caller(ctx)
	id, err := s.cfg.Submitter.Back(ctx, b.BackRequest, b.what, func() (old *run.Run, err error) {
		err = s.of(ctx, b.Project, func(tx *partition.Tx) (err error) { old, err = find(tx); return err }, func(context.Context, pb.RolloutServiceClient) error {
			return status.Error(codes.Unavailable, "the project has another owner since a moment ago: ask again")
		})
		return old, err
	})
	if err != nil {
		return nil, toStatus(err)
	}
	r, err := (&runs{cfg: s.cfg, codec: wire.NewCodec()}).Get(ctx, &pb.GetRequest{Run: id})
	return r.GetRun(), err
}
