// Package api serves proto/slipway/v1: thin handlers that decode, call and encode. Who
// may call is decided before them (internal/rpc); what happens, behind them.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/artifactstore"
	"github.com/slipway-build/slipway/coordinator/home"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/peer"
	"github.com/slipway-build/slipway/coordinator/pool"
	"github.com/slipway-build/slipway/coordinator/proposal"
	"github.com/slipway-build/slipway/coordinator/readmodel"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/session"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/coordinator/submit"
	"github.com/slipway-build/slipway/coordinator/wire"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Config of the services.
type Config struct {
	Partitions *partition.Set
	// Peers are the other coordinators, which answer for what this one does not own; nil:
	// there are none.
	Peers     *peer.Peers
	Homes     *home.Homes
	Submitter *submit.Submitter
	Sessions  *session.Server
	Hub       *session.Hub
	Queue     Queue
	Cordons   Cordons
	Logs      *logstore.Store
	Blobs     *artifact.Store
	Artifacts *artifactstore.Store
	Mirror    *source.Mirror
	Pool      *pool.Pool
	// Model answers lists when it can; nil: the partitions do.
	Model *readmodel.Model
	// Proposals are commits that people are to decide about.
	Proposals *proposal.Proposer
	// Noticed is told that somebody changed what was released to an environment of a project that is here.
	Noticed func(project, environment string)
	// Go runs f outside the call; the program waits for it when it stops.
	Go  func(f func())
	Log *slog.Logger
	Now func() time.Time
}

// Services are those of the API. Who calls them directly, and not over gRPC, has asked
// who may.
type Services struct {
	Runs    pb.RunServiceServer
	Logs    pb.LogServiceServer
	Workers pb.WorkerServiceServer
	Farm    pb.FarmServiceServer
	Tests   pb.TestServiceServer
	Rollout pb.RolloutServiceServer
	Peers   pb.PeerServiceServer
	Shares  pb.ShareServiceServer
}

// New makes the services.
func New(cfg Config) Services {
	return Services{Runs: &runs{cfg: cfg, codec: wire.NewCodec()}, Logs: &logs{cfg: cfg}, Workers: &workers{cfg: cfg}, Farm: &farm{cfg: cfg}, Tests: &tests{cfg: cfg}, Rollout: &rollouts{cfg: cfg}, Peers: &home.Service{Homes: cfg.Homes, Status: toStatus}, Shares: &pool.Service{Pool: cfg.Pool, Status: toStatus}}
}

// Register adds the services to a server.
func (s Services) Register(to grpc.ServiceRegistrar) {
	pb.RegisterRunServiceServer(to, s.Runs)
	pb.RegisterLogServiceServer(to, s.Logs)
	pb.RegisterWorkerServiceServer(to, s.Workers)
	pb.RegisterFarmServiceServer(to, s.Farm)
	pb.RegisterTestServiceServer(to, s.Tests)
	pb.RegisterRolloutServiceServer(to, s.Rollout)
	pb.RegisterPeerServiceServer(to, s.Peers)
	pb.RegisterShareServiceServer(to, s.Shares)
}

type runs struct {
	pb.UnimplementedRunServiceServer
	cfg   Config
	codec *wire.Codec
}

func caller(ctx context.Context) string {
	who, _ := rpc.IdentityFrom(ctx)
	return who.Name
}

func (s *runs) Submit(ctx context.Context, req *pb.SubmitRequest) (*pb.SubmitResponse, error) {
	id, replayed, err := s.cfg.Submitter.Submit(ctx, submit.Request{
		Repository: req.GetRepository(), Ref: req.GetRef(), Dirty: req.GetDirty(), NoReuse: req.GetNoReuse(), Adopt: req.GetAdopt(), Diff: req.GetDiff(), Key: req.GetIdempotencyKey(), By: caller(ctx),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	r, err := s.Get(ctx, &pb.GetRequest{Run: id})
	if err != nil {
		return nil, err
	}
	return &pb.SubmitResponse{Run: r.GetRun(), Replayed: replayed}, nil
}

func (s *runs) Plan(ctx context.Context, req *pb.PlanRequest) (*pb.PlanResponse, error) {
	_, data, hash, err := s.cfg.Submitter.Plan(ctx, submit.Request{Repository: req.GetRepository(), Ref: req.GetRef(), NoReuse: req.GetNoReuse(), Adopt: req.GetAdopt(), Diff: req.GetDiff()})
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.PlanResponse{Hash: hash, PlanJson: data}, nil
}

func (s *runs) Get(ctx context.Context, req *pb.GetRequest) (*pb.GetResponse, error) {
	var out *pb.GetResponse
	var found *run.Run
	err := s.cfg.find(ctx, req.GetRun(), func(_ *partition.Tx, r *run.Run) error {
		found = r // encoded outside: it is a copy, and others wait for the partition
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		out, err = pb.NewRunServiceClient(c).Get(ctx, &pb.GetRequest{Run: id})
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	if err != nil || out != nil {
		return out, err
	}
	return &pb.GetResponse{Run: s.full(found)}, nil
}

// full is a run as it fits into one answer.
func (s *runs) full(r *run.Run) *pb.Run {
	out := s.codec.FullRun(r)
	wire.Shorten(out, rpc.MaxAnswer-(1<<20))
	return out
}

const (
	defaultLimit = 50
	// MaxLimit is how long a list may be, as the protocol says.
	MaxLimit = 1000
)

func (s *runs) List(ctx context.Context, req *pb.ListRequest) (*pb.ListResponse, error) {
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultLimit
	}
	if s.cfg.Model != nil {
		if found, asOf, ok := s.cfg.Model.List(ctx, req.GetProject(), limit); ok {
			return s.cfg.gather(ctx, req, limit, &pb.ListResponse{Runs: found, Stale: true, AsOf: wire.Time(asOf)})
		}
	}
	return s.strict(ctx, req, limit)
}

// strict asks the owners.
func (s *runs) strict(ctx context.Context, req *pb.ListRequest, limit int) (*pb.ListResponse, error) {
	out := &pb.ListResponse{AsOf: timestamppb.Now()}
	found, err := s.cfg.Partitions.List(ctx, req.GetProject(), limit)
	if err != nil {
		return nil, toStatus(err)
	}
	for _, r := range found {
		out.Runs = append(out.Runs, s.codec.Run(r))
	}
	return s.cfg.gather(ctx, req, limit, out)
}

func (s *runs) Cancel(ctx context.Context, req *pb.CancelRequest) (*pb.CancelResponse, error) {
	message := "canceled by " + caller(ctx)
	if req.GetReason() != "" {
		message += ": " + req.GetReason()
	}
	var out *pb.CancelResponse
	err := s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) (err error) {
		if !r.State.Ended() {
			r, err = tx.Cancel(r.ID, message)
		}
		if err == nil {
			out = &pb.CancelResponse{Run: s.codec.Run(r)}
		}
		return err
	}, func(ctx context.Context, c *grpc.ClientConn, id string) (err error) {
		out, err = pb.NewRunServiceClient(c).Cancel(ctx, &pb.CancelRequest{Run: id, Reason: req.GetReason()})
		return err //nolint:wrapcheck // the owner's answer, as it is
	})
	return out, err
}

func (s *runs) Watch(req *pb.WatchRequest, out grpc.ServerStreamingServer[pb.WatchResponse]) error {
	ctx := out.Context()
	var snapshot *run.Run
	var changes <-chan session.Change
	var until context.Context
	err := s.cfg.find(ctx, req.GetRun(), func(tx *partition.Tx, r *run.Run) error {
		f := s.cfg.Hub.Follow(r.ID)
		snapshot, changes, until = r, f.C, tx.Until()
		stop := context.AfterFunc(until, f.Close)
		context.AfterFunc(ctx, func() { stop(); f.Close() })
		return nil
	}, func(ctx context.Context, c *grpc.ClientConn, id string) error {
		in, err := pb.NewRunServiceClient(c).Watch(ctx, &pb.WatchRequest{Run: id})
		return relay(in, out, err)
	})
	if err != nil || snapshot == nil {
		return err
	}
	if err := out.Send(&pb.WatchResponse{Change: &pb.WatchResponse_Snapshot{Snapshot: s.full(snapshot)}}); err != nil {
		return err //nolint:wrapcheck // the stream's own status
	}
	ended := snapshot.State.Ended()
	for !ended {
		c, ok := <-changes
		if !ok {
			switch {
			case ctx.Err() != nil:
				return toStatus(context.Cause(ctx))
			case until.Err() != nil: // another coordinator goes on
				return toStatus(partition.ErrElsewhere)
			}
			return status.Error(codes.ResourceExhausted, "the watcher is too slow: watch again") //nolint:wrapcheck // the edge
		}
		for _, m := range s.changes(c) {
			if err := out.Send(m); err != nil {
				return err //nolint:wrapcheck // the stream's own status
			}
		}
		ended = c.Run != nil && c.Run.State.Ended()
	}
	return nil
}

func (s *runs) changes(c session.Change) []*pb.WatchResponse {
	if p := c.Progress; p != nil {
		return []*pb.WatchResponse{{Change: &pb.WatchResponse_Progress{Progress: &pb.Progress{TaskId: p.Task, Attempt: int32(p.Attempt), Steps: p.Steps}}}}
	}
	out := make([]*pb.WatchResponse, 0, len(c.Tasks)+1)
	for _, t := range c.Tasks {
		out = append(out, &pb.WatchResponse{Change: &pb.WatchResponse_Task{Task: s.codec.Task(t)}})
	}
	return append(out, &pb.WatchResponse{Change: &pb.WatchResponse_Run{Run: s.codec.Run(c.Run)}})
}

type workers struct {
	pb.UnimplementedWorkerServiceServer
	cfg Config
}

func (s *workers) Session(g grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	return s.cfg.Sessions.Session(g)
}

// chunk is the size of streamed parts.
const chunk = 256 << 10

func (s *workers) GetBlob(req *pb.GetBlobRequest, out grpc.ServerStreamingServer[pb.GetBlobResponse]) error {
	data, err := s.cfg.Blobs.Get(out.Context(), req.GetDigest())
	if err != nil {
		return toStatus(err)
	}
	w := &sender{size: chunk, send: func(b []byte) error { return out.Send(&pb.GetBlobResponse{Data: b}) }}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.flush()
}

func (s *workers) PutBlob(in grpc.ClientStreamingServer[pb.PutBlobRequest, pb.PutBlobResponse]) error {
	var data []byte
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err //nolint:wrapcheck // the stream's own status
		}
		if data = append(data, m.GetData()...); len(data) > artifact.MaxBlob {
			return toStatus(artifact.ErrTooLarge)
		}
	}
	digest, err := s.cfg.Blobs.Put(in.Context(), data)
	if err != nil {
		return toStatus(err)
	}
	return in.SendAndClose(&pb.PutBlobResponse{Digest: digest}) //nolint:wrapcheck // the stream's own status
}

// sender cuts what is written into messages.
type sender struct {
	size int
	buf  []byte
	send func([]byte) error
}

func (w *sender) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	for len(w.buf) >= w.size {
		if err := w.send(w.buf[:w.size:w.size]); err != nil {
			return 0, err
		}
		w.buf = append([]byte(nil), w.buf[w.size:]...)
	}
	return len(p), nil
}

func (w *sender) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.send(w.buf); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	w.buf = nil
	return nil
}
