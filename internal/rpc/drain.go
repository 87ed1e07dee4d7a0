package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errStopping = errors.New("the server is being stopped; try again")

// drain ends streams when the server stops: their contexts are done, and their clients
// are told to come back (UNAVAILABLE) whatever the handler made of it.
type drain struct {
	stopping context.Context //nolint:containedctx // of the server, not of a call
	begin    context.CancelFunc
}

func newDrain() *drain {
	d := &drain{}
	d.stopping, d.begin = context.WithCancel(context.Background())
	return d
}

func (d *drain) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	defer context.AfterFunc(d.stopping, func() { cancel(errStopping) })()
	err := next(srv, &contextStream{ss, ctx})
	if err != nil && errors.Is(context.Cause(ctx), errStopping) {
		return status.Error(codes.Unavailable, errStopping.Error())
	}
	return err
}
