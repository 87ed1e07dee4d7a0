package server_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// withRedis is a farm with a Redis behind a password.
func withRedis(t *testing.T) (*farm, *miniredis.Miniredis) {
	t.Helper()
	r := miniredis.RunT(t)
	r.RequireAuth("sesame")
	dir := t.TempDir()
	write(t, dir, "password", "sesame\n")
	return startWith(t, config.Redis{Address: r.Addr(), PasswordFile: filepath.Join(dir, "password")}), r
}

// listed waits for a list of so many runs that does or does not come from the read model.
func (f *farm) listed(t *testing.T, n int, stale bool) *pb.ListResponse {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		res, err := f.runs.List(t.Context(), &pb.ListRequest{Project: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.GetRuns()) == n && res.GetStale() == stale {
			if res.GetAsOf() == nil {
				t.Error("the list does not say of when it is")
			}
			return res
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after 20 s the list has %d runs (stale %v), want %d (stale %v)", len(res.GetRuns()), res.GetStale(), n, stale)
		}
	}
}

// pushed is the digest of an image that is in the registry.
func pushed(t *testing.T, repository string) string {
	t.Helper()
	ref, err := name.NewTag(repository + ":test")
	if err == nil {
		err = remote.Write(ref, empty.Image)
	}
	if err != nil {
		t.Errorf("push: %v", err)
	}
	d, err := empty.Image.Digest()
	if err != nil {
		t.Errorf("push: %v", err)
	}
	return d.String()
}

func TestAFlushOfRedisChangesNoAnswerAndBuildsNothing(t *testing.T) {
	f, r := withRedis(t)
	var builds atomic.Int32
	defer f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		c := good(ctx, l)
		if b := l.Grant.GetBuild(); b != nil { // what is reused must be there
			builds.Add(1)
			c.Result.Image = b.GetPush() + "@" + pushed(t, b.GetPush())
		}
		return c
	})()
	first := f.end(t, f.submit(t, "k1").GetId())
	if first.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("run is %s: %s", first.GetState(), first.GetMessage())
	}
	if got := f.listed(t, 1, true).GetRuns()[0].GetId(); got != first.GetId() {
		t.Errorf("the list shows %s, want %s", got, first.GetId())
	}
	built := builds.Load()
	r.FlushAll()
	if res, err := f.runs.List(t.Context(), &pb.ListRequest{}); err != nil || len(res.GetRuns()) != 1 || res.GetRuns()[0].GetId() != first.GetId() {
		t.Errorf("list after the flush: %v, %v", res, err)
	}
	second := f.end(t, f.submit(t, "k2").GetId())
	if second.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("run is %s: %s", second.GetState(), second.GetMessage())
	}
	if n := builds.Load() - built; n != 0 {
		t.Errorf("%d services were built again", n)
	}
	if got := f.listed(t, 2, true).GetRuns(); got[0].GetId() != second.GetId() || got[1].GetId() != first.GetId() {
		t.Errorf("the list is not newest first: %v", got)
	}
	r.Close()
	f.listed(t, 2, false)
}

func TestWithoutRedisListsAreStrict(t *testing.T) {
	f := start(t)
	f.submit(t, "k1")
	if res, err := f.runs.List(t.Context(), &pb.ListRequest{}); err != nil || len(res.GetRuns()) != 1 || res.GetStale() || res.GetAsOf() == nil {
		t.Errorf("list: %v, %v", res, err)
	}
}
