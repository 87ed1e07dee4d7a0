package api

import (
	"context"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func (s *runs) Retry(ctx context.Context, req *pb.RetryRequest) (*pb.RetryResponse, error) {
	r, replayed, err := s.cfg.Submitter.Retry(ctx, req.GetRun(), req.GetIdempotencyKey(), caller(ctx))
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.RetryResponse{Run: s.codec.FullRun(r), Replayed: replayed}, nil
}
