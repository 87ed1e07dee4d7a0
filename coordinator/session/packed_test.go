package session_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/logblock"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestPackedLogs are stored, and one that says another size than it has ends the session: what comes behind it
// would be elsewhere.
func TestPackedLogs(t *testing.T) {
	f := newFarm(t, 1)

	text := strings.Repeat("ok  example.com/shop/cart 0.031s\n", 5_000)
	var packer logblock.Packer
	b := packer.Pack([]byte(text))
	if b.Packed == 0 {
		t.Fatal("the text is not packed")
	}
	p := f.connect("w", nil)
	ref := p.lease(f.tokens[0])
	p.writes(ref, 0, "first\n")
	p.send(&pb.SessionRequest{Logs: []*pb.LogChunk{{Lease: ref, Offset: 6, Data: b.Data, Packed: int64(b.Packed)}}})
	size := int64(6 + len(text))
	p.logged(ref, size)
	if got := f.log(ref, size); got != "first\n"+text {
		t.Errorf("the log has %d bytes of %d, or others", len(got), size)
	}
	p.send(&pb.SessionRequest{Logs: []*pb.LogChunk{{Lease: ref, Offset: size, Data: b.Data, Packed: int64(b.Packed) + 1}}})
	if err := <-p.ended; status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), ref.GetToken()) {
		t.Errorf("a block of another size is answered %v", err)
	}
}

// TestLogsAreNotPackedWhileSomebodyCannotUnpackThem: a coordinator of an earlier version may have to archive them.
func TestLogsAreNotPackedWhileSomebodyCannotUnpackThem(t *testing.T) {
	f := newFarm(t, 1)
	for _, all := range []bool{true, false, true} {
		f.unpack.Store(all)
		w := f.connect("w", nil).until("welcome", func(m *pb.SessionResponse) bool { return m.GetWelcome() != nil }).GetWelcome()
		if w.GetPacked() != all {
			t.Errorf("all can unpack: %v; the worker is told %v", all, w.GetPacked())
		}
	}
}
