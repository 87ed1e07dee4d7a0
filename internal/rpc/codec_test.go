package rpc_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"

	"google.golang.org/grpc"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// many answers messages of many sizes, again and again.
type many struct {
	pb.UnimplementedLogServiceServer
	sizes []int
}

func filled(i, n int) []byte { return bytes.Repeat([]byte{byte(i%250 + 1)}, n) }

func (m many) Tail(_ *pb.TailRequest, out grpc.ServerStreamingServer[pb.TailResponse]) error {
	for i, n := range m.sizes {
		if err := out.Send(&pb.TailResponse{Offset: int64(i), Data: filled(i, n)}); err != nil {
			return err
		}
	}
	return nil
}

// TestMessagesOfAnySize arrive as they were sent, whichever buffers they were encoded into.
func TestMessagesOfAnySize(t *testing.T) {
	sizes := []int{0, 1, 1000, 32<<10 - 20, 32 << 10, 33 << 10, 64<<10 - 8, 64 << 10, 200_000, 1 << 20, 3 << 20}
	for range 3 {
		sizes = append(sizes, sizes...)
	}
	f, _ := logs(t.Context(), t, many{sizes: sizes})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			s, err := pb.NewLogServiceClient(f.dial(t, f.secrets["view"], nil)).Tail(t.Context(), &pb.TailRequest{Run: "x", Task: "y"})
			if err != nil {
				t.Error(err)
				return
			}
			n := 0
			for {
				res, err := s.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
				if res.GetOffset() != int64(n) || !bytes.Equal(res.GetData(), filled(n, sizes[n])) {
					t.Errorf("message %d of %d bytes is something else", n, sizes[n])
				}
				n++
			}
			if n != len(sizes) {
				t.Errorf("%d messages of %d", n, len(sizes))
			}
		})
	}
	readers.Wait()
}
