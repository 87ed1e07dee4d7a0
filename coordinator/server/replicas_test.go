package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// beside starts another coordinator of the same farm.
func (f *farm) beside(t *testing.T) *farm {
	t.Helper()
	o := *f
	o.dir = t.TempDir()
	write(t, o.dir, "targets.yaml", targetsFile)
	o.run(t)
	t.Cleanup(func() { o.stop() })
	return &o
}

// owners waits until every partition is somebody's, and nobody has more than its share.
func (f *farm) owners(t *testing.T, coordinators int) map[string]string {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("partitions are not shared")
		}
		kv, err := f.nats.JetStream(t).KeyValue(t.Context(), "SLIPWAY_OWNERS")
		if err != nil {
			t.Fatal(err)
		}
		out, held, there := map[string]string{}, map[string]int{}, 0
		keys, err := kv.Keys(t.Context())
		if err != nil {
			continue
		}
		for _, k := range keys {
			e, err := kv.Get(t.Context(), k)
			if err != nil {
				continue
			}
			var r struct{ ID, Address string }
			if err := json.Unmarshal(e.Value(), &r); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(k, "replica.") {
				there++
				continue
			}
			out[k] = r.Address
			held[r.Address]++
		}
		most := 0
		for _, n := range held {
			most = max(most, n)
		}
		if there == coordinators && len(out) == 2 && most <= (2+coordinators-1)/coordinators {
			return out
		}
	}
}

// follow waits for the end of a run, whoever owns it by then.
func (f *farm) follow(t *testing.T, id string) *pb.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		w, err := f.runs.Watch(ctx, &pb.WatchRequest{Run: id})
		for err == nil {
			_, err = w.Recv()
		}
		if ctx.Err() != nil {
			t.Fatal("the run does not end")
		}
		g, err := f.runs.Get(ctx, &pb.GetRequest{Run: id})
		switch {
		case status.Code(err) == codes.Unavailable:
		case err != nil:
			t.Fatal(err)
		case g.GetRun().GetFinishedAt() != nil:
			return g.GetRun()
		}
	}
}

func TestEveryCoordinatorAnswersForAll(t *testing.T) {
	a := start(t)
	b, c := a.beside(t), a.beside(t)
	a.owners(t, 3)
	defer c.work(t, good)() // owns nothing: there are two partitions
	var ids []string
	for i, f := range []*farm{a, b, c} {
		r := f.follow(t, f.submit(t, fmt.Sprint("k", i)).GetId())
		if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("run is %s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
		}
		ids = append(ids, r.GetId())
	}
	for i, f := range []*farm{a, b, c} {
		if again := f.submit(t, "k0"); again.GetId() != ids[0] {
			t.Errorf("coordinator %d: the same key began another run: %s and %s", i, again.GetId(), ids[0])
		}
		list, err := f.runs.List(t.Context(), &pb.ListRequest{})
		for err == nil && list.GetStale() { // somebody was not seen for a moment
			list, err = f.runs.List(t.Context(), &pb.ListRequest{})
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range list.GetRuns() {
			got = append([]string{r.GetId()}, got...)
		}
		if strings.Join(got, " ") != strings.Join(ids, " ") {
			t.Errorf("coordinator %d lists %v, want %v", i, got, ids)
		}
		latest, err := f.runs.Get(t.Context(), &pb.GetRequest{Run: "latest"})
		if err != nil || latest.GetRun().GetId() != ids[2] {
			t.Errorf("coordinator %d: latest is %s, %v; want %s", i, latest.GetRun().GetId(), err, ids[2])
		}
		if _, err := f.runs.Get(t.Context(), &pb.GetRequest{Run: "shop-99"}); status.Code(err) != codes.NotFound {
			t.Errorf("coordinator %d: a run that is not there: %v", i, err)
		}
		if _, err := f.runs.Cancel(t.Context(), &pb.CancelRequest{Run: ids[0]}); err != nil {
			t.Errorf("coordinator %d: cancel a run that has ended: %v", i, err)
		}
		logs := pb.NewLogServiceClient(f.dial(t, f.admin))
		for bytes, want := range map[int64]string{0: "says hello\n", 4: "says"} {
			in, err := logs.Tail(t.Context(), &pb.TailRequest{Run: ids[0], Task: "build/api", Attempt: 1, Offset: 10, Bytes: bytes})
			if err != nil {
				t.Fatal(err)
			}
			if got := rest(t, in, 10); string(got) != want {
				t.Errorf("coordinator %d: %d bytes of the log: %q", i, bytes, got)
			}
		}
		if s, err := logs.Stat(t.Context(), &pb.StatRequest{Run: ids[0], Task: "build/api"}); err != nil || s.GetSize() != 21 || !s.GetEnded() {
			t.Errorf("coordinator %d: stat of the log: %v, %v", i, s, err)
		}
	}
}

// An owner is stopped while a worker builds. The build goes on, its end is taken by the
// owner after it, and nothing is carried out twice.
func TestARunGoesOnWhenItsOwnerLeaves(t *testing.T) {
	a := start(t)
	a.stop()
	a.ttl = 5 * time.Second // longer than any pause of a busy machine: a lost lease would be tried again
	a.run(t)
	b, c := a.beside(t), a.beside(t)
	owners := a.owners(t, 3)
	begun, goOn := make(chan struct{}), make(chan struct{})
	attempts := make(chan string, 100)
	defer c.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		attempts <- l.Grant.GetTaskId()
		if l.Grant.GetTaskId() == "build/api" {
			l.Started()
			fmt.Fprintln(l, "before")
			close(begun)
			select {
			case <-goOn:
			case <-ctx.Done():
				return &pb.Completion{Outcome: pb.Outcome_OUTCOME_ERRORED, Message: context.Cause(ctx).Error()}
			}
			fmt.Fprintln(l, "after")
		}
		return good(ctx, l)
	})()
	id := c.submit(t, "k").GetId()
	<-begun
	// Whoever owns the run's partition: stop that one, then the other.
	home := owners["partition."+homeOf(t, c, "shop")]
	for _, f := range []*farm{a, b} {
		if f.address == home {
			f.stop()
		}
	}
	close(goOn)
	r := c.follow(t, id)
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("run is %s: %s\n%s", r.GetState(), r.GetMessage(), states(r))
	}
	seen := map[string]bool{}
	for len(attempts) > 0 {
		task := <-attempts
		if seen[task] {
			t.Errorf("%s was carried out twice", task)
		}
		seen[task] = true
	}
	log, err := pb.NewLogServiceClient(c.dial(t, c.admin)).Tail(t.Context(), &pb.TailRequest{Run: id, Task: "build/api"})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for {
		m, err := log.Recv()
		if err != nil {
			break
		}
		text.Write(m.GetData())
	}
	if text.String() != "before\nafter\nbuild/api says hello\n" {
		t.Errorf("log: %q", text.String())
	}
}

// A coordinator that loses a partition and lives tells those who follow its runs: they would
// hear nothing more.
func TestFollowersOfALostPartitionAreTold(t *testing.T) {
	f := start(t)
	id := f.submit(t, "k").GetId() // nobody carries it out
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch, err := f.runs.Watch(ctx, &pb.WatchRequest{Run: id})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watch.Recv(); err != nil || m.GetSnapshot() == nil {
		t.Fatalf("first answer: %v, %v", m, err)
	}
	ended := make(chan error, 2)
	hear := func(recv func() error) {
		for {
			if err := recv(); err != nil {
				ended <- err
				return
			}
		}
	}
	go hear(func() error { _, err := watch.Recv(); return err }) // both end below, or with ctx
	log, err := pb.NewLogServiceClient(f.dial(t, f.admin)).Tail(ctx, &pb.TailRequest{Run: id, Task: "build/api", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	go hear(func() error { _, err := log.Recv(); return err })
	kv, err := f.nats.JetStream(t).KeyValue(ctx, "SLIPWAY_OWNERS")
	if err == nil {
		err = kv.Delete(ctx, "partition."+homeOf(t, f, "shop"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "another coordinator has it") {
			t.Errorf("a follower was told %v, want UNAVAILABLE", err)
		}
	}
}

func homeOf(t *testing.T, f *farm, project string) string {
	t.Helper()
	kv, err := f.nats.JetStream(t).KeyValue(t.Context(), "SLIPWAY_HOMES")
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value())
}
