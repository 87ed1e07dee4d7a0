package api

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Explain is in the protocol ahead of what it reads: the queue and the locks do not say yet
// what a task waits for.
func (s *runs) Explain(context.Context, *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	return nil, status.Error(codes.Unimplemented, "explain is not supported yet") //nolint:wrapcheck // the edge
}
