package rpc_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// named answers Get with its own name.
type named struct {
	pb.UnimplementedRunServiceServer
	name string
}

func (n named) Get(context.Context, *pb.GetRequest) (*pb.GetResponse, error) {
	return &pb.GetResponse{Run: &pb.Run{Id: n.name}}, nil
}

// TestOneOfSeveralAddresses is used as long as it is there, then another.
func TestOneOfSeveralAddresses(t *testing.T) {
	servers := map[string]*grpc.Server{}
	var addresses []string
	for _, name := range []string{"a", "b", "c"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		pb.RegisterRunServiceServer(s, named{name: name})
		go func() { _ = s.Serve(l) }()
		t.Cleanup(s.Stop)
		servers[name] = s
		addresses = append(addresses, l.Addr().String())
	}
	conn, err := rpc.Dial(t.Context(), strings.Join(addresses, ","), rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	get := func() string {
		t.Helper()
		for { // a call may be cut off together with its server
			res, err := pb.NewRunServiceClient(conn).Get(t.Context(), &pb.GetRequest{Run: "x"})
			if err == nil {
				return res.GetRun().GetId()
			}
			if status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
		}
	}
	for len(servers) > 0 {
		who := get()
		if again := get(); again != who {
			t.Errorf("%s and %s answer in turn", who, again)
		}
		if servers[who] == nil {
			t.Fatalf("%s answers, and was stopped", who)
		}
		servers[who].Stop()
		delete(servers, who)
	}
	if _, err := rpc.Dial(t.Context(), addresses[0]+",nonsense", rpc.DialOptions{}); err == nil {
		t.Error("an address without port was accepted among others")
	}
}
