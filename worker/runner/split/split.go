// Package split says which items of a test are whose among its shards, and how long each item took
// there. It is pure: shards that are told the same agree without asking one another.
package split

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a list.
const (
	MaxItems = 20_000
	MaxName  = 300     // bytes of an item
	MaxList  = 4 << 20 // bytes of what a command prints
)

// Item is one of the parts of a test that its list names.
type Item struct {
	Name string
	Took time.Duration
}

// errEmpty: an empty list tests nothing, and would do so without a word.
var errEmpty = errors.New("it named nothing to test")

// List reads what a command printed: an item on each line, each once, sorted.
func List(printed []byte) ([]string, error) {
	var out []string
	n := 0
	for line := range strings.Lines(string(printed)) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case len(line) > MaxName:
			return nil, fmt.Errorf("line %d has %d bytes, an item at most %d", n, len(line), MaxName)
		case !utf8.ValidString(line):
			return nil, fmt.Errorf("line %d is not UTF-8: %q", n, line)
		}
		out = append(out, line)
	}
	if len(out) == 0 {
		return nil, errEmpty
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > MaxItems {
		return nil, fmt.Errorf("it named %d items, at most %d", len(out), MaxItems)
	}
	return out, nil
}

// Hash of a list: shards that made the same one have the same.
func Hash(items []string) string {
	h := sha256.New()
	for _, name := range items {
		h.Write([]byte(name + "\n")) // a Hash never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Part are the items of one shard of several, sorted; number counts from 1. Items are given out by
// what they usually take, the longest first, each to the shard that has least to do: that ends
// within 4/3 of the best there is (Graham, 1969). One of which nobody knows how long it takes counts
// as much as the others on average.
func Part(items []string, usual map[string]time.Duration, number, of int) []string {
	known, sum := 0, time.Duration(0)
	for _, name := range items {
		if took, ok := usual[name]; ok {
			known++
			sum += took
		}
	}
	mean := time.Duration(1)
	if known > 0 {
		mean = max(1, sum/time.Duration(known))
	}
	all := make([]Item, len(items))
	for i, name := range items {
		took, ok := usual[name]
		if !ok {
			took = mean
		}
		all[i] = Item{name, max(1, took)} // so that those that take nothing are not all one shard's
	}
	slices.SortFunc(all, func(a, b Item) int { return cmp.Or(cmp.Compare(b.Took, a.Took), cmp.Compare(a.Name, b.Name)) })
	var mine []string
	load := make([]time.Duration, of)
	for _, i := range all {
		least := 0
		for s := range load {
			if load[s] < load[least] {
				least = s
			}
		}
		load[least] += i.Took
		if least == number-1 {
			mine = append(mine, i.Name)
		}
	}
	slices.Sort(mine)
	return mine
}
