package partition_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// TestOnlyWhatIsPushedWhereThePlanSaysIsSigned, whatever a worker says that it built; and one that does not know SBOMs is
// found out.
func TestOnlyWhatIsPushedWhereThePlanSaysIsSigned(t *testing.T) {
	const push = "registry.example.com/shop/s0"
	image := func(repository, letter string) string {
		return repository + "@sha256:" + strings.Repeat(letter, 64)
	}
	for name, c := range map[string]struct {
		left plan.Result
		want string // of the task that signs, or of the build
	}{
		"as planned":      {plan.Result{Image: image(push, "a"), Index: image(push, "b"), SBOM: "sha256:s"}, "signed " + image(push, "a") + " with the key"},
		"elsewhere":       {plan.Result{Image: image("registry.example.com/bank/s0", "a"), SBOM: "sha256:s"}, "registry.example.com/bank/s0@sha256:" + strings.Repeat("a", 64) + " is said to be the image of s0, which is pushed to " + push + ": it is not signed"},
		"another's index": {plan.Result{Image: image(push, "a"), Index: image(push+"x", "b"), SBOM: "sha256:s"}, "is said to be the image of s0"},
		"a worker of old": {plan.Result{Image: image(push, "a")}, "worker w does not know SBOMs, and made none: upgrade it"},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			p := plantest.Shop("shop", 1, 0, nil)
			for i := range p.Tasks {
				if b := p.Tasks[i].Build; b != nil {
					b.Push, b.SBOM = push, true
				}
			}
			p.Tasks = append(p.Tasks, plan.Task{ID: plan.SignID("s0"), Kind: plan.KindSign, Service: "s0", Needs: []string{"build/s0"}, Key: "the key", Digest: "of the signature"})
			id := f.submit(p)
			w := f.hold(id, "build/s0")
			f.must(func(tx *partition.Tx) error {
				return tx.Complete(w.Ref, run.Report{Attempt: run.Attempt{Outcome: run.OutcomeSucceeded}, Result: c.left})
			})
			f.eventually("it is signed", f.idle)
			r := f.run(id)
			sign, _ := r.Find("sign/s0")
			build, _ := r.Find("build/s0")
			message := sign.Message
			if n := len(build.Attempts); n > 0 && !build.State.Ended() {
				message = build.Attempts[n-1].Message
			}
			if !strings.Contains(message, c.want) {
				t.Errorf("%s: %q, build %s: %v", sign.State, message, build.State, build.Attempts)
			}
			if good := name == "as planned"; good != (sign.State == run.TaskSucceeded) || good && (sign.Result.Key != "the key" || sign.Result.Image != c.left.Image) {
				t.Errorf("%s, %+v", sign.State, sign.Result)
			}
		})
	}
}
