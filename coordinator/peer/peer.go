package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/ownership"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/internal/rpc"
)

// Owners says who there is, and who owns what.
type Owners interface {
	Self() ownership.Replica
	Replicas() []ownership.Replica
	Owner(partition int) (ownership.Replica, bool)
	Changed() <-chan struct{}
}

// Config of Peers.
type Config struct {
	Owners     Owners
	Partitions *partition.Set
	// Dial opens a connection to the API at an address, with this replica's credential.
	Dial func(ctx context.Context, address string) (*grpc.ClientConn, error)
}

// Peers are the coordinators of the farm, as one of them sees them.
type Peers struct {
	cfg Config

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by address
}

// New makes Peers. Close it.
func New(cfg Config) *Peers { return &Peers{cfg: cfg, conns: map[string]*grpc.ClientConn{}} }

// Close hangs up.
func (p *Peers) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close() // nothing is lost: who asked hears that the connection is gone
	}
	clear(p.conns)
}

// patience is how long a call waits for a partition to have an owner: longer than a
// takeover takes.
const patience = 15 * time.Second

// Place is who answers for a partition.
type Place struct {
	Here bool
	ID   string // of the replica, elsewhere
	Conn *grpc.ClientConn
}

// Of answers who answers for a partition now. Not ok: nobody.
func (p *Peers) Of(ctx context.Context, number int) (Place, bool, error) {
	r, ok := p.cfg.Owners.Owner(number)
	if !ok {
		return Place{}, false, nil
	}
	if r.ID == p.cfg.Owners.Self().ID {
		return Place{Here: true}, true, nil
	}
	conn, err := p.conn(ctx, r.Address)
	return Place{ID: r.ID, Conn: conn}, err == nil, err
}

// Others are the coordinators beside this one.
func (p *Peers) Others(ctx context.Context) ([]Place, error) {
	var out []Place
	for _, r := range p.cfg.Owners.Replicas() {
		if r.ID == p.cfg.Owners.Self().ID {
			continue
		}
		conn, err := p.conn(ctx, r.Address)
		if err != nil {
			return nil, err
		}
		out = append(out, Place{ID: r.ID, Conn: conn})
	}
	return out, nil
}

// Changed is closed at the next change of who is there and who owns what.
func (p *Peers) Changed() <-chan struct{} { return p.cfg.Owners.Changed() }

func (p *Peers) conn(ctx context.Context, address string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.conns[address]; ok {
		return c, nil
	}
	c, err := p.cfg.Dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connect to the coordinator at %s: %w", address, err)
	}
	p.conns[address] = c
	return c, nil
}

// Ask calls f with who answers for a partition, and again while there is nobody, or it is
// somebody else by now. A call that another coordinator handed on is answered here or not
// at all.
func (p *Peers) Ask(ctx context.Context, number int, f func(context.Context, Place) error) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	err := fmt.Errorf("partition %d: %w: it has no owner now", number, partition.ErrUnavailable)
	for {
		changed := p.Changed()
		where, ok, connErr := p.Of(ctx, number)
		switch {
		case connErr != nil:
			return connErr
		case ok && !where.Here && rpc.Forwarded(ctx):
			return fmt.Errorf("partition %d: %w", number, partition.ErrElsewhere)
		case ok:
			out := ctx
			if !where.Here {
				out = rpc.Forward(ctx)
			}
			if err = f(out, where); !Moved(err) {
				return err
			}
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		case <-limit.C:
			return err
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Moved reports that who was asked did not answer for the partition, or is gone: asking
// again finds who does. So it does when the other does not know this replica's credential:
// it has not seen yet that this one was started anew. Who asked this one was known here.
func Moved(err error) bool {
	var broken *BrokenError
	if errors.As(err, &broken) {
		return false
	}
	code := status.Code(err)
	return errors.Is(err, partition.ErrUnavailable) || code == codes.Unavailable || code == codes.Unauthenticated
}

// BrokenError: an answer broke off in its middle, since who gave it is gone. The caller
// asks again from where it is.
type BrokenError struct{ Err error }

func (e *BrokenError) Error() string {
	return "the owner of the run is being replaced: " + e.Err.Error()
}

// Unwrap answers why.
func (e *BrokenError) Unwrap() error { return e.Err }

// GRPCStatus is UNAVAILABLE: ask again.
func (e *BrokenError) GRPCStatus() *status.Status { return status.New(codes.Unavailable, e.Error()) }
