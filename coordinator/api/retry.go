package api

import (
	"context"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/submit"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func (s *runs) Retry(ctx context.Context, req *pb.RetryRequest) (*pb.RetryResponse, error) {
	var old *run.Run
	var refuse error
	var out *pb.RetryResponse
	err := s.cfg.find(ctx, req.GetRun(), func(_ *partition.Tx, r *run.Run) error {
		old, refuse = r, submit.Retryable(r) // one that has ended does not change
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		out, err = pb.NewRunServiceClient(c).Retry(ctx, &pb.RetryRequest{Run: id, IdempotencyKey: req.GetIdempotencyKey()})
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	id, replayed, err := s.cfg.Submitter.Retry(ctx, old, refuse, req.GetIdempotencyKey(), caller(ctx))
	if err != nil {
		return nil, toStatus(err)
	}
	r, err := s.Get(ctx, &pb.GetRequest{Run: id})
	if err != nil {
		return nil, err
	}
	return &pb.RetryResponse{Run: r.GetRun(), Replayed: replayed}, nil
}

func (s *runs) Forget(ctx context.Context, req *pb.ForgetRequest) (*pb.ForgetResponse, error) {
	var out *pb.ForgetResponse
	err := s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) error {
		tasks, err := tx.Forget(r, req.GetTask(), caller(ctx), req.GetReason())
		out = &pb.ForgetResponse{Tasks: tasks}
		return err
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		out, err = pb.NewRunServiceClient(c).Forget(ctx, &pb.ForgetRequest{Run: id, Task: req.GetTask(), Reason: req.GetReason()})
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	return out, err
}
