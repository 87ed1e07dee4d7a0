package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

var errNeedsTLS = errors.New("an address that is not loopback needs TLS: configure a certificate and key, or use 127.0.0.1")

// DialOptions of a connection.
type DialOptions struct {
	// Token is sent with every call; empty: none.
	Token string
	// CA is the certificate, in PEM, that signed the server's. Empty: the system's for
	// an address that is not loopback, and no TLS for one that is.
	CA []byte
	// ServerName overrides the name that the server's certificate must have.
	ServerName string
	// Tracer traces calls; nil: none are traced.
	Tracer trace.TracerProvider
}

// Dial prepares a connection to "host:port"; it is made with the first call. An address may
// name several, "a:7420,b:7420", any of which will do: one of them is used as long as it is
// there, then another. The token never leaves the machine without TLS.
func Dial(ctx context.Context, address string, o DialOptions) (*grpc.ClientConn, error) {
	several := strings.Split(address, ",")
	plain := len(o.CA) == 0
	for _, a := range several {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, fmt.Errorf("address %q: expected host:port, e.g. 127.0.0.1:7420", a)
		}
		plain = plain && mustBeLoopback(ctx, a) == nil
	}
	codec, err := newCodec()
	if err != nil {
		return nil, err
	}
	opts := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec), grpc.MaxCallRecvMsgSize(MaxAnswer), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again(), MinConnectTimeout: 5 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(tracer(o.Tracer)), otelgrpc.WithPropagators(propagation.TraceContext{}))),
	}
	if plain {
		opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialLoopback))
	} else {
		conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
		if len(o.CA) > 0 {
			conf.RootCAs = x509.NewCertPool()
			if !conf.RootCAs.AppendCertsFromPEM(o.CA) {
				return nil, fmt.Errorf("connect to %s: the CA is not a certificate in PEM", address)
			}
		}
		opts = append(opts, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	}
	if o.Token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearerToken{o.Token, !plain}))
	}
	target, more := targetOf(several)
	conn, err := grpc.NewClient(target, append(append(opts, more...), grpc.WithNoProxy())...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return conn, nil
}

// again is how often a server that is away is tried. gRPC waits up to two minutes of its own
// accord: for so long one that was started again would be refused by those who want it, and
// a coordinator that another asks would own partitions that nobody reaches.
func again() backoff.Config {
	return backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}
}

// targetOf names one address, or several, as gRPC has it. The dialer resolves host names, and
// no proxy of the environment comes between. Of several the first to be tried is chosen by
// chance, so that those who dial are spread; the next is tried when it is not there.
func targetOf(addresses []string) (string, []grpc.DialOption) {
	if len(addresses) == 1 {
		return "passthrough:///" + addresses[0], nil
	}
	list := manual.NewBuilderWithScheme("several")
	var state resolver.State
	for _, a := range addresses {
		host, _, _ := net.SplitHostPort(a) // the caller has done it
		state.Addresses = append(state.Addresses, resolver.Address{Addr: a, ServerName: host})
	}
	list.InitialState(state)
	return "several:///coordinators", []grpc.DialOption{
		grpc.WithResolvers(list), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}`),
	}
}

// dialLoopback makes sure that what a name resolves to now is still this machine.
func dialLoopback(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if !isLoopback(c.RemoteAddr()) {
		return nil, errors.Join(errNeedsTLS, c.Close())
	}
	return c, nil
}

type bearerToken struct {
	token string
	tls   bool
}

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearerToken) RequireTransportSecurity() bool { return b.tls }

// mustBeLoopback accepts addresses whose host is, or resolves only to, this machine.
func mustBeLoopback(ctx context.Context, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: expected host:port, e.g. 127.0.0.1:7420", address)
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if ip.IsLoopback() {
			return nil
		}
		return fmt.Errorf("address %s: %w", address, errNeedsTLS)
	}
	if host != "localhost" {
		return fmt.Errorf("address %s: %w", address, errNeedsTLS)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return fmt.Errorf("address %s: %w", address, err)
	}
	for _, ip := range ips {
		if !ip.Unmap().IsLoopback() {
			return fmt.Errorf("address %s: %w", address, errNeedsTLS)
		}
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
