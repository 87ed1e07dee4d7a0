package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/server"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// told is a long log.
func told() []byte {
	var b []byte
	for i := range 60_000 {
		b = fmt.Appendf(b, "line %d of a build that says a lot, again and again\n", i)
	}
	return b
}

// talks is a farm whose build of api says a lot, and whose build of web waits.
func talks(t *testing.T, moves time.Duration) (f *farm, goOn func()) {
	t.Helper()
	f = start(t)
	f.stop()
	f.moves, f.ttl = moves, 10*time.Second // longer than any pause of a busy machine: the first attempt is the only one
	f.run(t)
	release := make(chan struct{})
	t.Cleanup(f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		switch l.Grant.GetTaskId() {
		case "build/web":
			select {
			case <-release:
			case <-ctx.Done():
			}
		case "build/api":
			l.Started()
			if _, err := l.Write(told()); err != nil {
				t.Error(err)
			}
			return &pb.Completion{Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Result: &pb.Result{Image: "registry/api@" + digest("api")}}
		}
		return good(ctx, l)
	}))
	return f, func() { close(release) }
}

// purged waits until the stream holds no log.
func (f *farm) purged(t *testing.T) {
	t.Helper()
	s, err := f.nats.JetStream(t).Stream(t.Context(), "SLIPWAY_LOGS")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the stream still holds %v", info.State.Subjects)
		}
	}
}

// rest reads a log to its end, on from an offset.
func rest(t *testing.T, in interface {
	Recv() (*pb.TailResponse, error)
}, offset int64) []byte {
	t.Helper()
	var got []byte
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		if m.GetOffset() != offset+int64(len(got)) {
			t.Fatalf("offset %d after %d bytes from %d", m.GetOffset(), len(got), offset)
		}
		got = append(got, m.GetData()...)
	}
}

// TestLogsAreReadFromTheirArchive: whole and by range, by a reader that comes later, and by one
// that was in the middle of the stream when it was purged.
func TestLogsAreReadFromTheirArchive(t *testing.T) {
	f, goOn := talks(t, 50*time.Millisecond)
	id, want := f.submit(t, "k1").GetId(), told()
	logs := pb.NewLogServiceClient(f.dial(t, f.admin))
	slow, err := logs.Tail(t.Context(), &pb.TailRequest{Run: id, Task: "build/api", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	first, err := slow.Recv()
	if err != nil {
		t.Fatal(err)
	}
	goOn()
	f.end(t, id)
	f.purged(t)
	if got := append(first.GetData(), rest(t, slow, int64(len(first.GetData())))...); !bytes.Equal(got, want) {
		t.Errorf("the reader that was overtaken has %d bytes, want %d", len(got), len(want))
	}
	for range 2 { // and the next coordinator
		f.ranges(t, logs, id, want)
		f.stop()
		f.run(t)
		logs = pb.NewLogServiceClient(f.dial(t, f.admin))
	}
}

// ranges asks for parts of the log of build/api, which is want.
func (f *farm) ranges(t *testing.T, logs pb.LogServiceClient, id string, want []byte) {
	t.Helper()
	s, err := logs.Stat(t.Context(), &pb.StatRequest{Run: id, Task: "build/api"})
	if err != nil || s.GetSize() != int64(len(want)) || !s.GetEnded() || s.GetAttempt() != 1 {
		t.Fatalf("stat: %v, %v, want %d bytes", s, err, len(want))
	}
	for _, r := range [][2]int{{0, 0}, {0, 1}, {2_500_000, 17}, {len(want) - 3, 1000}, {len(want), 1}, {len(want) + 1, 1}} {
		in, err := logs.Tail(t.Context(), &pb.TailRequest{Run: id, Task: "build/api", Attempt: 1, Offset: int64(r[0]), Bytes: int64(r[1])})
		if err != nil {
			t.Fatal(err)
		}
		slice := want[min(r[0], len(want)):]
		if r[1] > 0 {
			slice = slice[:min(r[1], len(slice))]
		}
		if got := rest(t, in, int64(r[0])); !bytes.Equal(got, slice) {
			t.Errorf("%d bytes from %d: %d, want %d", r[1], r[0], len(got), len(slice))
		}
	}
}

// TestARangeOfALogThatIsWritten: of an attempt that goes on, as of one that has ended.
func TestARangeOfALogThatIsWritten(t *testing.T) {
	f, goOn := talks(t, time.Hour)
	id, want := f.submit(t, "k1").GetId(), told()
	logs := pb.NewLogServiceClient(f.dial(t, f.admin))
	follow, err := logs.Tail(t.Context(), &pb.TailRequest{Run: id, Task: "build/api", Attempt: 1, Follow: true, Offset: 1_000_000, Bytes: 500_000})
	if err != nil {
		t.Fatal(err)
	}
	if got := rest(t, follow, 1_000_000); !bytes.Equal(got, want[1_000_000:1_500_000]) {
		t.Errorf("%d bytes of a range that is followed", len(got))
	}
	all, err := logs.Tail(t.Context(), &pb.TailRequest{Run: id, Task: "build/api", Attempt: 1, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := rest(t, all, 0); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	f.ranges(t, logs, id, want)
	goOn()
	f.end(t, id)
	f.ranges(t, logs, id, want)
}

func TestAStreamThatIsNearlyFullIsSaidToBe(t *testing.T) {
	for _, c := range []struct {
		used, limit int64
		want        bool
	}{{0, 8 << 30, false}, {6 << 30, 8 << 30, false}, {7 << 30, 8 << 30, true}, {9 << 30, 8 << 30, true}, {1 << 40, -1, false}} {
		if got := server.Nearly(c.used, c.limit); got != c.want {
			t.Errorf("%d of %d: %t", c.used, c.limit, got)
		}
	}
}
