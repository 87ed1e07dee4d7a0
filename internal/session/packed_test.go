package session_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestLogsArePackedForCoordinatorsThatTakeThem, and sent as they are to others.
func TestLogsArePackedForCoordinatorsThatTakeThem(t *testing.T) {
	want := strings.Repeat("ok  example.com/shop/cart 0.031s\n", 40_000)
	for _, packed := range []bool{true, false} {
		c := newCoordinator(t)
		w := run(t, c, nil)
		n := c.accept(t)
		n.send(&pb.SessionResponse{Welcome: &pb.Welcome{Ttl: durationpb.New(ttl), Packed: packed}})
		a := begin(t, w, n, "a")
		if _, err := a.lease.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		a.finish <- pb.Outcome_OUTCOME_SUCCEEDED
		n.completion("a")
		if n.log("a", 0) != want {
			t.Errorf("packed %v: the log is another", packed)
		}
		sent := 0
		n.until("its chunks", func(frames []*pb.SessionRequest) bool {
			for _, m := range frames {
				for _, l := range m.GetLogs() {
					sent += len(l.GetData())
				}
			}
			return true
		})
		if packed != (sent < len(want)/5) || !packed && sent != len(want) {
			t.Errorf("packed %v: %d bytes were sent of %d", packed, sent, len(want))
		}
		n.send(&pb.SessionResponse{CompletionAcks: []*pb.CompletionAck{{Lease: ref("a", 1)}}})
		finished(t, w)
	}
}
