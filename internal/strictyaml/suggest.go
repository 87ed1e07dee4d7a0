package strictyaml

import (
	"fmt"
	"slices"
	"strings"
)

// nameLimit is how much of a name is compared and shown.
const nameLimit = 64

// Suggest is `did you mean "x"?` for the known name nearest to a wrong one, or
// empty if none is near. Ties go to the first in alphabetical order.
func Suggest(wrong string, known []string) string {
	if len(wrong) > nameLimit {
		return ""
	}
	best, distance := "", min(max(1, len(wrong)/3)+1, len(wrong))
	for _, name := range slices.Sorted(slices.Values(known)) {
		if len(name) > nameLimit {
			continue
		}
		d := editDistance(strings.ToLower(wrong), strings.ToLower(name), distance)
		if d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbors that turn a into b, and stops counting at limit.
func editDistance(a, b string, limit int) int {
	if abs(len(a)-len(b)) >= limit {
		return limit
	}
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		least := next[0]
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
			least = min(least, next[j])
		}
		if least >= limit {
			return limit
		}
		before, row, next = row, next, before
	}
	return min(row[len(b)], limit)
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// Quote shows a name in a message: quoted, and cut if it is long.
func Quote(name string) string {
	if runes := []rune(name); len(runes) > nameLimit {
		name = string(runes[:nameLimit]) + "…"
	}
	return fmt.Sprintf("%q", name)
}
