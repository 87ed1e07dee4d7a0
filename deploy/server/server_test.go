package server_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/slipway-build/slipway/deploy/config"
	"github.com/slipway-build/slipway/deploy/server"
	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door welcomes sessions and tells who came.
type door struct {
	pb.UnimplementedWorkerServiceServer
	hellos chan *pb.Hello
}

func (d *door) Session(s grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	m, err := s.Recv()
	if err != nil {
		return err
	}
	if err := s.Send(&pb.SessionResponse{Welcome: &pb.Welcome{Ttl: durationpb.New(time.Minute)}}); err != nil {
		return err
	}
	d.hellos <- m.GetHello()
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
}

// farm serves the door with real credentials and answers its address and a worker's token.
func farm(t *testing.T) (d *door, address, token string) {
	t.Helper()
	token = rpc.NewToken()
	tokens, err := rpc.NewTokens([]rpc.Token{{Name: "deployer", Hash: rpc.HashToken(token), Role: pb.Role_ROLE_WORKER}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerOptions{
		Tokens: tokens, Files: []protoreflect.FileDescriptor{pb.File_slipway_v1_worker_proto},
		Log: slog.New(slog.DiscardHandler), Grace: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	d = &door{hellos: make(chan *pb.Hello, 10)}
	pb.RegisterWorkerServiceServer(s.GRPC(), d)
	l, err := s.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() { stop(); <-done })
	return d, l.Addr().String(), token
}

func configure(t *testing.T, address, token string) config.Config {
	t.Helper()
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["c"] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:1"}
	kubeconfig.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	kubeconfig.CurrentContext = "c"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		t.Fatal(err)
	}
	c, err := config.Config{
		Name: "middle", Coordinator: config.Coordinator{Address: address, Token: token}, Slots: 3,
		Clusters: map[string]config.Cluster{"prod-eu": {Kubeconfig: path}},
	}.Complete()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A dead cluster does not keep the deployer from serving the others, so it starts without dialing any.
func TestServesItsClusters(t *testing.T) {
	d, address, token := farm(t)
	cfg := configure(t, address, token)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTP = &daemon.HTTP{Address: free.Addr().String(), Token: "scrape"}
	_ = free.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.New(cfg, slog.New(slog.DiscardHandler)).Run(ctx) }()

	hello := <-d.hellos
	capacity := hello.GetCapacity()
	if hello.GetName() != "middle" || !hello.GetOffers() || len(capacity) != 1 ||
		capacity[0].GetCapability() != "deploy_prod-eu" || capacity[0].GetSlots() != 3 {
		t.Errorf("hello is %v", hello)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{"/healthz": "ok", "/metrics": `slipway_build_info{program="slipway-deployer"`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cfg.HTTP.Address+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer scrape")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s answered %q, %v", path, body, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRefused(t *testing.T) {
	_, address, token := farm(t)
	log := slog.New(slog.DiscardHandler)
	err := server.New(configure(t, address, rpc.NewToken()), log).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the coordinator refused the session") {
		t.Errorf("a wrong token: %v", err)
	}
	cfg := configure(t, address, token)
	cfg.Clusters["gone"] = config.Cluster{Kubeconfig: "/nowhere/kubeconfig"}
	err = server.New(cfg, log).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), `cluster "gone": kubeconfig: open /nowhere/kubeconfig`) {
		t.Errorf("a missing kubeconfig: %v", err)
	}
}
