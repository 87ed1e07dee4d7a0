package dag_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/dag"
)

// graph reads "a>b b>c d".
func graph(text string) *dag.Graph[string] {
	g := dag.New[string]()
	for word := range strings.FieldsSeq(text) {
		if from, to, ok := strings.Cut(word, ">"); ok {
			g.Edge(from, to)
		} else {
			g.Add(word)
		}
	}
	return g
}

func TestOrder(t *testing.T) {
	for _, c := range []struct{ name, in, order, cycle string }{
		{"empty", "", "", ""},
		{"single", "a", "a", ""},
		{"chain against insertion", "b>c a>b", "a b c", ""},
		{"ties by insertion", "z a z>m a>m", "z a m", ""},
		{"repeated edge", "a>b a>b", "a b", ""},
		{"self", "a>a", "", "a a"},
		{"pair", "a>b b>a", "", "a b a"},
		{"cycle behind a tail", "x>a a>b b>c c>a c>y", "", "a b c a"},
		{"begins at the first added", "c b a a>b b>c c>a", "", "c a b c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graph(c.in)
			order, ok := g.Order()
			if ok != (c.cycle == "") {
				t.Fatalf("Order says %v", ok)
			}
			if ok {
				if got := strings.Join(order, " "); got != c.order {
					t.Errorf("order %q, want %q", got, c.order)
				}
			}
			if got := strings.Join(g.Cycle(), " "); got != c.cycle {
				t.Errorf("cycle %q, want %q", got, c.cycle)
			}
		})
	}
}

func TestReadyAndReach(t *testing.T) {
	g := graph("a>b a>c b>d c>d e")
	done := map[string]bool{"a": true, "b": true}
	if diff := cmp.Diff([]string{"c", "e"}, g.Ready(func(id string) bool { return done[id] })); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b", "c", "d"}, g.After("a")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, g.Before("d", "e", "unknown")); diff != "" {
		t.Error(diff)
	}
	took := map[string]int64{"a": 1, "b": 10, "c": 2, "d": 5, "e": 3}
	want := map[string]int64{"a": 16, "b": 15, "c": 7, "d": 5, "e": 3}
	if diff := cmp.Diff(want, g.Bottom(func(id string) int64 { return took[id] })); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"a": 0, "b": 1, "c": 1, "d": 2, "e": 0}, g.Levels()); diff != "" {
		t.Error(diff)
	}
}

type edge struct{ from, to int }

func drawEdges(t *rapid.T) []edge {
	node := rapid.IntRange(0, 12)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) edge {
		return edge{node.Draw(t, "from"), node.Draw(t, "to")}
	}), 0, 40).Draw(t, "edges")
}

// Either there is an order that keeps every edge, or a cycle made of edges.
func TestOrderOrCycle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		edges := drawEdges(t)
		g := dag.New[int]()
		for _, e := range edges {
			g.Edge(e.from, e.to)
		}
		order, ok := g.Order()
		cycle := g.Cycle()
		if ok != (cycle == nil) {
			t.Fatalf("order %v, cycle %v", ok, cycle)
		}
		if !ok {
			if len(cycle) < 2 || cycle[0] != cycle[len(cycle)-1] {
				t.Fatalf("not closed: %v", cycle)
			}
			for i := range cycle[:len(cycle)-1] {
				if !slices.Contains(edges, edge{cycle[i], cycle[i+1]}) {
					t.Fatalf("%v: no edge %d>%d", cycle, cycle[i], cycle[i+1])
				}
			}
			return
		}
		for _, e := range edges {
			if slices.Index(order, e.from) >= slices.Index(order, e.to) {
				t.Fatalf("order %v breaks %v", order, e)
			}
		}
	})
}

// Running what is ready until nothing is left visits every id once, in waves that
// are exactly the levels; and the bottom level with unit durations is the number of
// ids on the longest way to the end.
func TestReadyDrainsTheGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := dag.New[int]()
		for _, e := range drawEdges(t) {
			if e.from != e.to {
				g.Edge(min(e.from, e.to), max(e.from, e.to))
			}
		}
		levels, bottom := g.Levels(), g.Bottom(func(int) int64 { return 1 })
		done := map[int]bool{}
		for wave := 0; ; wave++ {
			ready := g.Ready(func(id int) bool { return done[id] })
			if len(ready) == 0 {
				break
			}
			for _, id := range ready {
				done[id] = true
				if levels[id] != wave {
					t.Fatalf("%d ready in wave %d, level %d", id, wave, levels[id])
				}
				for _, after := range g.After(id) {
					if bottom[id] <= bottom[after] || !slices.Contains(g.Before(after), id) {
						t.Fatalf("%d comes before %d", id, after)
					}
				}
			}
		}
		if len(done) != g.Len() {
			t.Fatalf("%d of %d ran", len(done), g.Len())
		}
	})
}
