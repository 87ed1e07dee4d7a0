package split_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/worker/runner/split"
)

func TestList(t *testing.T) {
	for printed, want := range map[string]string{
		"b\na\n\n  a \r\n":                      "a b",
		"x y.spec.ts\n":                         "x y.spec.ts",
		"":                                      "it named nothing to test",
		" \n\n":                                 "it named nothing to test",
		"a\n" + strings.Repeat("n", 301) + "\n": "line 2 has 301 bytes, an item at most 300",
		"a\n\xff\n":                             `line 2 is not UTF-8: "\xff"`,
		strings.Repeat("same\n", 30_000):        "same",
		numbered(split.MaxItems + 1):            "it named 20001 items, at most 20000",
	} {
		got, err := split.List([]byte(printed))
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%.40q: %s, want %s", printed, text, want)
		}
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// TestEachItemIsOneShards: whatever is known of their times, and in whatever order the items come,
// each is given to one shard, and the longest shard takes at most 4/3 of the best split, by the
// times that are known.
func TestEachItemIsOneShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, of := rapid.IntRange(1, 60).Draw(t, "items"), rapid.IntRange(1, 12).Draw(t, "shards")
		var items []string
		usual := map[string]time.Duration{"gone": time.Hour}
		sum, longest, known := time.Duration(0), time.Duration(0), true
		for i := range n {
			name := fmt.Sprint("item", i)
			items = append(items, name)
			if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
				took := time.Duration(rapid.IntRange(0, 10_000).Draw(t, "ms")) * time.Millisecond
				usual[name] = took
				sum, longest = sum+took, max(longest, took)
			} else {
				known = false
			}
		}
		shuffled := slices.Clone(items)
		rand.Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		var all []string
		slowest := time.Duration(0)
		for s := 1; s <= of; s++ {
			part := split.Part(items, usual, s, of)
			if d := cmp.Diff(part, split.Part(shuffled, usual, s, of)); d != "" {
				t.Fatalf("the order of the items matters:\n%s", d)
			}
			load := time.Duration(0)
			for _, name := range part {
				load += usual[name]
			}
			slowest = max(slowest, load)
			all = append(all, part...)
		}
		slices.Sort(all)
		slices.Sort(items)
		if d := cmp.Diff(items, all); d != "" {
			t.Fatalf("items of all shards (-want +got):\n%s", d)
		}
		least := max(longest, sum/time.Duration(of))
		if known && slowest > sum/time.Duration(of)+longest {
			t.Fatalf("the slowest shard takes %s; the longest item %s and the mean %s are more than it may", slowest, longest, sum/time.Duration(of))
		}
		if known && n >= of*4 && longest*3 < least && slowest > least*4/3 {
			t.Fatalf("the slowest shard takes %s, the best that there is %s", slowest, least)
		}
	})
}

func TestWithoutTimesTheyAreDealtEvenly(t *testing.T) {
	items, _ := split.List([]byte(numbered(10)))
	var sizes []int
	for s := 1; s <= 4; s++ {
		sizes = append(sizes, len(split.Part(items, nil, s, 4)))
	}
	if d := cmp.Diff([]int{3, 3, 2, 2}, sizes); d != "" {
		t.Errorf("sizes (-want +got):\n%s", d)
	}
	if got := split.Part([]string{"a"}, nil, 2, 2); len(got) != 0 {
		t.Errorf("the second of two shards has %v of one item", got)
	}
}

func TestMeasure(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		items   []string
		cases   []split.Case
		elapsed time.Duration
		want    []time.Duration
	}{
		"no report":             {[]string{"a", "b"}, nil, 4 * s, []time.Duration{2 * s, 2 * s}},
		"go packages":           {[]string{"m/a", "m/b"}, []split.Case{{Suite: "m/a", Took: 5 * s}, {Suite: "m/a", Name: "TestX", Took: 4 * s}, {Suite: "m/b", Took: s}}, 8 * s, []time.Duration{6 * s, 2 * s}},
		"go tests":              {[]string{"TestX", "TestY"}, []split.Case{{Suite: "m/a", Took: 5 * s}, {Suite: "m/a", Name: "TestX", Took: 4 * s}, {Suite: "m/a", Name: "TestY", Took: s}}, 5 * s, []time.Duration{4 * s, s}},
		"side by side":          {[]string{"m/a", "m/b"}, []split.Case{{Suite: "m/a", Took: 5 * s}, {Suite: "m/b", Took: 5 * s}}, 6 * s, []time.Duration{5 * s, 5 * s}},
		"jest, absolute":        {[]string{"/app/a.test.js", "/app/b.test.js"}, []split.Case{{Suite: "/app/a.test.js", Name: "x", Took: s}, {Suite: "/app/b.test.js", Name: "y", Took: 3 * s}}, 4 * s, []time.Duration{s, 3 * s}},
		"pytest files":          {[]string{"tests/test_a.py", "tests/test_b.py"}, []split.Case{{Suite: "tests.test_a", Name: "x", Took: s}, {Suite: "tests.test_b.TestLogin", Name: "y", Took: 3 * s}}, 4 * s, []time.Duration{s, 3 * s}},
		"pytest cases":          {[]string{"tests/test_a.py::x", "tests/test_a.py::y"}, []split.Case{{Suite: "tests.test_a", Name: "x", Took: s}}, 2 * s, []time.Duration{s / 2 * 3, s / 2}},
		"the file is named":     {[]string{"spec/a_spec.rb", "./spec/b_spec.rb"}, []split.Case{{Suite: "Cart", Name: "x", File: "./spec/a_spec.rb", Took: 3 * s}, {Suite: "User", Name: "y", File: "spec/b_spec.rb", Took: s}}, 4 * s, []time.Duration{3 * s, s}},
		"one has no cases":      {[]string{"m/a", "m/b"}, []split.Case{{Suite: "m/a", Took: 2 * s}}, 4 * s, []time.Duration{3 * s, s}},
		"somebody else's cases": {[]string{"m/a"}, []split.Case{{Suite: "other", Name: "x", Took: 9 * s}}, s, []time.Duration{s}},
		"no items":              {nil, []split.Case{{Suite: "m/a", Took: s}}, s, []time.Duration{}},
	} {
		got := []time.Duration{}
		for i, item := range split.Measure(c.items, c.cases, c.elapsed) {
			if item.Name != c.items[i] {
				t.Errorf("%s: item %d is %s", name, i, item.Name)
			}
			got = append(got, item.Took)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
