package rpc

import (
	"context"
	"path"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// access is what a method asks of its caller.
type access struct {
	open bool    // no credential
	any  bool    // any credential
	role pb.Role // this role
}

// Roles reads which role each method needs from descriptors: full method name → role.
// Methods without the option are not in it.
func Roles(files ...protoreflect.FileDescriptor) map[string]pb.Role {
	out := map[string]pb.Role{}
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				if role, ok := proto.GetExtension(m.Options(), pb.E_Role).(pb.Role); ok && role != pb.Role_ROLE_UNSPECIFIED {
					out["/"+string(s.FullName())+"/"+string(m.Name())] = role
				}
			}
		}
	}
	return out
}

// authorizer is the one place where a call is let in.
type authorizer struct {
	tokens  *Tokens
	peers   func(secret string) bool
	methods map[string]access
}

func newAuthorizer(tokens *Tokens, peers func(string) bool, files []protoreflect.FileDescriptor) *authorizer {
	a := &authorizer{tokens: tokens, peers: peers, methods: map[string]access{
		// Probes of orchestrators carry no credential, and the answer says one word.
		healthpb.Health_Check_FullMethodName:                                 {open: true},
		healthpb.Health_Watch_FullMethodName:                                 {any: true},
		healthpb.Health_List_FullMethodName:                                  {any: true},
		reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName:    {any: true},
		reflectionalpha.ServerReflection_ServerReflectionInfo_FullMethodName: {any: true},
	}}
	for method, role := range Roles(files...) {
		a.methods[method] = access{role: role}
	}
	return a
}

// admit returns the context that a handler sees.
func (a *authorizer) admit(ctx context.Context, method string) (context.Context, error) {
	need := a.methods[method]
	if need.open {
		return ctx, nil
	}
	secret, ok := bearer(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "this call needs a token; set SLIPWAY_TOKEN, or let --state name the folder of a farm that runs")
	}
	who, ok := a.tokens.Identify(secret)
	if !ok && a.peers != nil && a.peers(secret) {
		who, ok = forwarded(ctx)
		ctx = context.WithValue(ctx, forwardedKey{}, true)
	}
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the token is not one that this farm knows; was the farm made anew since the token was read?")
	}
	switch {
	case need.any:
	case need.role == pb.Role_ROLE_UNSPECIFIED:
		return nil, status.Errorf(codes.PermissionDenied, "nobody may call %s", method)
	case !Includes(who.Role, need.role):
		return nil, status.Errorf(codes.PermissionDenied, "the token %q has the role %s; %s needs the role %s",
			who.Name, RoleName(who.Role), path.Base(method), RoleName(need.role))
	}
	return WithIdentity(ctx, who), nil
}

func bearer(ctx context.Context) (string, bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, secret, ok := strings.Cut(values[0], " ")
	return secret, ok && strings.EqualFold(scheme, "bearer")
}

func (a *authorizer) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := a.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (a *authorizer) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := a.admit(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return next(srv, &contextStream{ss, ctx})
}

// contextStream is a stream with another context.
type contextStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // grpc.ServerStream hands contexts on this way
}

func (s *contextStream) Context() context.Context { return s.ctx }
