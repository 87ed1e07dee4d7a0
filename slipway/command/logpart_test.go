package command

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTheLastLinesAreFound: as splitting the whole would find them, however long lines are.
func TestTheLastLinesAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for range rapid.IntRange(0, 12).Draw(t, "lines") {
			b.WriteString(strings.Repeat("x", rapid.SampledFrom([]int{0, 0, 1, 50, block - 1, block, 2*block + 3}).Draw(t, "length")))
			b.WriteByte('\n')
		}
		b.WriteString(strings.Repeat("y", rapid.SampledFrom([]int{0, 0, 1, block}).Draw(t, "rest")))
		log := b.String()
		n := rapid.IntRange(0, 14).Draw(t, "wanted")
		all := strings.SplitAfter(log, "\n")
		if all[len(all)-1] == "" {
			all = all[:len(all)-1]
		}
		want := strings.Join(all[max(0, len(all)-n):], "")
		offset, err := lastLines(int64(len(log)), int64(n), func(from, to int64) ([]byte, error) {
			if to-from > block {
				t.Fatalf("%d bytes are read at once", to-from)
			}
			return []byte(log[from:to]), nil
		})
		if err != nil || log[offset:] != want {
			t.Fatalf("the last %d lines of %d begin at %d of %d, %v; want %d", n, len(all), offset, len(log), err, len(log)-len(want))
		}
	})
}
