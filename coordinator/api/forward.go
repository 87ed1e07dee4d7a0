package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/peer"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// ask has the owner of a partition answer: this coordinator, or another. The answer is a
// gRPC status.
func (c *Config) ask(ctx context.Context, number int, here func() error, there func(context.Context, *grpc.ClientConn) error) error {
	if c.Peers == nil {
		return toStatusOrNil(here())
	}
	return toStatusOrNil(c.Peers.Ask(ctx, number, func(ctx context.Context, w peer.Place) error {
		if w.Here {
			return here()
		}
		return there(ctx, w.Conn)
	}))
}

func toStatusOrNil(err error) error {
	if err == nil {
		return nil
	}
	return toStatus(err)
}

// find has the owner of a run answer, with the run's copy here or its id there.
func (c *Config) find(ctx context.Context, name string, here func(*partition.Tx, *run.Run) error, there func(ctx context.Context, c *grpc.ClientConn, id string) error) error {
	if c.Peers == nil {
		return toStatusOrNil(c.Partitions.Find(ctx, name, here))
	}
	if name == partition.Latest {
		newest, err := c.latest(ctx)
		if err != nil {
			return err
		}
		name = newest
	}
	homes, err := c.Partitions.Candidates(ctx, name)
	if err != nil {
		return toStatus(err)
	}
	err = fmt.Errorf("run %q: %w", name, partition.ErrNotFound)
	for _, p := range homes {
		err = c.ask(ctx, p.Number(), func() error { return c.Partitions.FindIn(ctx, p, name, here) }, func(ctx context.Context, c *grpc.ClientConn) error {
			return there(ctx, c, name)
		})
		if status.Code(err) != codes.NotFound {
			return err
		}
	}
	return toStatus(err)
}

// latest is the id of the newest run of all.
func (c *Config) latest(ctx context.Context) (string, error) {
	runs, err := (&runs{cfg: *c, codec: wire.NewCodec()}).strict(ctx, &pb.ListRequest{}, 1)
	switch {
	case err != nil:
		return "", err
	case len(runs.GetRuns()) == 0:
		return "", toStatus(fmt.Errorf("run %q: %w", partition.Latest, partition.ErrNotFound))
	}
	return runs.GetRuns()[0].GetId(), nil
}

// gather adds the runs that other coordinators own. One that cannot be asked makes the
// list stale, and so does a partition that is nobody's at the moment.
func (c *Config) gather(ctx context.Context, req *pb.ListRequest, limit int, out *pb.ListResponse) (*pb.ListResponse, error) {
	if c.Peers == nil || rpc.Forwarded(ctx) {
		return out, nil
	}
	others, err := c.Peers.Others(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	for _, p := range c.Partitions.All() {
		if _, ok, err := c.Peers.Of(ctx, p.Number()); !ok || err != nil {
			out.Stale = true
		}
	}
	ctx = rpc.Forward(ctx)
	for _, o := range others {
		theirs, err := pb.NewRunServiceClient(o.Conn).List(ctx, req)
		if err != nil {
			if peer.Moved(err) {
				out.Stale = true
				continue
			}
			return nil, err //nolint:wrapcheck // the owner's answer, as it is
		}
		out.Runs = append(out.Runs, theirs.GetRuns()...)
		out.Stale = out.GetStale() || theirs.GetStale()
	}
	slices.SortStableFunc(out.GetRuns(), func(a, b *pb.Run) int {
		return cmp.Or(b.GetAcceptedAt().AsTime().Compare(a.GetAcceptedAt().AsTime()), cmp.Compare(a.GetId(), b.GetId()))
	})
	// In the moment in which a partition is handed over, two may name the same run.
	out.Runs = slices.CompactFunc(out.GetRuns(), func(a, b *pb.Run) bool { return a.GetId() == b.GetId() })
	out.Runs = out.GetRuns()[:min(len(out.GetRuns()), limit)]
	return out, nil
}

// relay copies a stream of the owner's.
func relay[M any](in grpc.ServerStreamingClient[M], out grpc.ServerStreamingServer[M], err error) error {
	sent := false
	for err == nil {
		var m *M
		if m, err = in.Recv(); err != nil {
			break
		}
		if err := out.Send(m); err != nil {
			return err //nolint:wrapcheck // the stream's own status
		}
		sent = true
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case sent && peer.Moved(err):
		// From the beginning would be twice: the caller goes on from where it is.
		return &peer.BrokenError{Err: err}
	}
	return err //nolint:wrapcheck // the owner's answer, as it is
}
