package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/report"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/split"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

// TestOfTooManyItemsTheLongestAreTold, by number and by the length of their names.
func TestOfTooManyItemsTheLongestAreTold(t *testing.T) {
	for _, c := range []struct{ items, name, want int }{{10, 20, 10}, {5000, 20, 1000}, {5000, 290, 321}} {
		var list []split.Item
		for i := range c.items {
			list = append(list, split.Item{Name: fmt.Sprintf("%05d%s", i, strings.Repeat("n", c.name-5)), Took: time.Duration(i) * time.Millisecond})
		}
		o := runner.Outcome{Kind: runner.Succeeded, Result: runner.Result{Tests: &testreport.Summary{}, Items: list}}
		got := report.Completion(o, time.Time{}, time.Time{}).GetResult().GetTests().GetItems()
		if len(got) != c.want || got[0].GetName() != list[c.items-c.want].Name || got[len(got)-1].GetMillis() != int64(c.items-1) {
			t.Errorf("%d items: %d are told, want the %d that take longest, by name", c.items, len(got), c.want)
		}
	}
}
