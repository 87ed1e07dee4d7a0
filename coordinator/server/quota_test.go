package server_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestAQuotaHoldsAndIsExplained: of a team that may have one task running no two ever do,
// whatever slots are free; the other is said to wait for the quota, and all go on in turn.
func TestAQuotaHoldsAndIsExplained(t *testing.T) {
	f := start(t)
	write(t, f.repo, "slipway.yaml", strings.ReplaceAll(pipelineFile, "    path: services/", "    owner: core\n    path: services/"))
	git(t, f.repo, "commit", "-q", "-a", "-m", "owners")
	write(t, f.dir, "targets.yaml", targetsFile+"quotas: { core: { running: 1 } }\nclasses: [{ event: manual, class: low }]\n")

	var running, most atomic.Int32
	begun, release := make(chan struct{}, 10), make(chan struct{})
	var once sync.Once
	stop := f.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		n := running.Add(1)
		defer running.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		begun <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return good(ctx, l)
	})
	defer stop()
	defer once.Do(func() { close(release) })
	r := f.submit(t, "first")
	if r.GetClass() != "low" {
		t.Errorf("class %q, want low", r.GetClass())
	}
	<-begun
	first, second := "build/api", "build/web"
	if w := f.waits(t, r.GetId(), pb.WaitReason_WAIT_REASON_QUOTA); w.GetTask() == first {
		first, second = second, first
	}
	f.explained(t, r.GetId(), first, pb.WaitReason_WAIT_REASON_NONE)
	if w := f.explained(t, r.GetId(), second, pb.WaitReason_WAIT_REASON_QUOTA); w.GetMessage() != "quota of core: 1 of 1 task run" {
		t.Errorf("it says %q", w.GetMessage())
	}
	once.Do(func() { close(release) })
	f.end(t, r.GetId())
	if n := most.Load(); n != 1 {
		t.Errorf("%d tasks of the team ran at once, want 1", n)
	}
}

// TestAQuotaHoldsOverCoordinators: of a team that may have one task running no two ever do, though
// its projects are owned by two coordinators; and neither is kept from it.
func TestAQuotaHoldsOverCoordinators(t *testing.T) {
	a := start(t)
	b := a.beside(t)
	of := a.owners(t, 2)
	homes := map[string]*farm{}       // by the coordinator that owns its project
	for _, c := range []*farm{a, b} { // a folder in place of the file
		if err := os.Remove(filepath.Join(c.dir, "targets.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	var runs []string
	var running, most atomic.Int32
	for i := 0; len(homes) < 2; i++ {
		f := *a
		project := fmt.Sprint("shop", i)
		f.repo = filepath.Join(t.TempDir(), "repo")
		git(t, filepath.Dir(f.repo), "clone", "-q", a.repo, f.repo)
		write(t, f.repo, "slipway.yaml", strings.NewReplacer("    path: services/", "    owner: core\n    path: services/", "project: shop", "project: "+project).Replace(pipelineFile))
		git(t, f.repo, "commit", "-q", "-a", "-m", project)
		for _, c := range []*farm{a, b} {
			write(t, c.dir, "targets.yaml/"+project+".yaml", strings.Replace(targetsFile, "project: shop", "project: "+project, 1)+"quotas: { core: { running: 1 } }\n")
		}
		runs = append(runs, f.submit(t, project).GetId())
		homes[of["partition."+homeOf(t, a, project)]] = &f
	}
	stop := b.work(t, func(ctx context.Context, l *session.Lease) *pb.Completion {
		n := running.Add(1)
		defer running.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		select { // so that another would be seen beside it
		case <-time.After(30 * time.Millisecond):
		case <-ctx.Done():
		}
		return good(ctx, l)
	})
	defer stop()
	for _, id := range runs {
		if r := a.follow(t, id); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
			t.Errorf("run %s is %s: %s\n%s", id, r.GetState(), r.GetMessage(), states(r))
		}
	}
	if n := most.Load(); n != 1 {
		t.Errorf("%d tasks of the team ran at once, want 1", n)
	}
}

// waits waits until some task of a run waits for a reason.
func (f *farm) waits(t *testing.T, id string, want pb.WaitReason) *pb.Wait {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for ctx.Err() == nil {
		res, err := f.runs.Explain(ctx, &pb.ExplainRequest{Run: id})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range res.GetWaits() {
			if w.GetReason() == want {
				return w
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
	t.Fatalf("no task of %s waits for %s", id, want)
	return nil
}
