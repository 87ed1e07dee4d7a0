package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"buf.build/go/protovalidate"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// MaxMessage is the size of what is sent to a server, in bytes, and MaxAnswer of what it
// answers: a run with tens of thousands of tasks is one answer.
const (
	MaxMessage = 16 << 20
	MaxAnswer  = 64 << 20
)

// ServerOptions of a Server.
type ServerOptions struct {
	Tokens *Tokens
	// Peers reports that a secret is that of another server of the same farm; nil: there
	// are none.
	Peers func(secret string) bool
	// Files describe the services whose methods may be called.
	Files []protoreflect.FileDescriptor
	// TLS is needed for every address but loopback.
	TLS *tls.Config
	// Tracer traces calls; nil: none are traced.
	Tracer trace.TracerProvider
	Log    *slog.Logger
	// Grace is how long calls may go on after Run was told to stop; 0: five seconds.
	Grace time.Duration
}

// Server is a gRPC server with everything but its services.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	drain  *drain
	tls    *tls.Config
	grace  time.Duration
}

// NewServer wires a server. Register services on GRPC before Run.
func NewServer(o ServerOptions) (*Server, error) {
	pv, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("rules of the protocols: %w", err)
	}
	codec, err := newCodec()
	if err != nil {
		return nil, err
	}
	auth, valid, rec := newAuthorizer(o.Tokens, o.Peers, o.Files), validator{pv}, recoverer{o.Log}
	d := newDrain()
	opts := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(rec.unary, auth.unary, valid.unary),
		grpc.ChainStreamInterceptor(rec.stream, auth.stream, d.stream, valid.stream),
		grpc.StatsHandler(otelgrpc.NewServerHandler(
			otelgrpc.WithTracerProvider(tracer(o.Tracer)), otelgrpc.WithPropagators(propagation.TraceContext{}), otelgrpc.WithFilter(notHealth))),
		grpc.ForceServerCodecV2(codec),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxAnswer),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s := &Server{grpc: grpc.NewServer(opts...), health: health.NewServer(), drain: d, tls: o.TLS, grace: o.Grace}
	if s.grace == 0 {
		s.grace = 5 * time.Second
	}
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s, nil
}

func tracer(t trace.TracerProvider) trace.TracerProvider {
	if t == nil {
		return noop.NewTracerProvider()
	}
	return t
}

func notHealth(info *stats.RPCTagInfo) bool {
	return info.FullMethodName != healthpb.Health_Check_FullMethodName && info.FullMethodName != healthpb.Health_Watch_FullMethodName
}

// GRPC is where services are registered.
func (s *Server) GRPC() grpc.ServiceRegistrar { return s.grpc }

// Health is where a program says that it serves; it says so itself while Run runs.
func (s *Server) Health() *health.Server { return s.health }

// Listen opens an address. Without TLS it must be a loopback one.
func (s *Server) Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := Listen(ctx, address, s.tls != nil)
	if err != nil {
		return nil, fmt.Errorf("listen for gRPC: %w", err)
	}
	return l, nil
}

// Run serves until ctx is done. Then streams are told to end, since they would go on for
// ever, and calls may end within the grace period.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if s.tls == nil && !isLoopback(l.Addr()) {
		return fmt.Errorf("serve gRPC on %s: %w", l.Addr(), errNeedsTLS)
	}
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve gRPC on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.health.Shutdown()
	s.drain.begin()
	hard := time.AfterFunc(s.grace, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC on %s: %w", l.Addr(), err)
	}
	return nil
}
