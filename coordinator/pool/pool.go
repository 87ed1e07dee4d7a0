// Package pool is how coordinators come to know what each may have of workers and limits: every
// one reports to the one that decides, and obeys its answer. What is answered is decided
// by package share; who decides is the owner of partition 0.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/peer"
	"github.com/slipway-build/slipway/coordinator/share"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	// decider is the partition whose owner decides.
	decider = 0
	// every is how often a coordinator reports, and soon how often at most.
	every = 250 * time.Millisecond
	soon  = 50 * time.Millisecond
	// patience is how long it waits for an answer.
	patience = 2 * time.Second
	// turn is how long what cannot be divided stays with one.
	turn = 5 * time.Second
	// quiet is how long nobody answers before the log says so, and says it again.
	quiet = time.Minute
)

// Dispatcher has what is shared, and obeys.
type Dispatcher interface {
	Report(from string) share.Report
	Allot(share.Answer)
	// Unshared: who decides is of a version that does not, and each counts for itself.
	Unshared()
	// Urge says when a report should not wait for its time.
	Urge() <-chan struct{}
}

// Config of a Pool.
type Config struct {
	Self string // id of this coordinator
	// There are the ids of the coordinators that are alive, and whether all of them report.
	There      func() (ids []string, all bool)
	Peers      *peer.Peers
	Partitions *partition.Set
	Dispatch   Dispatcher
	Log        *slog.Logger
	Now        func() time.Time
}

// Pool is one coordinator's end, and the one that decides where that is this one.
type Pool struct {
	cfg Config

	mu    sync.Mutex
	epoch uint64 // of the decider's partition, in which table was begun
	table *share.Table
}

// New makes a Pool.
func New(cfg Config) *Pool { return &Pool{cfg: cfg} }

// Run reports until the context ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	heard := p.cfg.Now()
	for {
		select {
		case <-tick.C:
		case <-p.cfg.Dispatch.Urge():
			select { // what else is urgent goes with it
			case <-time.After(soon):
			case <-ctx.Done():
				return nil
			}
		case <-ctx.Done():
			return nil
		}
		err := p.report(ctx)
		now := p.cfg.Now()
		switch {
		case err == nil:
			heard = now
		case now.Sub(heard) >= quiet && ctx.Err() == nil:
			heard = now
			p.cfg.Log.WarnContext(ctx, "nobody says what this coordinator may have of workers and limits; it keeps what it has", "err", err)
		}
		tick.Reset(every)
	}
}

// report says what is here, and obeys the answer.
func (p *Pool) report(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	at, ok, err := p.cfg.Peers.Of(ctx, decider)
	switch {
	case err != nil:
		return fmt.Errorf("report to the coordinator that decides: %w", err)
	case !ok:
		return fmt.Errorf("partition %d: %w", decider, partition.ErrElsewhere)
	}
	r := p.cfg.Dispatch.Report(p.cfg.Self)
	var a share.Answer
	if at.Here {
		a, err = p.decide(ctx, r)
	} else {
		var res *pb.ReportResponse
		res, err = pb.NewShareServiceClient(at.Conn).Report(rpc.AsPeer(ctx), toReport(r))
		a = fromAnswer(res)
	}
	if code := status.Code(err); errors.Is(err, errUnshared) || code == codes.Unimplemented || code == codes.PermissionDenied {
		p.cfg.Dispatch.Unshared()
		return nil
	}
	if err != nil {
		return fmt.Errorf("report to the coordinator that decides: %w", err)
	}
	p.cfg.Dispatch.Allot(a)
	return nil
}

// errUnshared: there is a coordinator of a version that does not report.
var errUnshared = errors.New("a coordinator of an earlier version is there, and each counts for itself")

// Service is ShareService.
type Service struct {
	pb.UnimplementedShareServiceServer
	Pool *Pool
	// Status makes a gRPC error of one.
	Status func(error) error
}

// Report implements ShareService.
func (s *Service) Report(ctx context.Context, req *pb.ReportRequest) (*pb.ReportResponse, error) {
	a, err := s.Pool.decide(ctx, fromReport(req))
	if errors.Is(err, errUnshared) {
		return nil, status.Error(codes.Unimplemented, err.Error()) //nolint:wrapcheck // the edge
	}
	if err != nil {
		return nil, s.Status(err)
	}
	return toAnswer(a), nil
}

// decide answers a report, if this coordinator owns the decider's partition, and still does
// once it knows the answer. Who comes to own it begins anew: what was answered before, the
// reports say.
func (p *Pool) decide(ctx context.Context, r share.Report) (share.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := context.Cause(ctx); err != nil { // who reported waits no more
		return share.Answer{}, err
	}
	there, all := p.cfg.There()
	if !all {
		p.table = nil
		return share.Answer{}, errUnshared
	}
	epoch, err := p.mandate(ctx)
	if err != nil {
		return share.Answer{}, err
	}
	if p.table == nil || p.epoch != epoch {
		p.epoch, p.table = epoch, share.NewTable(len(p.cfg.Partitions.All()))
	}
	a := p.table.Take(r, there, uint64(p.cfg.Now().Unix()/int64(turn/time.Second)))
	a.Alone = len(there) == 1
	switch now, err := p.mandate(ctx); {
	case err != nil:
		return share.Answer{}, err
	case now != epoch:
		return share.Answer{}, partition.ErrElsewhere
	}
	return a, nil
}

// mandate is the epoch in which this coordinator owns the decider's partition.
func (p *Pool) mandate(ctx context.Context) (epoch uint64, err error) {
	err = p.cfg.Partitions.All()[decider].Do(ctx, func(tx *partition.Tx) error {
		epoch = tx.Epoch()
		return nil
	})
	return epoch, err
}
