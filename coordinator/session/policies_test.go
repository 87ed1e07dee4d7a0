package session_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestAGrantCarriesThePolicies of its target.
func TestAGrantCarriesThePolicies(t *testing.T) {
	p := builds(1)
	p.Tasks[0].Kind, p.Tasks[0].Build = plan.KindRender, nil
	p.Tasks[0].Target = &plan.Target{Environment: "prod", Cluster: "eu", Namespace: "shop"}
	p.Tasks[0].Render = &plan.Render{Path: "d", Policies: []plan.Policy{{Name: "p", Kinds: []string{"Job"}, CEL: "true", Message: "m", Warn: true, At: "targets.yaml:1:2"}, {
		Name: "q", Require: []string{plan.RequireSignature}, Images: []string{"docker.io"}, Keys: []plan.PublicKey{{Name: "k", PEM: "pem", Farm: true}}, At: "targets.yaml:2:2",
	}}}
	f := newFarmOf(t, p, nil)
	got := f.connect("a", nil).ask(f.tokens[0]).GetRender().GetPolicies()
	want := []*pb.RenderPolicy{{Name: "p", Kinds: []string{"Job"}, Cel: "true", Message: "m", Warn: true, At: "targets.yaml:1:2"}, {
		Name: "q", Require: []string{"signature"}, Images: []string{"docker.io"}, Keys: []*pb.PublicKey{{Name: "k", Pem: "pem", Farm: true}}, At: "targets.yaml:2:2",
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
