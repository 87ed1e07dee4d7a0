package session

import (
	"testing"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func unsettled() *stream {
	return &stream{
		out: &pb.SessionResponse{}, wake: make(chan struct{}, 1), tasks: map[string]held{}, doubt: map[string]*doubt{},
		strange: map[string]*doubt{}, owed: map[string]int64{}, ending: map[string]*pb.Completion{},
	}
}

func lease(token string) *pb.LeaseRef {
	return &pb.LeaseRef{Token: token, Attempt: 1, Fence: &pb.Fence{Epoch: 1, Counter: 2}}
}

// rewinds that the worker is told of since the last call.
func (st *stream) rewinds() (n int) {
	for _, a := range st.out.GetLogAcks() {
		if a.GetRewind() {
			n++
		}
	}
	st.out = &pb.SessionResponse{}
	return n
}

// TestALeaseInDoubtIsConfirmedByAHeartbeat: its owner was not sure either when the session began, and
// is now. Until then nothing of it is taken; after that all of it comes again, in order.
func TestALeaseInDoubtIsConfirmedByAHeartbeat(t *testing.T) {
	st := unsettled()
	a, b, stranger := lease("a"), lease("b"), lease("c")
	for _, ref := range []*pb.LeaseRef{a, b} {
		st.doubt[ref.GetToken()] = &doubt{ref: ref}
	}
	beat := func(sequence uint64, unsure ...*pb.LeaseRef) {
		st.beat = &beat{sequence: sequence, waiting: map[string][]*pb.LeaseRef{"owner": {a, b, stranger}}}
		st.beaten(sequence, "owner", unsure)
	}
	if st.takes(a, 100) || st.takes(a, 200) || st.takes(stranger, 0) || !st.missed(b) {
		t.Fatal("something of a lease in doubt is taken")
	}
	beat(1, a, b, stranger)
	if n := st.rewinds(); n != 0 || st.takes(a, 300) {
		t.Fatalf("while the owner is unsure: %d rewinds", n)
	}
	beat(2, b)
	if n := st.rewinds(); n != 2 {
		t.Errorf("%d rewinds, want those of the two that are confirmed", n)
	}
	// What was on its way comes too early: before it there is something that was not taken.
	if st.takes(a, 300) || !st.missed(a) || st.takes(stranger, 50) {
		t.Error("what comes behind a piece that was not taken is taken")
	}
	if !st.takes(a, 100) || !st.takes(a, 200) || st.missed(a) || !st.takes(stranger, 0) {
		t.Error("what comes again is not taken")
	}
	if st.takes(b, 0) {
		t.Error("of the third, which is in doubt, something is taken")
	}
	beat(3)
	if n := st.rewinds(); n != 1 || !st.takes(b, 0) {
		t.Errorf("the third, confirmed: %d rewinds", n)
	}
	beat(4)
	if n := st.rewinds(); n != 0 {
		t.Errorf("%d rewinds of what is not in doubt", n)
	}
}
