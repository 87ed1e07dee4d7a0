package api

import (
	"context"
	"slices"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

type tests struct {
	pb.UnimplementedTestServiceServer
	cfg Config
}

// of has the owner of a project answer.
func (s *tests) of(ctx context.Context, project string, here func(*partition.Tx) error, there func(context.Context, pb.TestServiceClient) error) error {
	return s.cfg.ofProject(ctx, project, here, func(ctx context.Context, c *grpc.ClientConn) error { return there(ctx, pb.NewTestServiceClient(c)) })
}

// ofProject has the owner of a project answer, here or at another coordinator.
func (c *Config) ofProject(ctx context.Context, project string, here func(*partition.Tx) error, there func(context.Context, *grpc.ClientConn) error) error {
	p, err := c.Partitions.Has(ctx, project)
	if err != nil {
		return toStatus(err)
	}
	return c.ask(ctx, p.Number(), func() error { return p.Do(ctx, here) }, there)
}

func (s *tests) ListTests(ctx context.Context, req *pb.ListTestsRequest) (out *pb.ListTestsResponse, err error) {
	var found []project.Test
	err = s.of(ctx, req.GetProject(), func(tx *partition.Tx) error {
		found = tx.Tests(req.GetProject())
		return nil
	}, func(ctx context.Context, c pb.TestServiceClient) (err error) {
		out, err = c.ListTests(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	out = &pb.ListTestsResponse{}
	for _, t := range found {
		if req.GetFlaky() {
			t.Cases = slices.DeleteFunc(t.Cases, func(c project.Case) bool { return c.Flakes == 0 && c.Held == nil })
			if len(t.Cases) == 0 {
				continue
			}
		}
		out.Tests = append(out.Tests, wire.Test(t))
	}
	return out, nil
}

func (s *tests) Quarantine(ctx context.Context, req *pb.QuarantineRequest) (out *pb.QuarantineResponse, err error) {
	err = s.of(ctx, req.GetProject(), func(tx *partition.Tx) error {
		t, err := tx.Quarantine(req.GetProject(), req.GetTest(), wire.FromTestName(req.GetCase()), caller(ctx), req.GetReason(), int(req.GetDays()))
		out = &pb.QuarantineResponse{Test: wire.Test(t)}
		return err
	}, func(ctx context.Context, c pb.TestServiceClient) (err error) {
		out, err = c.Quarantine(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	return out, err
}

func (s *tests) Release(ctx context.Context, req *pb.ReleaseRequest) (out *pb.ReleaseResponse, err error) {
	err = s.of(ctx, req.GetProject(), func(tx *partition.Tx) error {
		t, err := tx.Release(req.GetProject(), req.GetTest(), wire.FromTestName(req.GetCase()), caller(ctx), req.GetReason())
		out = &pb.ReleaseResponse{Test: wire.Test(t)}
		return err
	}, func(ctx context.Context, c pb.TestServiceClient) (err error) {
		out, err = c.Release(ctx, req)
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	return out, err
}
