package server_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/githost/githosttest"
	"github.com/slipway-build/slipway/coordinator/webhook"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// compared is the end of a comparison of prod.
func (f *farm) compared(t *testing.T, key string) *pb.Run {
	t.Helper()
	res, err := pb.NewRolloutServiceClient(f.dial(t, f.admin)).Compare(t.Context(), &pb.CompareRequest{Project: "shop", Environment: "prod", IdempotencyKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return f.end(t, res.GetRun().GetId())
}

// TestWhatIsLiveIsAdopted: as a pull request at the repository's host, as a branch where that does not take one, and as a patch.
func TestWhatIsLiveIsAdopted(t *testing.T) {
	f := startHooked(t, "deploy/api/d.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata:\n  # for all\n  color: blue\n")
	f.stop()
	f.hosts = map[webhook.Kind]*githosttest.Host{webhook.Gitea: githosttest.Start(t, webhook.Gitea)}
	f.serve(t)
	git(t, f.repo, "config", "http.receivepack", "true")
	c := &driftingCluster{}
	stop := f.work(t, c.handle)
	defer stop()
	rollout := pb.NewRolloutServiceClient(f.dial(t, f.admin))
	f.end(t, f.submit(t, "k1").GetId())
	if _, err := rollout.Adopt(t.Context(), &pb.AdoptRequest{Run: f.compared(t, "c1").GetId()}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "nothing that differs") {
		t.Errorf("nothing differs: %v", err)
	}
	if _, err := rollout.Adopt(t.Context(), &pb.AdoptRequest{Run: "shop-1"}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "is no comparison") {
		t.Errorf("of another run: %v", err)
	}
	c.set(true, false)
	id := f.compared(t, "c2").GetId()
	res, err := rollout.Adopt(t.Context(), &pb.AdoptRequest{Run: id, Patch: true})
	if err != nil || res.GetBranch() != "" || res.GetProblem() != "" || !strings.Contains(string(res.GetPatch()), "-  color: blue\n+  color: purple\n") {
		t.Fatalf("as a patch: %v, %v\n%s", err, res, res.GetPatch())
	}
	res, err = rollout.Adopt(t.Context(), &pb.AdoptRequest{Run: id})
	if err != nil || res.GetUrl() == "" || res.GetProblem() != "" || !strings.HasPrefix(res.GetBranch(), "slipway/adopt-prod-") {
		t.Fatalf("as a pull request: %v, %v", err, res)
	}
	if text := git(t, f.repo, "show", res.GetBranch()+":deploy/api/d.yaml"); !strings.Contains(text, "  # for all\n  color: purple") {
		t.Errorf("the branch has\n%s", text)
	}
	if parent := git(t, f.repo, "rev-parse", res.GetBranch()+"^"); parent != git(t, f.repo, "rev-parse", "main") {
		t.Errorf("it is of %s, and not of main", parent)
	}
	pulls := f.hosts[webhook.Gitea].Proposed()
	if len(pulls) != 1 || pulls[0].Repository != f.name() || pulls[0].Source != res.GetBranch() || pulls[0].Target != "main" || pulls[0].Title != "Adopt what is live in prod" ||
		!strings.Contains(pulls[0].Body, `ConfigMap/settings data.color: "blue" → "purple" (deploy/api/d.yaml)`) || !strings.Contains(pulls[0].Body, "asked for by anna") {
		t.Errorf("the pull request is %+v", pulls)
	}

	f.hosts[webhook.Gitea].Fail(githosttest.Answer(403))
	res, err = rollout.Adopt(t.Context(), &pb.AdoptRequest{Run: id})
	if err != nil || res.GetUrl() != "" || res.GetBranch() == "" || !strings.Contains(res.GetProblem(), "answers 403") {
		t.Errorf("a host that takes none: %v, %v", err, res)
	}
	git(t, f.repo, "config", "http.receivepack", "false")
	git(t, f.repo, "branch", "-D", res.GetBranch())
	res, err = rollout.Adopt(t.Context(), &pb.AdoptRequest{Run: id})
	if err != nil || res.GetBranch() != "" || !strings.Contains(res.GetProblem(), "right to write") || len(res.GetPatch()) == 0 {
		t.Errorf("a repository that takes nothing: %v, %v", err, res)
	}

	// The branch went on, and the field with it.
	write(t, f.repo, "deploy/api/d.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: green}\n")
	f.commit(t, "green")
	res, err = rollout.Adopt(t.Context(), &pb.AdoptRequest{Run: id})
	if err != nil || len(res.GetPatch()) > 0 || len(res.GetLeft()) != 1 || !strings.Contains(res.GetLeft()[0], "another value than was released") {
		t.Errorf("what is not as it was released: %v, %v", err, res)
	}
}
