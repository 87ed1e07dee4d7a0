package workspace_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/slipway-build/slipway/worker/workspace"
)

// BenchmarkNextCommit is the folder of a commit that changes one of 20,000 files of 10 KiB.
func BenchmarkNextCommit(b *testing.B) {
	const n, size = 20_000, 10 << 10
	o := &origin{commits: map[string][]item{}}
	items := make([]item, n)
	for i := range items {
		items[i] = file(fmt.Sprintf("services/s%d/f%d", i/100, i), fmt.Sprintf("%*d", size, i))
	}
	o.commits["0"] = items
	c := open(b, 0, workspace.Limits{})
	first, _ := get(b, c, of("0"), o)
	written := int64(0)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		next := slices.Clone(items)
		next[i%n] = file(next[i%n].Path, fmt.Sprint("changed", i))
		commit := fmt.Sprint(i + 1)
		o.commits = map[string][]item{commit: next}
		b.StartTimer()
		f, release := get(b, c, of(commit), o)
		written += f.Written
		release()
	}
	b.ReportMetric(float64(written)/float64(b.N), "written-B/op")
	b.ReportMetric(float64(first.Written), "written-B/first")
}
