package server_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestPeopleAtTheGates: who may approve, hold and abort, by role and by group, and what the others are told.
func TestPeopleAtTheGates(t *testing.T) {
	f := start(t)
	f.stop()
	write(t, f.dir, "targets.yaml", strings.Replace(targetsFile, "strategy: rolling", "strategy: { canary: [50, 100], pause: 1s }, approve: { team: sre }", 1))
	secrets := map[string]string{}
	for _, p := range []config.Token{{Name: "sam", Role: "submit", Groups: []string{"sre"}}, {Name: "bob", Role: "approve", Groups: []string{"dev"}}, {Name: "eve", Role: "approve", Groups: []string{"sre"}}} {
		secrets[p.Name] = rpc.NewToken()
		p.Hash = rpc.HashToken(secrets[p.Name])
		f.people = append(f.people, p)
	}
	f.run(t)
	as := map[string]pb.RolloutServiceClient{"anna": pb.NewRolloutServiceClient(f.dial(t, f.admin))}
	for name, secret := range secrets {
		as[name] = pb.NewRolloutServiceClient(f.dial(t, secret))
	}
	stop := f.work(t, good)
	defer stop()
	id := f.submit(t, "k1").GetId()
	f.unapproved(t, id)

	refused := func(what string, err error, code codes.Code, says string) {
		t.Helper()
		if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), says) {
			t.Errorf("%s: %v, want %s: …%s…", what, err, code, says)
		}
	}
	approve := func(who, environment, release string) error {
		_, err := as[who].Approve(t.Context(), &pb.ApproveRequest{Run: id, Environment: environment, Release: release})
		return err
	}
	refused("an approval by role", approve("sam", "prod", ""), codes.PermissionDenied, "submit")
	refused("an approval by group", approve("bob", "prod", ""), codes.FailedPrecondition, "prod needs approvals of the group sre, and bob is not in it")
	refused("an approval of who asked", approve("anna", "prod", ""), codes.FailedPrecondition, "needs the approval of somebody else for prod")
	refused("an approval of another release", approve("eve", "prod", "sha256:1"), codes.FailedPrecondition, "and not sha256:1, which was looked at")
	refused("an approval of what asks for none", approve("eve", "dev", ""), codes.NotFound, `asks for no approval for "dev"`)

	project := func(env string) *pb.HoldRequest {
		return &pb.HoldRequest{Project: "shop", Environment: env, Reason: "a look at it"}
	}
	_, err := as["sam"].Hold(t.Context(), project("prod"))
	refused("a hold by role", err, codes.PermissionDenied, "submit")
	_, err = as["eve"].Hold(t.Context(), project("nowhere"))
	refused("a hold of nothing", err, codes.NotFound, `environment "nowhere" of project "shop"`)
	_, err = as["eve"].Resume(t.Context(), &pb.ResumeRequest{Project: "shop", Environment: "prod"})
	refused("a resume of nothing", err, codes.FailedPrecondition, `environment "prod" of project "shop" is not held`)
	_, err = as["eve"].Abort(t.Context(), &pb.AbortRequest{Project: "shop", Environment: "prod"})
	refused("an abort of nothing", err, codes.FailedPrecondition, `no run of project "shop" rolls out to "prod"`)

	if _, err := as["eve"].Hold(t.Context(), project("prod")); err != nil {
		t.Fatal(err)
	}
	if err := approve("eve", "prod", ""); err != nil {
		t.Fatal(err)
	}
	list, err := as["sam"].ListEnvironments(t.Context(), &pb.ListEnvironmentsRequest{Project: "shop"})
	if err != nil || len(list.GetEnvironments()) != 1 || list.GetEnvironments()[0].GetHold().GetBy() != "eve" || list.GetEnvironments()[0].GetHold().GetReason() != "a look at it" {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := as["eve"].Resume(t.Context(), &pb.ResumeRequest{Project: "shop", Environment: "prod"}); err != nil {
		t.Fatal(err)
	}
	if r := f.end(t, id); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("the run is %s: %s", r.GetState(), r.GetMessage())
	}
	list, err = as["sam"].ListEnvironments(t.Context(), &pb.ListEnvironmentsRequest{Project: "shop"})
	if err != nil || len(list.GetEnvironments()[0].GetServing()) != 4 {
		t.Errorf("two services serve in two clusters: %v, %v", list, err)
	}
}

// unapproved waits until a run waits for approvals.
func (f *farm) unapproved(t *testing.T, id string) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		res, err := f.runs.Explain(t.Context(), &pb.ExplainRequest{Run: id})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range res.GetWaits() {
			if w.GetReason() == pb.WaitReason_WAIT_REASON_APPROVAL {
				return
			}
		}
		select {
		case <-again.C:
		case <-late.C:
			t.Fatalf("nothing waits for approvals: %v", res)
		}
	}
}
