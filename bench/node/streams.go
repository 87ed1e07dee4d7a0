package node

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Streams is the least that can hold workers: a gRPC server as the library makes it, whose
// method is the workers' but reads and does nothing. Of it come neither credentials nor
// validation, heartbeats or anything that is kept of a worker.
type Streams struct{}

// Run serves until the input ends.
func (s Streams) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	h := &holder{}
	server := grpc.NewServer()
	pb.RegisterWorkerServiceServer(server, h)
	return serveGRPC(ctx, server, in, out, Ops{
		"settle": Handle(settle),
		"there": Handle(func(ctx context.Context, n int) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			return nil, until(ctx, func() bool { return h.streams.Load() == int64(n) })
		}),
	})
}

// holder holds streams.
type holder struct {
	pb.UnimplementedWorkerServiceServer

	streams atomic.Int64
}

func (h *holder) Session(g grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	if _, err := g.Recv(); err != nil { // the hello
		return err
	}
	if err := g.Send(&pb.SessionResponse{}); err != nil {
		return err
	}
	h.streams.Add(1)
	defer h.streams.Add(-1)
	for {
		if _, err := g.Recv(); err != nil {
			return err
		}
	}
}

// Clients hold streams open, each on a connection of its own as workers have.
type Clients struct {
	Server string `json:"server"`
	N      int    `json:"n"`
}

// Run holds them until the input ends.
func (c Clients) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for range c.N {
		g.Go(func() error { return c.hold(ctx) })
	}
	g.Go(func() error {
		defer cancel()
		return Serve(ctx, in, out, struct{}{}, Ops{})
	})
	return g.Wait()
}

func (c Clients) hold(ctx context.Context) error {
	conn, err := grpc.NewClient(c.Server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	s, err := pb.NewWorkerServiceClient(conn).Session(ctx, grpc.WaitForReady(true))
	if err == nil {
		err = s.Send(&pb.SessionRequest{})
	}
	for err == nil {
		_, err = s.Recv()
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("hold a stream: %w", err)
}
