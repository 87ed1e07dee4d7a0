package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/peer"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Cordons are the workers that are given nothing: those of people, and those that are suspected.
type Cordons interface {
	All() []cordon.Cordon
	Of(name string) (cordon.Cordon, bool)
	Set(ctx context.Context, c cordon.Cordon) error
	Lift(ctx context.Context, name string) error
	Refresh(ctx context.Context, name string) error
}

// obey is how long another coordinator may take to hold to a cordon before the answer does
// not wait for it any more.
const obey = 5 * time.Second

type farm struct {
	pb.UnimplementedFarmServiceServer
	cfg Config
}

// ListWorkers answers what all coordinators know together: each knows the sessions of all
// workers, but for those that began just now, and the leases of what it owns.
func (s *farm) ListWorkers(ctx context.Context, req *pb.ListWorkersRequest) (*pb.ListWorkersResponse, error) {
	out := &pb.ListWorkersResponse{}
	leases, err := s.cfg.leases(ctx)
	switch {
	case errors.Is(err, partition.ErrUnavailable):
		out.Stale = true
	case err != nil:
		return nil, toStatus(err)
	}
	rows := known(s.cfg.Sessions.Workers(), leases, s.cfg.Cordons.All())
	if s.cfg.Peers != nil && !rpc.Forwarded(ctx) {
		theirs, stale, err := s.others(ctx)
		if err != nil {
			return nil, err
		}
		rows, out.Stale = append(rows, theirs...), out.Stale || stale
	}
	for _, w := range merged(rows) {
		if req.GetName() == "" || w.GetName() == req.GetName() {
			out.Workers = append(out.Workers, w)
		}
	}
	return out, nil
}

// leases of the partitions that this coordinator owns. With an error they are those of the
// partitions that have answered.
func (c Config) leases(ctx context.Context) (out []partition.Held, err error) {
	for _, p := range c.Partitions.All() {
		if !p.Here() {
			continue
		}
		var in []partition.Held
		switch e := p.Do(ctx, func(tx *partition.Tx) error { in = tx.Leases(); return nil }); {
		case e == nil:
			out = append(out, in...)
		case !errors.Is(e, partition.ErrElsewhere):
			err = errors.Join(err, e)
		}
	}
	return out, err
}

// others answers what the other coordinators know. One that cannot be asked, or is too old to
// say, makes the list stale, and so does a partition that is nobody's at the moment.
func (s *farm) others(ctx context.Context) (rows []*pb.Worker, stale bool, err error) {
	for _, p := range s.cfg.Partitions.All() {
		if _, ok, err := s.cfg.Peers.Of(ctx, p.Number()); !ok || err != nil {
			stale = true
		}
	}
	others, err := s.cfg.Peers.Others(ctx)
	if err != nil {
		return nil, false, toStatus(err)
	}
	ctx = rpc.Forward(ctx)
	for _, o := range others {
		theirs, err := pb.NewFarmServiceClient(o.Conn).ListWorkers(ctx, &pb.ListWorkersRequest{})
		switch {
		case err == nil:
			rows, stale = append(rows, theirs.GetWorkers()...), stale || theirs.GetStale()
		case peer.Moved(err), status.Code(err) == codes.Unimplemented:
			stale = true
		default:
			return nil, false, err //nolint:wrapcheck // the other's answer, as it is
		}
	}
	return rows, stale, nil
}

func (s *farm) Cordon(ctx context.Context, req *pb.CordonRequest) (*pb.CordonResponse, error) {
	list, err := s.steer(ctx, req.GetName(), func() error {
		if err := s.cfg.Cordons.Refresh(ctx, req.GetName()); err != nil { // another may have taken it back just now
			return err //nolint:wrapcheck // steer makes a status of it
		}
		if _, ok := s.cfg.Cordons.Of(req.GetName()); ok && req.GetReason() == "" {
			return nil
		}
		return s.cfg.Cordons.Set(ctx, cordon.Cordon{Name: req.GetName(), Reason: req.GetReason(), By: caller(ctx), At: s.cfg.Now().UTC()})
	}, func(ctx context.Context, c pb.FarmServiceClient) error {
		_, err := c.Cordon(ctx, req)
		return err //nolint:wrapcheck // the other's answer, as it is
	})
	return &pb.CordonResponse{Workers: list}, err
}

func (s *farm) Uncordon(ctx context.Context, req *pb.UncordonRequest) (*pb.UncordonResponse, error) {
	list, err := s.steer(ctx, req.GetName(), func() error {
		return s.cfg.Cordons.Lift(ctx, req.GetName())
	}, func(ctx context.Context, c pb.FarmServiceClient) error {
		_, err := c.Uncordon(ctx, req)
		return err //nolint:wrapcheck // the other's answer, as it is
	})
	return &pb.UncordonResponse{Workers: list}, err
}

// steer writes a decision about the workers of a name, and has the other coordinators look at
// it: those that a call is handed on to have nothing to write.
func (s *farm) steer(ctx context.Context, name string, write func() error, there func(context.Context, pb.FarmServiceClient) error) ([]*pb.Worker, error) {
	if rpc.Forwarded(ctx) {
		return nil, toStatusOrNil(s.cfg.Cordons.Refresh(ctx, name))
	}
	before, err := s.ListWorkers(ctx, &pb.ListWorkersRequest{Name: name})
	switch {
	case err != nil:
		return nil, err
	case len(before.GetWorkers()) == 0:
		return nil, status.Errorf(codes.NotFound, "no worker or deployer named %q is connected, or cordoned: slipway workers lists them", name) //nolint:wrapcheck // the edge
	}
	if err := write(); err != nil {
		return nil, toStatus(err)
	}
	if s.cfg.Peers != nil {
		s.spread(ctx, name, there)
	}
	after, err := s.ListWorkers(ctx, &pb.ListWorkersRequest{Name: name})
	return after.GetWorkers(), err
}

// spread has the other coordinators look. One that cannot be asked sees it by itself, as soon
// as it sees anything; one that is too old does not know of cordons.
func (s *farm) spread(ctx context.Context, name string, there func(context.Context, pb.FarmServiceClient) error) {
	others, err := s.cfg.Peers.Others(ctx)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "other coordinators cannot be reached", "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(rpc.Forward(ctx), obey)
	defer cancel()
	for _, o := range others {
		if err := there(ctx, pb.NewFarmServiceClient(o.Conn)); err != nil {
			s.cfg.Log.WarnContext(ctx, "another coordinator may not have seen a cordon yet", "worker", name, "err", err)
		}
	}
}
