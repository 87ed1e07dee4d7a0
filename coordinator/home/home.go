// Package home is what a coordinator that makes a plan asks of the owner of its project,
// wherever that is: here, or over PeerService, whose other end is here too. How a plan is
// made is known elsewhere (package submit).
package home

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/peer"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/submit"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Plans reads a stored plan.
type Plans func(ctx context.Context, hash string) (*plan.Plan, error)

// Homes answers what owners of projects know.
type Homes struct {
	Partitions *partition.Set
	Peers      *peer.Peers
	Plans      Plans
	// TraceID of a run.
	TraceID func(project, commit, run string) string
}

// Of is the home of a project, wherever it is.
func (h *Homes) Of(ctx context.Context, project string) (submit.Home, error) {
	p, err := h.Partitions.Home(ctx, project)
	if err != nil {
		return nil, err
	}
	return &home{Homes: h, p: p}, nil
}

// home is one partition.
type home struct {
	*Homes
	p *partition.Partition
}

// ask runs here or there, whichever the partition is.
func (h *home) ask(ctx context.Context, here func(tx *partition.Tx) error, there func(context.Context, pb.PeerServiceClient) error) error {
	return h.Peers.Ask(ctx, h.p.Number(), func(ctx context.Context, w peer.Place) error {
		if w.Here {
			return h.p.Do(ctx, here)
		}
		return fromStatus(there(rpc.AsPeer(ctx), pb.NewPeerServiceClient(w.Conn)))
	})
}

// fromStatus gives an error of the owner its meaning back.
func fromStatus(err error) error {
	switch status.Code(err) {
	case codes.NotFound:
		return fmt.Errorf("%w: %w", partition.ErrNotFound, err)
	case codes.AlreadyExists:
		return fmt.Errorf("%w: %w", partition.ErrKeyReused, err)
	case codes.Unavailable:
		return fmt.Errorf("%w: %w", partition.ErrUnavailable, err)
	default:
		return err
	}
}

// Replayed implements submit.Home.
func (h *home) Replayed(ctx context.Context, project, key, requestHash string) (id string, err error) {
	err = h.ask(ctx, func(tx *partition.Tx) error {
		id, err = tx.Replayed(project, key, requestHash)
		return err
	}, func(ctx context.Context, c pb.PeerServiceClient) error {
		res, err := c.Replayed(ctx, &pb.ReplayedRequest{Project: project, Key: key, RequestHash: requestHash})
		id = res.GetRun()
		return err //nolint:wrapcheck // fromStatus does
	})
	return id, err
}

// Green implements submit.Home.
func (h *home) Green(ctx context.Context, project, ref string) (commit string, err error) {
	err = h.ask(ctx, func(tx *partition.Tx) error {
		commit = tx.Green(project, ref)
		return nil
	}, func(ctx context.Context, c pb.PeerServiceClient) error {
		res, err := c.Green(ctx, &pb.GreenRequest{Project: project, Ref: ref})
		commit = res.GetCommit()
		return err //nolint:wrapcheck // fromStatus does
	})
	return commit, err
}

// Known implements submit.Home.
func (h *home) Known(ctx context.Context, project string, digests []string, since time.Time) (out map[string]plan.Reuse, forgotten map[string]string, err error) {
	out, forgotten = map[string]plan.Reuse{}, map[string]string{}
	err = h.ask(ctx, func(tx *partition.Tx) error {
		for _, d := range digests {
			if k, ok := tx.Known(project, d); ok {
				out[d] = plan.Reuse{Run: k.Run, Result: k.Result}
			}
			if f, ok := tx.Forgotten(project, d, since); ok {
				forgotten[d] = f
			}
		}
		return nil
	}, func(ctx context.Context, c pb.PeerServiceClient) error {
		res, err := c.Known(ctx, &pb.KnownRequest{Project: project, Digests: digests, Since: wire.Time(since)})
		for d, k := range res.GetResults() {
			out[d] = plan.Reuse{Run: k.GetRun(), Result: wire.FromResult(k.GetResult())}
		}
		maps.Copy(forgotten, res.GetForgotten())
		return err //nolint:wrapcheck // fromStatus does
	})
	return out, forgotten, err
}

// History implements submit.Home.
func (h *home) History(ctx context.Context, project string, tests []string) (map[string]planner.History, error) {
	out := map[string]planner.History{}
	err := h.ask(ctx, func(tx *partition.Tx) error {
		for _, id := range tests {
			if h := (planner.History{Items: tx.Items(project, id), Held: tx.Held(project, id)}); len(h.Items)+len(h.Held) > 0 {
				out[id] = h
			}
		}
		return nil
	}, func(ctx context.Context, c pb.PeerServiceClient) error {
		res, err := c.History(ctx, &pb.HistoryRequest{Project: project, Tests: tests})
		if status.Code(err) == codes.Unimplemented { // an older coordinator, which teaches nothing
			err = nil
		}
		for id, t := range res.GetTests() {
			out[id] = planner.History{Items: wire.FromItems(t.GetItems()), Held: wire.FromTestNames(t.GetHeld())}
		}
		return err //nolint:wrapcheck // fromStatus does
	})
	return out, err
}

// Accept implements submit.Home.
func (h *home) Accept(ctx context.Context, a submit.Acceptance) (id string, replayed bool, err error) {
	p, err := h.Plans(ctx, a.PlanHash)
	if err != nil {
		return "", false, err
	}
	err = h.ask(ctx, func(tx *partition.Tx) (err error) {
		if err := retries(tx, a.Retries); err != nil {
			return err
		}
		id, replayed, err = tx.Accept(partition.Submission{
			Plan: p, PlanHash: a.PlanHash, SubmittedBy: a.SubmittedBy, Origin: a.Origin, Key: a.Key, RequestHash: a.RequestHash,
			TraceID: func(id string) string { return h.TraceID(p.Project, p.Commit, id) },
		})
		return err
	}, func(ctx context.Context, c pb.PeerServiceClient) error {
		res, err := c.Accept(ctx, &pb.AcceptRequest{
			Project: a.Project, PlanHash: a.PlanHash, SubmittedBy: a.SubmittedBy, IdempotencyKey: a.Key, RequestHash: a.RequestHash, Retries: a.Retries,
			Origin: &pb.Origin{Webhook: a.Origin.Webhook, Repository: a.Origin.Repository, Branch: a.Origin.Branch},
		})
		id, replayed = res.GetRun(), res.GetReplayed()
		return err //nolint:wrapcheck // fromStatus does
	})
	return id, replayed, err
}

// retries reports that a run must not be tried again.
func retries(tx *partition.Tx, name string) error {
	if name == "" {
		return nil
	}
	old, err := tx.Run(name)
	var gone *partition.ArchivedError
	if errors.As(err, &gone) {
		return fmt.Errorf("%w: %w; run its commit anew", submit.ErrNoRetry, gone)
	}
	if err != nil {
		return err
	}
	if environment, newer := tx.Overtaken(old); newer != "" {
		return submit.Overtaken(old.ID, newer, environment)
	}
	return nil
}

// Service is PeerService: the other end of Homes.
type Service struct {
	pb.UnimplementedPeerServiceServer
	Homes *Homes
	// Status is the table from errors to gRPC codes.
	Status func(error) error
}

// with calls f with the home of a project that is here.
func (s *Service) with(ctx context.Context, project string, f func(submit.Home) error) error {
	h, err := s.Homes.Of(ctx, project)
	if err == nil {
		err = f(h)
	}
	if err != nil {
		return s.Status(err)
	}
	return nil
}

// Replayed implements PeerServiceServer.
func (s *Service) Replayed(ctx context.Context, req *pb.ReplayedRequest) (*pb.ReplayedResponse, error) {
	out := &pb.ReplayedResponse{}
	return out, s.with(ctx, req.GetProject(), func(h submit.Home) (err error) {
		out.Run, err = h.Replayed(ctx, req.GetProject(), req.GetKey(), req.GetRequestHash())
		return err
	})
}

// Green implements PeerServiceServer.
func (s *Service) Green(ctx context.Context, req *pb.GreenRequest) (*pb.GreenResponse, error) {
	out := &pb.GreenResponse{}
	return out, s.with(ctx, req.GetProject(), func(h submit.Home) (err error) {
		out.Commit, err = h.Green(ctx, req.GetProject(), req.GetRef())
		return err
	})
}

// Known implements PeerServiceServer.
func (s *Service) Known(ctx context.Context, req *pb.KnownRequest) (*pb.KnownResponse, error) {
	out := &pb.KnownResponse{Results: map[string]*pb.KnownResult{}}
	return out, s.with(ctx, req.GetProject(), func(h submit.Home) error {
		known, forgotten, err := h.Known(ctx, req.GetProject(), req.GetDigests(), wire.FromTime(req.GetSince()))
		out.Forgotten = forgotten
		for d, k := range known {
			out.Results[d] = &pb.KnownResult{Run: k.Run, Result: wire.Result(k.Result)}
		}
		return err
	})
}

// History implements PeerServiceServer.
func (s *Service) History(ctx context.Context, req *pb.HistoryRequest) (*pb.HistoryResponse, error) {
	out := &pb.HistoryResponse{Tests: map[string]*pb.TestHistory{}}
	return out, s.with(ctx, req.GetProject(), func(h submit.Home) error {
		all, err := h.History(ctx, req.GetProject(), req.GetTests())
		for id, t := range all {
			out.Tests[id] = &pb.TestHistory{Items: wire.Items(t.Items), Held: wire.TestNames(t.Held)}
		}
		return err
	})
}

// Accept implements PeerServiceServer.
func (s *Service) Accept(ctx context.Context, req *pb.AcceptRequest) (*pb.AcceptResponse, error) {
	out := &pb.AcceptResponse{}
	return out, s.with(ctx, req.GetProject(), func(h submit.Home) (err error) {
		o := req.GetOrigin()
		out.Run, out.Replayed, err = h.Accept(ctx, submit.Acceptance{
			Project: req.GetProject(), PlanHash: req.GetPlanHash(), SubmittedBy: req.GetSubmittedBy(), Key: req.GetIdempotencyKey(), RequestHash: req.GetRequestHash(), Retries: req.GetRetries(),
			Origin: run.Origin{Webhook: o.GetWebhook(), Repository: o.GetRepository(), Branch: o.GetBranch()},
		})
		return err
	})
}
