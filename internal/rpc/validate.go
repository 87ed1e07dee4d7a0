package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// validator refuses requests that break the rules written in the protocols.
type validator struct{ v protovalidate.Validator }

func (v validator) check(msg any) error {
	m, ok := msg.(proto.Message)
	if !ok {
		return nil
	}
	err := v.v.Validate(m)
	var invalid *protovalidate.ValidationError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &invalid):
		return status.Errorf(codes.Internal, "check %s: %v", m.ProtoReflect().Descriptor().Name(), err)
	}
	var all []string
	for _, violation := range invalid.Violations {
		all = append(all, fmt.Sprintf("%s: %s", protovalidate.FieldPathString(violation.Proto.GetField()), violation.Proto.GetMessage()))
	}
	return status.Error(codes.InvalidArgument, strings.Join(all, "; "))
}

func (v validator) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := v.check(req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (v validator) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, &checkedStream{ss, v})
}

type checkedStream struct {
	grpc.ServerStream
	v validator
}

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.v.check(m)
}

// recoverer turns a panic of one call into an error of that call.
type recoverer struct{ log *slog.Logger }

func (r recoverer) caught(method string, err *error) {
	if p := recover(); p != nil {
		r.log.Error("call panicked", "method", method, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "the server met a mistake of its own; its log says more")
	}
}

func (r recoverer) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	defer r.caught(info.FullMethod, &err)
	return next(ctx, req)
}

func (r recoverer) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer r.caught(info.FullMethod, &err)
	return next(srv, ss)
}
