package web

import (
	"fmt"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// graph is the plan of a run in a picture: each task right of what it needs.
type graph struct {
	Width, Height int
	Nodes         []node
	Edges         []edge
	Hidden        int // tasks, when there are too many for a picture
}

type node struct {
	ID, Label string
	Mark      mark
	X, Y      int
	Title     string
}

type edge struct{ Path string }

const (
	nodeWidth  = 210
	nodeHeight = 24
	nodeGapX   = 46
	nodeGapY   = 8
)

// makeGraph lays tasks out in columns by their longest path from the start, in the order
// of the plan within a column. Lines that others imply are left out.
func makeGraph(tasks []*pb.Task) graph {
	if len(tasks) > maxPicture {
		return graph{Hidden: len(tasks)}
	}
	by := map[string]*pb.Task{}
	for _, t := range tasks {
		by[t.GetId()] = t
	}
	column := map[string]int{}
	var depth func(t *pb.Task) int
	depth = func(t *pb.Task) int {
		if c, ok := column[t.GetId()]; ok {
			return c
		}
		column[t.GetId()] = 0 // a plan has no cycle; if it had, this would end it
		c := 0
		for _, need := range t.GetNeeds() {
			if n, ok := by[need]; ok {
				c = max(c, depth(n)+1)
			}
		}
		column[t.GetId()] = c
		return c
	}
	g := graph{}
	rows := map[int]int{}
	at := map[string]node{}
	for _, t := range tasks {
		c := depth(t)
		n := node{
			ID: t.GetId(), Label: shorten(t.GetId(), 28), Mark: taskMark(t.GetState()),
			X: 4 + c*(nodeWidth+nodeGapX), Y: 4 + rows[c]*(nodeHeight+nodeGapY),
		}
		n.Title = t.GetId() + ": " + n.Mark.Word
		rows[c]++
		at[t.GetId()] = n
		g.Nodes = append(g.Nodes, n)
		g.Width, g.Height = max(g.Width, n.X+nodeWidth+4), max(g.Height, n.Y+nodeHeight+4)
	}
	before := ancestors(tasks, by)
	for _, t := range tasks {
		for _, need := range t.GetNeeds() {
			from, ok := at[need]
			if !ok || implied(t, need, before) {
				continue
			}
			to := at[t.GetId()]
			x1, y1, x2, y2 := from.X+nodeWidth, from.Y+nodeHeight/2, to.X, to.Y+nodeHeight/2
			g.Edges = append(g.Edges, edge{fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+nodeGapX/2, y1, x2-nodeGapX/2, y2, x2, y2)})
		}
	}
	return g
}

// ancestors are all tasks that each task needs, directly or not.
func ancestors(tasks []*pb.Task, by map[string]*pb.Task) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	var of func(t *pb.Task) map[string]bool
	of = func(t *pb.Task) map[string]bool {
		if s, ok := out[t.GetId()]; ok {
			return s
		}
		s := map[string]bool{}
		out[t.GetId()] = s
		for _, need := range t.GetNeeds() {
			if n, ok := by[need]; ok {
				s[need] = true
				for id := range of(n) {
					s[id] = true
				}
			}
		}
		return s
	}
	for _, t := range tasks {
		of(t)
	}
	return out
}

// implied says that another need of t needs this one already.
func implied(t *pb.Task, need string, before map[string]map[string]bool) bool {
	for _, other := range t.GetNeeds() {
		if other != need && before[other][need] {
			return true
		}
	}
	return false
}

func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
