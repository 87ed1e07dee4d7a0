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

// TestRollback: an environment goes back to the release before, past its steps and its approval, and is held; then further back, by name.
func TestRollback(t *testing.T) {
	f := start(t)
	rollout := pb.NewRolloutServiceClient(f.dial(t, f.admin))
	ask := func(key, run string) (*pb.Run, error) {
		res, err := rollout.Rollback(t.Context(), &pb.RollbackRequest{Project: "shop", Environment: "prod", Run: run, Reason: "it is slow", IdempotencyKey: key})
		return res.GetRun(), err
	}
	serves := func() string {
		t.Helper()
		list, err := rollout.ListEnvironments(t.Context(), &pb.ListEnvironmentsRequest{Project: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		release := ""
		for _, e := range list.GetEnvironments() {
			for _, s := range e.GetServing() {
				if e.GetName() == "prod" {
					if release != "" && release != s.GetRelease() {
						t.Errorf("two releases serve in prod: %s and %s", release, s.GetRelease())
					}
					release = s.GetRelease()
				}
			}
		}
		return release
	}
	stop := f.work(t, good)
	defer stop()
	if _, err := ask("k0", ""); status.Code(err) != codes.NotFound {
		t.Errorf("a rollback of nothing: %v", err)
	}
	one := f.end(t, f.submit(t, "k1").GetId())
	if _, err := ask("k0", ""); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "no other release is known") {
		t.Errorf("a rollback to nothing: %v", err)
	}
	var all []*pb.Run
	for _, name := range []string{"two", "three"} {
		write(t, f.repo, "web/main.go", "// "+name+"\n")
		f.commit(t, name)
		all = append(all, f.end(t, f.submit(t, name).GetId()))
	}
	two, three := all[0], all[1]
	if one.GetRelease() == two.GetRelease() || three.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || serves() != three.GetRelease() {
		t.Fatalf("releases %s, %s, %s; %s serves", one.GetRelease(), two.GetRelease(), three.GetRelease(), serves())
	}

	compared, err := rollout.Compare(t.Context(), &pb.CompareRequest{Project: "shop", Environment: "prod", IdempotencyKey: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, task := range f.end(t, compared.GetRun().GetId()).GetTasks() {
		kinds[task.GetKind()]++
	}
	if kinds["diff"] != 4 || kinds["apply"]+kinds["rollout"]+kinds["release"] > 0 {
		t.Errorf("a comparison is of %v", kinds)
	}
	restored, err := rollout.Restore(t.Context(), &pb.RestoreRequest{Project: "shop", Environment: "prod", IdempotencyKey: "c2"})
	if err != nil {
		t.Fatal(err)
	}
	if r := f.end(t, restored.GetRun().GetId()); r.GetBack() != three.GetId() || r.GetRelease() != three.GetRelease() {
		t.Errorf("what is restored is release %s, of %s: %s", r.GetRelease(), r.GetBack(), r.GetMessage())
	}

	back, err := ask("k2", "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := ask("k2", "")
	if err != nil || again.GetId() != back.GetId() || back.GetBack() != two.GetId() {
		t.Errorf("the same key: %s and %s, %v; back to %s", back.GetId(), again.GetId(), err, back.GetBack())
	}
	if r := f.end(t, back.GetId()); r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || r.GetRelease() != two.GetRelease() || serves() != two.GetRelease() {
		t.Errorf("%s: %s; release %s serves, want %s", r.GetState(), r.GetMessage(), serves(), two.GetRelease())
	}
	next := f.submitAnew(t, "k3").GetId()
	f.explained(t, next, "rollout/prod", pb.WaitReason_WAIT_REASON_HELD)
	if serves() != two.GetRelease() {
		t.Error("a push brought back what was gone back from")
	}

	if back, err = ask("k4", ""); err != nil { // not to what it went back from
		t.Fatal(err)
	}
	if f.end(t, back.GetId()); back.GetBack() != one.GetId() || serves() != one.GetRelease() {
		t.Errorf("back to %s: release %s serves, want %s", back.GetBack(), serves(), one.GetRelease())
	}
	if back, err = ask("k5", three.GetId()); err != nil {
		t.Fatal(err)
	}
	if f.end(t, back.GetId()); serves() != three.GetRelease() {
		t.Errorf("release %s serves, want %s", serves(), three.GetRelease())
	}
	if _, err := ask("k6", next); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "never was good in all of") {
		t.Errorf("back to what never was there: %v", err)
	}
	if _, err := ask("k7", "shop-99-x"); status.Code(err) != codes.NotFound {
		t.Errorf("back to nobody: %v", err)
	}
	if _, err := rollout.Resume(t.Context(), &pb.ResumeRequest{Project: "shop", Environment: "prod"}); err != nil {
		t.Fatal(err)
	}
	if r := f.end(t, next); r.GetState() != pb.RunState_RUN_STATE_CANCELED || !strings.Contains(r.GetMessage(), "superseded") {
		t.Errorf("the push that waited is %s: %s", r.GetState(), r.GetMessage())
	}
}
