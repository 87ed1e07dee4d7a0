package peer_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/ownership"
	"github.com/slipway-build/slipway/coordinator/peer"
)

// owners: another replica has everything.
type owners struct{ changed chan struct{} }

func (owners) Self() ownership.Replica { return ownership.Replica{ID: "self"} }

func (owners) Owner(int) (ownership.Replica, bool) {
	return ownership.Replica{ID: "other", Address: "127.0.0.1:1"}, true
}

func (o owners) Replicas() []ownership.Replica {
	r, _ := o.Owner(0)
	return []ownership.Replica{o.Self(), r}
}

func (o owners) Changed() <-chan struct{} { return o.changed }

// A coordinator that was started anew has a new credential, and the others see it a moment
// later. Whoever asked it in between must not hear that their own token is unknown.
func TestAnOwnerThatDoesNotKnowThisReplicaYetIsAskedAgain(t *testing.T) {
	p := peer.New(peer.Config{Owners: owners{make(chan struct{})}, Dial: func(context.Context, string) (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials())) // never called
	}})
	defer p.Close()
	asked := 0
	err := p.Ask(t.Context(), 0, func(context.Context, peer.Place) error {
		if asked++; asked < 3 {
			return status.Error(codes.Unauthenticated, "the token is not one that this farm knows")
		}
		return nil
	})
	if err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	refused := status.Error(codes.PermissionDenied, "no")
	if err := p.Ask(t.Context(), 0, func(context.Context, peer.Place) error { return refused }); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a refusal became %v", err)
	}
}
