package command_test

import (
	"strings"
	"testing"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/command"
)

func TestWhyBuilt(t *testing.T) {
	run := func() *pb.Run {
		return &pb.Run{Id: "shop-2-k3xq", State: pb.RunState_RUN_STATE_RUNNING, Tasks: []*pb.Task{
			{Id: "checkout", Kind: "checkout", State: pb.TaskState_TASK_STATE_SUCCEEDED, Reason: "everything else reads this commit"},
			{Id: "build/api", Kind: "build", State: pb.TaskState_TASK_STATE_SUCCEEDED, Digest: "sha256:aa", Reason: "services/api/main.go changed"},
			{Id: "build/web", Kind: "build", State: pb.TaskState_TASK_STATE_REUSED, Digest: "sha256:bb", Reason: "no earlier result is kept", Message: "run shop-3-bbbb did the same work meanwhile"},
		}}
	}
	for _, c := range []struct {
		args    string
		code    int
		want    []string
		without string
	}{
		{"explain shop-2-k3xq --why-built", 0, []string{"build/api  carried out", "services/api/main.go changed", "build/web  reused", "run shop-3-bbbb did the same work meanwhile"}, "checkout"},
		{"explain --why-built", 0, []string{"shop-2-k3xq", "build/api"}, "checkout"},
		{"explain shop-2-k3xq build/web --why-built", 0, []string{"build/web"}, "build/api"},
		{"explain shop-2-k3xq build/web --why-built -o json", 0, []string{`"digest": "sha256:bb"`}, "build/api"},
		{"explain shop-2-k3xq checkout --why-built", command.ExitUsage, []string{"checkout of run shop-2-k3xq is no build, test or render", "slipway explain shop-2-k3xq --why-built lists those that are"}, "everything"},
	} {
		h := &history{runs: []*pb.Run{run()}}
		e, out, errs := env(t, strings.Fields(c.args)...)
		e.Addr, e.Token = h.serve(t), "x"
		code := command.Execute(t.Context(), e)
		text := out.String() + errs.String()
		for _, want := range c.want {
			if code != c.code || !strings.Contains(text, want) || strings.Contains(text, c.without) {
				t.Errorf("%s: code %d, want %d; %s; want %q, and no %q", c.args, code, c.code, text, want, c.without)
			}
		}
	}
}
