package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// tagged is the digest of a new image, whatever is in it, that a tag means from now on.
func tagged(t *testing.T, tag string) string {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Error(err)
		return ""
	}
	ref, err := name.ParseReference(tag)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	d, err := img.Digest()
	if err != nil {
		t.Error(err)
	}
	return d.String()
}

// TestABaseImageThatMoves: what stands on its tag is built again, from the digest that was found, and
// the plan says so.
func TestABaseImageThatMoves(t *testing.T) {
	f := start(t)
	f.stop()
	f.bases = true
	f.run(t)
	base := f.images + "/base:1"
	moved := func() string { return tagged(t, base) }
	var mu sync.Mutex
	builtFrom := map[string]string{} // by run, of api
	stop := f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		if l.Grant.GetTaskId() == "build/api" {
			mu.Lock()
			builtFrom[l.Grant.GetRun()] = l.Grant.GetBuild().GetBases()[base]
			mu.Unlock()
		}
		return good(ctx, l)
	})
	defer stop()
	write(t, f.repo, "services/api/Dockerfile", "FROM "+base+"\nCOPY services/api /\n")
	git(t, f.repo, "commit", "-qam", "On a base")

	first := moved()
	one := f.submit(t, "one")
	f.end(t, one.GetId())
	second := moved()
	two := f.end(t, f.submit(t, "two").GetId())
	mu.Lock()
	defer mu.Unlock()
	if builtFrom[one.GetId()] != first || builtFrom[two.GetId()] != second {
		t.Errorf("built from %v, want %s and then %s", builtFrom, first, second)
	}
	for _, task := range two.GetTasks() {
		if task.GetId() == "build/api" && !strings.Contains(task.GetReason(), base+" is another image now: "+second[7:19]+", not "+first[7:19]) {
			t.Errorf("it is built because %q", task.GetReason())
		}
	}
}
