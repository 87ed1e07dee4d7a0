package rpc_test

import (
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/slipway-build/slipway/internal/rpc"
)

// TestAServerThatIsAwayIsTriedAgain: often enough that one that comes back is found soon.
// The eighth try would come after three quarters of a minute if gRPC had its way.
func TestAServerThatIsAwayIsTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tries := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
			tries <- struct{}{}
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	c, err := rpc.Dial(t.Context(), l.Addr().String(), rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	called := make(chan error, 1)
	go func() {
		_, err := grpc_health_v1.NewHealthClient(c).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		called <- err
	}()
	late := time.After(30 * time.Second)
	for i := range 8 {
		select {
		case <-tries:
		case err := <-called:
			t.Fatalf("the call ended: %v", err)
		case <-late:
			t.Fatalf("%d tries", i)
		}
	}
}
