// Package dag holds a directed graph over ids and answers what the planner and the
// dispatcher ask of it: is there a cycle, in which order, what is ready, what is on
// the longest path, what depends on what.
//
// Every answer takes O(V+E) and is deterministic: among ids that are equally good,
// the one that was added first comes first. The package knows nothing of what an id
// stands for, and keeps no state of execution.
package dag

// Graph is a directed graph. An edge from a to b says that a comes before b.
// It is built by one goroutine; reading it is safe for many.
type Graph[K comparable] struct {
	ids    []K
	index  map[K]int
	after  [][]int // edges out: what comes after
	before [][]int // edges in: what comes before
}

// New is the empty graph.
func New[K comparable]() *Graph[K] { return &Graph[K]{index: map[K]int{}} }

// Add makes sure that id is in the graph.
func (g *Graph[K]) Add(id K) { g.add(id) }

func (g *Graph[K]) add(id K) int {
	i, ok := g.index[id]
	if !ok {
		i = len(g.ids)
		g.index[id] = i
		g.ids = append(g.ids, id)
		g.after = append(g.after, nil)
		g.before = append(g.before, nil)
	}
	return i
}

// Edge says that from comes before to, and adds both. An edge may be added twice.
func (g *Graph[K]) Edge(from, to K) {
	f, t := g.add(from), g.add(to)
	g.after[f] = append(g.after[f], t)
	g.before[t] = append(g.before[t], f)
}

// Len is the number of ids.
func (g *Graph[K]) Len() int { return len(g.ids) }

// Order returns all ids, each behind everything that comes before it. It returns
// false if there is a cycle; Cycle then names one.
func (g *Graph[K]) Order() ([]K, bool) {
	order, ok := g.order()
	return g.names(order), ok
}

func (g *Graph[K]) order() ([]int, bool) {
	waits := make([]int, len(g.ids))
	queue := make([]int, 0, len(g.ids))
	for i := range g.ids {
		waits[i] = len(g.before[i])
		if waits[i] == 0 {
			queue = append(queue, i)
		}
	}
	for next := 0; next < len(queue); next++ {
		for _, t := range g.after[queue[next]] {
			if waits[t]--; waits[t] == 0 {
				queue = append(queue, t)
			}
		}
	}
	return queue, len(queue) == len(g.ids)
}

// Cycle returns ids of which each comes before the next, the last one being the
// first again; nil if there is no cycle.
func (g *Graph[K]) Cycle() []K {
	order, ok := g.order()
	if ok {
		return nil
	}
	settled := make([]bool, len(g.ids))
	for _, i := range order {
		settled[i] = true
	}
	// Whatever is not settled has something unsettled before it: walking back must
	// meet an id for the second time.
	at := 0
	for settled[at] {
		at++
	}
	seen := map[int]int{}
	var walk []int
	for {
		if first, met := seen[at]; met {
			walk = append(walk[first:], at)
			break
		}
		seen[at] = len(walk)
		walk = append(walk, at)
		for _, b := range g.before[at] {
			if !settled[b] {
				at = b
				break
			}
		}
	}
	for i, j := 0, len(walk)-1; i < j; i, j = i+1, j-1 {
		walk[i], walk[j] = walk[j], walk[i]
	}
	return g.names(g.rotate(walk))
}

// rotate begins a cycle at the id that was added first, so that the same cycle is
// always named the same way.
func (g *Graph[K]) rotate(walk []int) []int {
	body := walk[:len(walk)-1]
	least := 0
	for i := range body {
		if body[i] < body[least] {
			least = i
		}
	}
	out := append(append([]int{}, body[least:]...), body[:least]...)
	return append(out, body[least])
}

// Ready returns the ids that are not done although all before them are.
func (g *Graph[K]) Ready(done func(K) bool) []K {
	finished := make([]bool, len(g.ids))
	for i, id := range g.ids {
		finished[i] = done(id)
	}
	var out []K
	for i, id := range g.ids {
		ready := !finished[i]
		for _, b := range g.before[i] {
			ready = ready && finished[b]
		}
		if ready {
			out = append(out, id)
		}
	}
	return out
}

// Levels returns for each id the number of edges on the longest way to it: 0 for
// those with nothing before them. The graph must have no cycle.
func (g *Graph[K]) Levels() map[K]int {
	level := make([]int, len(g.ids))
	order, _ := g.order()
	for _, i := range order {
		for _, b := range g.before[i] {
			level[i] = max(level[i], level[b]+1)
		}
	}
	out := make(map[K]int, len(g.ids))
	for i, id := range g.ids {
		out[id] = level[i]
	}
	return out
}

// Bottom returns for each id the time from its start to the end of everything
// after it: the larger, the more urgent. The graph must have no cycle.
func (g *Graph[K]) Bottom(duration func(K) int64) map[K]int64 {
	bottom := make([]int64, len(g.ids))
	order, _ := g.order()
	for n := len(order) - 1; n >= 0; n-- {
		i := order[n]
		for _, t := range g.after[i] {
			bottom[i] = max(bottom[i], bottom[t])
		}
		bottom[i] += duration(g.ids[i])
	}
	out := make(map[K]int64, len(g.ids))
	for i, id := range g.ids {
		out[id] = bottom[i]
	}
	return out
}

// After returns everything that comes after one of the ids, over any number of
// edges, without the ids themselves unless they are on a cycle.
func (g *Graph[K]) After(ids ...K) []K { return g.reach(g.after, ids) }

// Before returns everything that comes before one of the ids.
func (g *Graph[K]) Before(ids ...K) []K { return g.reach(g.before, ids) }

func (g *Graph[K]) reach(edges [][]int, ids []K) []K {
	seen := make([]bool, len(g.ids))
	var stack []int
	for _, id := range ids {
		if i, ok := g.index[id]; ok {
			stack = append(stack, i)
		}
	}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, t := range edges[i] {
			if !seen[t] {
				seen[t] = true
				stack = append(stack, t)
			}
		}
	}
	var out []K
	for i, yes := range seen {
		if yes {
			out = append(out, g.ids[i])
		}
	}
	return out
}

func (g *Graph[K]) names(list []int) []K {
	out := make([]K, len(list))
	for n, i := range list {
		out[n] = g.ids[i]
	}
	return out
}
