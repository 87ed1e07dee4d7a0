package split

import (
	"path"
	"strings"
	"time"
)

// Case is how long a report says that something took: a test case, or without a name a whole suite.
type Case struct {
	Suite, Name, File string
	Took              time.Duration
}

// Measure is how long each item took, in the order in which they are given: what a report says of its suites and cases, and an equal part of the time
// that the report does not account for. An item is a suite, a file, a case, or a file or class that
// the suite is named after, as tests/test_api.py and tests.test_api.TestLogin.
func Measure(items []string, cases []Case, elapsed time.Duration) []Item {
	x := newIndex(items)
	took := make([]time.Duration, len(items))
	whole := map[string]bool{} // suites of which the report says what all of it took
	sum := time.Duration(0)
	add := func(c Case) bool {
		i, ok := x.find(c)
		if ok {
			took[i] += c.Took
			sum += c.Took
		}
		return ok
	}
	for _, c := range cases {
		if c.Name == "" && add(c) {
			whole[c.Suite] = true
		}
	}
	for _, c := range cases {
		if c.Name != "" && !whole[c.Suite] {
			add(c)
		}
	}
	rest := max(0, elapsed-sum) / time.Duration(max(1, len(items)))
	out := make([]Item, len(items))
	for i, name := range items {
		out[i] = Item{name, took[i] + rest}
	}
	return out
}

// index finds the item that a case belongs to.
type index struct{ exact, plain map[string]int }

func newIndex(items []string) index {
	x := index{map[string]int{}, map[string]int{}}
	for i, name := range items {
		x.exact[name] = i
		x.plain[plain(name)] = i
	}
	return x
}

func (x index) find(c Case) (int, bool) {
	for _, name := range []string{c.File, c.Suite, c.Suite + "::" + c.Name, c.Suite + "." + c.Name, c.Name} {
		if i, ok := x.exact[name]; ok && name != "" {
			return i, true
		}
	}
	for _, name := range []string{plain(c.File), dotted(c.Suite + "." + c.Name), plain(c.Suite)} {
		for name != "" {
			if i, ok := x.plain[name]; ok {
				return i, true
			}
			cut := strings.LastIndexByte(name, '.')
			name = name[:max(cut, 0)]
		}
	}
	return 0, false
}

// plain is a path as a suite would be named after it: without ./ and extension, with dots.
func plain(name string) string {
	file, inner, _ := strings.Cut(name, "::")
	file = strings.TrimPrefix(file, "./")
	file = strings.TrimSuffix(file, path.Ext(file))
	if inner != "" {
		file += "." + inner
	}
	return dotted(file)
}

func dotted(name string) string {
	return strings.Trim(strings.NewReplacer("/", ".", "::", ".", `\`, ".").Replace(name), ".")
}
