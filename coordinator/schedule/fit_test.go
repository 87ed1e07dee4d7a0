package schedule_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/schedule"
)

// TestATaskThatFitsComesFirst within its run: what each run is given is what it would be given otherwise, and nothing
// is passed over more than a few times.
func TestATaskThatFitsComesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q, plain schedule.Queue
		for r := range rapid.IntRange(1, 4).Draw(t, "runs") {
			n := rapid.IntRange(1, 30).Draw(t, "tasks")
			fill(&q, "shop", fmt.Sprint("run", r), schedule.Normal, n)
			fill(&plain, "shop", fmt.Sprint("run", r), schedule.Normal, n)
		}
		passed := map[string]int{}
		for {
			mark := fmt.Sprint("-", rapid.IntRange(0, 9).Draw(t, "fitting"))
			fits := func(t schedule.Task) bool { return strings.HasSuffix(t.Token, mark) }
			first := q.Order()
			got, ok := q.NextFitting(fits)
			want, also := plain.Next()
			if ok != also {
				t.Fatalf("there is one: %t, want %t", ok, also)
			}
			if !ok {
				return
			}
			if got.Run != want.Run {
				t.Fatalf("a task of %s, whose turn is %s", got.Run, want.Run)
			}
			if got.Token != first[0] {
				if !fits(got) {
					t.Fatalf("%s does not fit, and was taken before %s", got.Token, first[0])
				}
				if passed[first[0]]++; passed[first[0]] > 4 {
					t.Fatalf("%s was passed over %d times", first[0], passed[first[0]])
				}
			}
		}
	})
}
