package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/channelz/grpc_channelz_v1"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func files() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{pb.File_slipway_v1_run_proto, pb.File_slipway_v1_log_proto, pb.File_slipway_v1_worker_proto, pb.File_slipway_v1_peer_proto, pb.File_slipway_v1_share_proto}
}

// runs answers Get with who called.
type runs struct {
	pb.UnimplementedRunServiceServer
}

func (runs) Get(ctx context.Context, r *pb.GetRequest) (*pb.GetResponse, error) {
	if r.GetRun() == "panic" {
		panic("on request")
	}
	who, _ := rpc.IdentityFrom(ctx)
	return &pb.GetResponse{Run: &pb.Run{SubmittedBy: who.Name + " " + strings.Join(who.Groups, ","), Dirty: rpc.Forwarded(ctx)}}, nil
}

type farm struct {
	address string
	secrets map[string]string
}

func start(t *testing.T, conf *tls.Config) farm {
	t.Helper()
	f := farm{secrets: map[string]string{"wrong": rpc.NewToken(), "peer": rpc.NewToken()}}
	var list []rpc.Token
	for _, name := range []string{"view", "submit", "approve", "administer", "worker"} {
		role, err := rpc.ParseRole(name)
		if err != nil {
			t.Fatal(err)
		}
		f.secrets[name] = rpc.NewToken()
		list = append(list, rpc.Token{Name: name, Hash: rpc.HashToken(f.secrets[name]), Role: role, Groups: []string{"team-" + name}})
	}
	tokens, err := rpc.NewTokens(list)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerOptions{Tokens: tokens, Peers: func(s string) bool { return s == f.secrets["peer"] }, Files: files(), TLS: conf, Log: slog.New(slog.DiscardHandler), Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	pb.RegisterRunServiceServer(s.GRPC(), runs{})
	pb.RegisterLogServiceServer(s.GRPC(), pb.UnimplementedLogServiceServer{})
	pb.RegisterWorkerServiceServer(s.GRPC(), pb.UnimplementedWorkerServiceServer{})
	pb.RegisterPeerServiceServer(s.GRPC(), pb.UnimplementedPeerServiceServer{})
	pb.RegisterShareServiceServer(s.GRPC(), pb.UnimplementedShareServiceServer{})
	channelz.RegisterChannelzServiceToServer(s.GRPC()) // a service whose methods carry no role
	l, err := s.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return f
}

func (f farm) dial(t *testing.T, secret string, ca []byte) *grpc.ClientConn {
	t.Helper()
	c, err := rpc.Dial(t.Context(), f.address, rpc.DialOptions{Token: secret, CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// call makes any call with an empty request and returns its code.
func call(t *testing.T, c *grpc.ClientConn, method string, m protoreflect.MethodDescriptor) codes.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: m.IsStreamingClient()}, method)
	if err != nil {
		return status.Code(err)
	}
	if err := s.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return status.Code(err)
	}
	if err := s.CloseSend(); err != nil {
		return status.Code(err)
	}
	for {
		if err := s.RecvMsg(&emptypb.Empty{}); err != nil {
			if errors.Is(err, io.EOF) {
				return codes.OK
			}
			return status.Code(err)
		}
	}
}

func TestEveryMethodWithEveryCredential(t *testing.T) {
	may := map[pb.Role][]string{
		pb.Role_ROLE_VIEW:       {"view", "submit", "approve", "administer"},
		pb.Role_ROLE_SUBMIT:     {"submit", "administer"},
		pb.Role_ROLE_APPROVE:    {"approve", "administer"},
		pb.Role_ROLE_ADMINISTER: {"administer"},
		pb.Role_ROLE_WORKER:     {"worker"},
		pb.Role_ROLE_PEER:       {"peer"},
	}
	f := start(t, nil)
	roles := rpc.Roles(files()...)
	methods := 0
	for _, credential := range []string{"none", "wrong", "peer", "worker", "view", "submit", "approve", "administer"} {
		conn := f.dial(t, f.secrets[credential], nil)
		for _, file := range files() {
			for i := range file.Services().Len() {
				for j := range file.Services().Get(i).Methods().Len() {
					m := file.Services().Get(i).Methods().Get(j)
					name := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
					methods++
					role, ok := roles[name]
					if !ok {
						t.Errorf("%s has no role", name)
					}
					want := codes.PermissionDenied
					if credential == "none" || credential == "wrong" {
						want = codes.Unauthenticated
					}
					allowed := false
					for _, c := range may[role] {
						allowed = allowed || c == credential
					}
					got := call(t, conn, name, m)
					if denied := got == codes.PermissionDenied || got == codes.Unauthenticated; allowed && denied || !allowed && got != want {
						t.Errorf("%s with %s: %s; want allowed=%t (%s)", name, credential, got, allowed, want)
					}
				}
			}
		}
	}
	if methods < 7*11 {
		t.Errorf("only %d calls", methods)
	}
}

func TestMethodsWithoutRole(t *testing.T) {
	f := start(t, nil)
	for credential, want := range map[string]codes.Code{"none": codes.Unauthenticated, "view": codes.OK, "worker": codes.OK} {
		conn := f.dial(t, f.secrets[credential], nil)
		if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Errorf("health with %s: %v", credential, err)
		}
		s, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		if _, err := s.Recv(); status.Code(err) != want {
			t.Errorf("reflection with %s: %v", credential, err)
		}
		_ = s.CloseSend()
	}
	conn := f.dial(t, f.secrets["administer"], nil)
	_, err := grpc_channelz_v1.NewChannelzClient(conn).GetServers(t.Context(), &grpc_channelz_v1.GetServersRequest{})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "nobody may call") {
		t.Errorf("a method without a role: %v", err)
	}
}

func TestHandlersSeeIdentityAndValidRequests(t *testing.T) {
	f := start(t, nil)
	c := pb.NewRunServiceClient(f.dial(t, f.secrets["view"], nil))
	res, err := c.Get(t.Context(), &pb.GetRequest{Run: "latest"})
	if err != nil || res.GetRun().GetSubmittedBy() != "view team-view" {
		t.Errorf("%v, %v", res, err)
	}
	if _, err := c.Get(t.Context(), &pb.GetRequest{}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "run: ") {
		t.Errorf("empty run: %v", err)
	}
	if _, err := c.Get(t.Context(), &pb.GetRequest{Run: "panic"}); status.Code(err) != codes.Internal {
		t.Errorf("panic: %v", err)
	}
	if _, err := c.Submit(t.Context(), &pb.SubmitRequest{}); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), `"view" has the role view; Submit needs the role submit`) {
		t.Errorf("submit as view: %v", err)
	}
	s, err := pb.NewLogServiceClient(f.dial(t, f.secrets["view"], nil)).Tail(t.Context(), &pb.TailRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("stream with a bad request: %v", err)
	}
}

// held keeps a stream open until its context is done.
type held struct {
	pb.UnimplementedLogServiceServer
	begun chan struct{}
}

func (h held) Tail(_ *pb.TailRequest, out grpc.ServerStreamingServer[pb.TailResponse]) error {
	close(h.begun)
	<-out.Context().Done()
	return out.Context().Err()
}

// logs runs a server of logs until ctx ends; done is what Run answered.
func logs(ctx context.Context, t *testing.T, h pb.LogServiceServer) (f farm, done chan error) {
	t.Helper()
	secret := rpc.NewToken()
	tokens, err := rpc.NewTokens([]rpc.Token{{Name: "a", Hash: rpc.HashToken(secret), Role: pb.Role_ROLE_VIEW}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerOptions{Tokens: tokens, Files: files(), Log: slog.New(slog.DiscardHandler), Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	pb.RegisterLogServiceServer(s.GRPC(), h)
	l, err := s.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done = make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	return farm{address: l.Addr().String(), secrets: map[string]string{"view": secret}}, done
}

func TestStreamsEndWhenTheServerStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	h := held{begun: make(chan struct{})}
	f, done := logs(ctx, t, h)
	tail, err := pb.NewLogServiceClient(f.dial(t, f.secrets["view"], nil)).Tail(t.Context(), &pb.TailRequest{Run: "x", Task: "y"})
	if err != nil {
		t.Fatal(err)
	}
	<-h.begun
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := tail.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the client sees %v", err)
	}
}

// A peer may say who called; nobody else may, and nobody can be made a peer.
func TestACallIsHandedOnWithWhoCalled(t *testing.T) {
	f := start(t, nil)
	say := func(who string) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "slipway-caller", who)
		}
	}
	as := func(name string, role pb.Role) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context {
			return rpc.Forward(rpc.WithIdentity(ctx, rpc.Identity{Name: name, Role: role, Groups: []string{"sre"}}))
		}
	}
	anna := as("anna", pb.Role_ROLE_VIEW)
	for name, c := range map[string]struct {
		token     string
		said      func(context.Context) context.Context
		code      codes.Code
		who       string
		forwarded bool
	}{
		"a peer for a viewer":            {"peer", anna, codes.OK, "anna sre", true},
		"a peer for itself may not view": {"peer", rpc.AsPeer, codes.PermissionDenied, "", false},
		"a viewer who says it is anna":   {"view", anna, codes.OK, "view team-view", false},
		"a worker who says it is anna":   {"worker", anna, codes.PermissionDenied, "", false},
		"nobody who says it is anna":     {"wrong", anna, codes.Unauthenticated, "", false},
		"a peer for a peer":              {"peer", as("mallory", pb.Role_ROLE_PEER), codes.Unauthenticated, "", false},
		"a peer for two":                 {"peer", func(ctx context.Context) context.Context { return say("{}")(anna(ctx)) }, codes.Unauthenticated, "", false},
		"a peer for nonsense":            {"peer", say("x"), codes.Unauthenticated, "", false},
	} {
		res, err := pb.NewRunServiceClient(f.dial(t, f.secrets[c.token], nil)).Get(c.said(t.Context()), &pb.GetRequest{Run: "x"})
		if status.Code(err) != c.code || res.GetRun().GetSubmittedBy() != c.who || res.GetRun().GetDirty() != c.forwarded {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
}

func TestTLS(t *testing.T) {
	conf, ca := certificate(t)
	f := start(t, conf)
	if _, err := pb.NewRunServiceClient(f.dial(t, f.secrets["view"], ca)).Get(t.Context(), &pb.GetRequest{Run: "x"}); err != nil {
		t.Errorf("with its CA: %v", err)
	}
	_, other := certificate(t)
	if _, err := pb.NewRunServiceClient(f.dial(t, f.secrets["view"], other)).Get(t.Context(), &pb.GetRequest{Run: "x"}); status.Code(err) != codes.Unavailable {
		t.Errorf("with another CA: %v", err)
	}
	if _, err := rpc.Dial(t.Context(), f.address, rpc.DialOptions{CA: []byte("x")}); err == nil {
		t.Error("a CA that is none was accepted")
	}
}

func TestPlainTextStaysOnTheMachine(t *testing.T) {
	tokens, err := rpc.NewTokens(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerOptions{Tokens: tokens, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0"} {
		if l, err := s.Listen(t.Context(), address); err == nil || !strings.Contains(err.Error(), "needs TLS") {
			t.Errorf("Listen(%s): %v, %v", address, l, err)
		}
	}
	l, err := s.Listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	// An address that is not loopback is dialed with TLS, whatever the caller gave.
	c, err := rpc.Dial(t.Context(), "192.0.2.1:1", rpc.DialOptions{Token: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := rpc.Dial(t.Context(), "nonsense", rpc.DialOptions{}); err == nil {
		t.Error("an address without port was accepted")
	}
}

func TestTokens(t *testing.T) {
	secret := rpc.NewToken()
	if secret == rpc.NewToken() || len(secret) < 40 {
		t.Errorf("token %q", secret)
	}
	_, err := rpc.NewTokens([]rpc.Token{
		{Name: "a", Hash: secret, Role: pb.Role_ROLE_VIEW},
		{Name: "", Hash: rpc.HashToken("b"), Role: pb.Role_ROLE_VIEW},
		{Name: "c", Hash: rpc.HashToken("b")},
	})
	for _, want := range []string{`token "a": expected its hash`, "token 2: the name", `token "c": it has no role`, "same hash"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Error("the error shows a secret")
	}
	tokens, err := rpc.NewTokens([]rpc.Token{{Name: "a", Hash: rpc.HashToken(secret), Role: pb.Role_ROLE_VIEW}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", "x", secret + "x", strings.ToUpper(secret)} {
		if _, ok := tokens.Identify(s); ok {
			t.Errorf("Identify(%q) found somebody", s)
		}
	}
	if who, ok := tokens.Identify(secret); !ok || who.Name != "a" {
		t.Errorf("%v, %t", who, ok)
	}
	for _, name := range []string{"", "VIEW", "unspecified", "root", "peer"} {
		if r, err := rpc.ParseRole(name); err == nil {
			t.Errorf("ParseRole(%q) = %v", name, r)
		}
	}
}

func certificate(t *testing.T) (*tls.Config, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
