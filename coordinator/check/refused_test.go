package check_test

import (
	"testing"

	"github.com/slipway-build/slipway/coordinator/run"
)

func TestAMistakeThatBecameNoRunIsTold(t *testing.T) {
	inBubble(t, func(w *world) {
		o := run.Origin{Webhook: "shop", Repository: "example/shop", Branch: "main"}
		w.teller.Refused(o, "c1", "main", "slipway.yaml:3:5: unknown key")
		w.want("c1 failure ")
		w.teller.Refused(o, "c1", "main", "slipway.yaml:3:5: unknown key") // delivered again
		w.teller.Refused(run.Origin{Webhook: "other"}, "c1", "main", "nobody is told")
		w.want()
		id := w.accept("c1", "main") // as what was wrong was the platform's file
		w.want("c1 pending r1")
		w.end(id, run.Succeeded)
		w.want("c1 success r1")
		w.teller.Refused(o, "c1", "main", "a run says more")
		w.want()
		w.accept("c2", "main")
		w.want("c2 pending r2")
		w.teller.Refused(o, "c2", "pull/7", "as bad as the worst")
		w.want("c2 pending r2")
	})
}
