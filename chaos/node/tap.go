package node

import (
	"context"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/chaos/witness"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// tap is a worker's way to the coordinator, on which the witness is told how the ends of
// attempts are answered.
type tap struct {
	pb.WorkerServiceClient

	see *witness.Client
}

// Session implements pb.WorkerServiceClient.
func (t tap) Session(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionResponse], error) {
	s, err := t.WorkerServiceClient.Session(ctx, opts...)
	if err != nil {
		return nil, err //nolint:wrapcheck // the session's own
	}
	return tapped{s, t.see}, nil
}

type tapped struct {
	grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionResponse]

	see *witness.Client
}

// Recv implements grpc.BidiStreamingClient.
func (t tapped) Recv() (*pb.SessionResponse, error) {
	m, err := t.BidiStreamingClient.Recv()
	for _, a := range m.GetCompletionAcks() {
		f := a.GetLease().GetFence()
		t.see.Answered(a.GetLease().GetToken(), witness.Fence{Epoch: f.GetEpoch(), Counter: f.GetCounter()}, a.GetAborted())
	}
	return m, err //nolint:wrapcheck // the session's own
}
