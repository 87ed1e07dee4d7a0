package client_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

// logs are those of one task's attempts, over a connection that breaks.
type logs struct {
	pb.LogServiceClient
	attempts [][]byte
	breaks   func() bool
}

type stream struct {
	grpc.ServerStreamingClient[pb.TailResponse]
	answers []*pb.TailResponse
	breaks  func() bool
}

func (s *stream) Recv() (*pb.TailResponse, error) {
	if s.breaks() {
		return nil, status.Error(codes.Unavailable, "the coordinator is being replaced")
	}
	if len(s.answers) == 0 {
		return nil, io.EOF
	}
	m := s.answers[0]
	s.answers = s.answers[1:]
	return m, nil
}

func (l *logs) Tail(_ context.Context, req *pb.TailRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[pb.TailResponse], error) {
	s := &stream{breaks: l.breaks}
	first, last := int(req.GetAttempt()), int(req.GetAttempt())
	if first == 0 {
		first, last = len(l.attempts), len(l.attempts)
		if req.GetFollow() {
			first = 1 // it was the last when it was asked for
		}
	}
	for n := first; n <= last; n++ {
		log := l.attempts[n-1]
		end := len(log)
		if b := int(req.GetBytes()); b > 0 {
			end = min(end, int(req.GetOffset())+b)
		}
		for at := int(req.GetOffset()); at < end; at += 10 {
			s.answers = append(s.answers, &pb.TailResponse{Attempt: int32(n), Offset: int64(at), Data: log[at:min(at+10, end)]})
		}
	}
	return s, nil
}

// TestALogIsReadOnceOverBrokenConnections: whole, a range of it, and from an offset on with the
// attempts behind it.
func TestALogIsReadOnceOverBrokenConnections(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := func(label string) int { return rapid.SampledFrom([]int{0, 1, 10, 95}).Draw(rt, label) }
		l := &logs{attempts: [][]byte{noise('a', size("first")), noise('A', size("second"))}}
		l.breaks = func() bool { return rapid.IntRange(0, 4).Draw(rt, "breaks") == 0 }
		c := &client.Client{Logs: l}
		from := rapid.IntRange(0, len(l.attempts[0])).Draw(rt, "from")
		n := rapid.IntRange(1, 100).Draw(rt, "bytes")
		type yield = func(int32, []byte) error
		one, both := string(l.attempts[0]), string(l.attempts[0])+string(l.attempts[1])
		for _, c := range []struct {
			what, want string
			read       func(ctx context.Context, each yield) error
		}{
			{"a range", one[from:min(len(one), from+n)], func(ctx context.Context, each yield) error {
				return c.Tail(ctx, &pb.TailRequest{Attempt: 1, Offset: int64(from), Bytes: int64(n)}, each)
			}},
			{"from on", one[from:], func(ctx context.Context, each yield) error {
				return c.TailFrom(ctx, &pb.TailRequest{}, 1, int64(from), each)
			}},
			{"from on, and what follows", both[from:], func(ctx context.Context, each yield) error {
				return c.TailFrom(ctx, &pb.TailRequest{Follow: true}, 1, int64(from), each)
			}},
			{"all", both, func(ctx context.Context, each yield) error { return c.Tail(ctx, &pb.TailRequest{Follow: true}, each) }},
		} {
			got := ""
			var err error
			synctest.Test(t, func(t *testing.T) {
				err = c.read(t.Context(), func(_ int32, data []byte) error { got += string(data); return nil })
			})
			if err != nil || got != c.want {
				rt.Fatalf("%s: %q, %v, want %q", c.what, got, err, c.want)
			}
		}
	})
}

func noise(first byte, n int) []byte {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, "%c", first+byte(i%26))
	}
	return b
}
