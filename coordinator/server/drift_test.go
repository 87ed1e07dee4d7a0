package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// cluster is one in which a ConfigMap may differ, until what was released is applied again.
type driftingCluster struct {
	mu      sync.Mutex
	differs bool
	stays   bool // somebody undoes every restore
	applied int
}

func (c *driftingCluster) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	out := good(ctx, l)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch w := l.Grant.GetWork().(type) {
	case *pb.Grant_Diff:
		out.Result.Diff = &pb.Diff{Unchanged: 1}
		if c.differs && w.Diff.GetTarget().GetCluster() == "one" && l.Grant.GetService() == "api" {
			out.Result.Diff = &pb.Diff{Changed: 1, Objects: []*pb.ObjectChange{{
				Object: "ConfigMap/settings", Action: "taken over", Reason: "fields of kubectl-edit (Update)", By: "kubectl-edit (Update)", At: timestamppb.New(time.Unix(1_700_000_000, 0)),
				Fields: []*pb.FieldChange{{Path: "data.color", From: `"purple"`, To: `"blue"`}},
			}}}
		}
	case *pb.Grant_Apply:
		if w.Apply.GetTarget().GetCluster() == "one" && l.Grant.GetService() == "api" {
			c.applied++
			c.differs = c.stays
		}
	}
	return out
}

func (c *driftingCluster) set(differs, stays bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.differs, c.stays = differs, stays
}

func (c *driftingCluster) applies() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

// known waits for what the farm knows of drift in prod.
func (f *farm) drift(t *testing.T, what string, holds func(d *pb.Drift) bool) *pb.Drift {
	t.Helper()
	late, again := time.NewTimer(time.Minute), time.NewTicker(100*time.Millisecond)
	defer late.Stop()
	defer again.Stop()
	var d *pb.Drift
	for {
		list, err := pb.NewRolloutServiceClient(f.dial(t, f.admin)).ListEnvironments(t.Context(), &pb.ListEnvironmentsRequest{Project: "shop"})
		if err == nil && len(list.GetEnvironments()) > 0 {
			if d = list.GetEnvironments()[0].GetDrift(); holds(d) {
				return d
			}
		}
		select {
		case <-again.C:
		case <-late.C:
			t.Fatalf("waited in vain for %s: %v", what, d)
		}
	}
}

// TestDrift: what somebody changed is found when a deployer notices a change, and told or restored, as targets.yaml says; what was
// counted outlives the coordinator.
func TestDrift(t *testing.T) {
	f := start(t)
	targets := func(drift string) {
		t.Helper()
		write(t, f.dir, "targets.yaml", strings.Replace(targetsFile, "strategy: rolling", "strategy: rolling, drift: "+drift, 1))
	}
	targets("report")
	c := &driftingCluster{}
	stop := f.work(t, c.handle)
	defer func() { stop() }()
	notice := func() error {
		_, err := pb.NewRolloutServiceClient(f.dial(t, f.worker)).Notice(t.Context(), &pb.NoticeRequest{Project: "shop", Environment: "prod", Cluster: "one"})
		return err
	}
	if err := notice(); status.Code(err) != codes.NotFound {
		t.Errorf("of a project that is not there: %v", err)
	}
	f.end(t, f.submit(t, "k1").GetId())
	d := f.drift(t, "the first comparison", func(d *pb.Drift) bool { return d.GetRun() != "" && d.GetPending() == "" })
	if len(d.GetObjects()) > 0 || d.GetProblem() != "" {
		t.Errorf("nothing differs, and is told: %v", d)
	}

	c.set(true, false)
	if err := notice(); err != nil {
		t.Fatal(err)
	}
	d = f.drift(t, "what differs", func(d *pb.Drift) bool { return len(d.GetObjects()) == 1 })
	o := d.GetObjects()[0]
	if o.GetCluster() != "one" || o.GetService() != "api" || o.GetObject() != "ConfigMap/settings" || o.GetBy() != "kubectl-edit (Update)" ||
		o.GetChanged().GetSeconds() != 1_700_000_000 || len(o.GetFields()) != 1 || o.GetFields()[0] != "data.color" {
		t.Errorf("what differs is told as %v", o)
	}
	if g, err := f.runs.Get(t.Context(), &pb.GetRequest{Run: d.GetRun()}); err != nil || g.GetRun().GetSubmittedBy() != "drift" {
		t.Errorf("who compares: %v, %v", g.GetRun().GetSubmittedBy(), err)
	}
	if n := c.applies(); n != 1 {
		t.Errorf("what is only told was applied %d times", n)
	}

	targets("restore")
	d = f.drift(t, "what was restored", func(d *pb.Drift) bool {
		return len(d.GetRestored()) == 1 && len(d.GetObjects()) == 0 && d.GetPending() == ""
	})
	if n := c.applies(); n != 2 || d.GetRestored()[0].GetObject() != "one/api/ConfigMap/settings" {
		t.Errorf("applied %d times: %v", n, d.GetRestored())
	}

	// The coordinator is replaced. What changed meanwhile is found without anybody noticing.
	stop()
	f.stop()
	c.set(true, true)
	f.run(t)
	stop = f.work(t, c.handle)
	d = f.drift(t, "what was restored and undone", func(d *pb.Drift) bool { return len(d.GetRestored()) == 3 })
	if d.GetRestored()[0].GetObject() != d.GetRestored()[2].GetObject() {
		t.Errorf("restored: %v", d.GetRestored())
	}
}
