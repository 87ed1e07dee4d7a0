package partition_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan/plantest"
	"github.com/slipway-build/slipway/coordinator/run"
)

// TestAPauseSurvivesItsOwner: what waits for its next attempt waits as long under the next
// owner, and is then where it was in the queue.
func TestAPauseSurvivesItsOwner(t *testing.T) {
	f := open(t)
	p := plantest.Shop("shop", 1, 0, nil)
	build, _ := p.Find("build/s0")
	build.Infra = 10
	id := f.submit(p)
	for range 5 { // 1, 2, 4, 8 and now 16 seconds
		f.end(f.hold(id, "build/s0"), run.OutcomeErrored)
		if task, _ := f.run(id).Find("build/s0"); len(task.Attempts) < 5 {
			f.clock.advance(task.NotBefore.Sub(f.clock.Now()))
			if err := f.tick(0); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, _ := f.run(id).Find("build/s0")
	pause := before.NotBefore.Sub(f.clock.Now())
	if pause <= ttl+time.Second || pause > 16*time.Second {
		t.Fatalf("the pause is %s, want about 16 s", pause)
	}
	said := f.board.said
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.owner = f.start()
	after, _ := f.run(id).Find("build/s0")
	if !after.NotBefore.Equal(before.NotBefore) || after.State != run.TaskReady {
		t.Errorf("under the next owner the task is %s and waits until %s, want ready and %s", after.State, after.NotBefore, before.NotBefore)
	}
	if err := f.tick(ttl + 2*time.Second); err != nil { // what is inherited is released by now
		t.Fatal(err)
	}
	f.must(func(*partition.Tx) error { return nil })
	if tokens := f.board.tokens(); len(tokens) > 0 {
		t.Errorf("%v are made known before their pause is over", tokens)
	}
	if _, err := f.lease(id, "build/s0", nil); err == nil {
		t.Error("the task is leased before its pause is over")
	}
	if err := f.tick(pause); err != nil {
		t.Fatal(err)
	}
	f.must(func(*partition.Tx) error { return nil })
	tokens := f.board.tokens()
	if len(tokens) != 1 {
		t.Fatalf("%v are made known after the pause, want the build", tokens)
	}
	first, last := said[tokens[0]][0], f.board.said[tokens[0]][0]
	if d := cmp.Diff(first, last); d != "" {
		t.Errorf("its place in the queue (-before +now):\n%s", d)
	}
	f.do(id, "build/s0")
}
