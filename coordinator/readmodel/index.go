package readmodel

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Names within the farm's part of Redis.
const (
	markerName = "marker" // tells the generation, and which lists there are
	allRuns    = "list:all"
)

func ofProject(p string) string { return "list:project:" + p }
func rowOf(id string) string    { return "run:" + id }

type entry struct {
	id, project string
	at          time.Time
}

// index is the order of the runs that are held, newest first.
type index struct {
	order []entry
	known map[string]bool
	cut   bool // older runs exist that are not held
}

func newIndex(cut bool) index { return index{known: map[string]bool{}, cut: cut} }

func (x *index) has(id string) bool { return x.known[id] }

// put adds a run at its place. dropped are those for which there is no room any more.
func (x *index) put(e entry, keep int) (added bool, dropped []entry) {
	if x.known[e.id] {
		return false, nil
	}
	i, _ := slices.BinarySearchFunc(x.order, e, func(a, b entry) int { return b.at.Compare(a.at) })
	for i < len(x.order) && x.order[i].at.Equal(e.at) {
		i++
	}
	if i >= keep {
		x.cut = true
		return false, nil
	}
	x.order = slices.Insert(x.order, i, e)
	x.known[e.id] = true
	for len(x.order) > keep {
		last := x.order[len(x.order)-1]
		x.order = x.order[:len(x.order)-1]
		delete(x.known, last.id)
		x.cut = true
		dropped = append(dropped, last)
	}
	return true, dropped
}

// names of all lists.
func (x *index) names() []string {
	out := []string{allRuns}
	seen := map[string]bool{}
	for _, e := range x.order {
		if !seen[e.project] {
			seen[e.project] = true
			out = append(out, ofProject(e.project))
		}
	}
	return out
}

const (
	wordComplete = "complete"
	wordCut      = "cut"
)

// encode is the value of a list, or of the marker: a word that says whether older runs
// were left out, then one name a line.
func (x *index) encode(list string) []byte {
	lines := []string{wordComplete}
	if x.cut {
		lines[0] = wordCut
	}
	if list == markerName {
		return []byte(strings.Join(append(lines, x.names()...), "\n"))
	}
	for _, e := range x.order {
		if list == allRuns || list == ofProject(e.project) {
			lines = append(lines, e.id)
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

func listed(data []byte) []string { return strings.Split(string(data), "\n")[1:] }

func named(marker []byte, list string) bool { return slices.Contains(listed(marker), list) }

func complete(data []byte) bool {
	word, _, _ := strings.Cut(string(data), "\n")
	return word == wordComplete
}

func encodeRun(r *pb.Run) ([]byte, error) { return proto.Marshal(r) } //nolint:wrapcheck // the caller names the run

func decodeRun(data []byte) (*pb.Run, error) {
	r := &pb.Run{}
	return r, proto.Unmarshal(data, r) //nolint:wrapcheck // the caller names the run
}
