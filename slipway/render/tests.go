package render

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// CaseName is the name of a test case as people are shown it.
func CaseName(n *pb.TestName) string {
	if n.GetSuite() == "" || n.GetSuite() == n.GetName() {
		return n.GetName()
	}
	return n.GetSuite() + " " + n.GetName()
}

// KnownTests is the table of `slipway tests`.
func (s Style) KnownTests(list []*pb.Test, now time.Time) string {
	rows := make([][]Cell, 0, len(list))
	for _, t := range list {
		recent := recently(t.GetRecent())
		test := Cell{Text: Line(strings.TrimPrefix(t.GetId(), "test/"))}
		if len(t.GetCases()) == 0 {
			rows = append(rows, []Cell{test, recent, {}, {}, {}, {}})
		}
		for _, c := range t.GetCases() {
			flakes := Cell{Text: fmt.Sprint(c.GetFlakes())}
			if c.GetFlakes() > 0 {
				flakes.Color = Yellow
			}
			rows = append(rows, []Cell{
				test, recent, {Text: Line(CaseName(c.GetCase()))}, {Text: lastFailure(c, now)}, flakes, held(c, now),
			})
			test, recent = Cell{}, Cell{}
		}
	}
	return s.Table([]string{"TEST", "RECENT", "CASE THAT FAILED", "LAST", "FLAKY", "QUARANTINE"}, rows)
}

// recently draws executions, the newest last.
func recently(list []*pb.TestExecution) Cell {
	var b strings.Builder
	for _, x := range list {
		switch {
		case x.GetFlaky():
			b.WriteString("~")
		case x.GetPassed():
			b.WriteString("✓")
		default:
			b.WriteString("✗")
		}
	}
	out := Cell{Text: b.String(), Color: Green}
	if n := len(list); n > 0 && !list[n-1].GetPassed() {
		out.Color = Red
	} else if strings.ContainsAny(out.Text, "~✗") {
		out.Color = Yellow
	}
	return out
}

func lastFailure(c *pb.KnownCase, now time.Time) string {
	if c.GetFailedAt() == nil {
		return "never seen"
	}
	out := fmt.Sprintf("%s ago in %s", Duration(now.Sub(c.GetFailedAt().AsTime())), Line(c.GetRun()))
	if c.GetPasses() > 0 {
		out += fmt.Sprintf(", %d passed since", c.GetPasses())
	}
	return out
}

func held(c *pb.KnownCase, now time.Time) Cell {
	q := c.GetQuarantine()
	if q == nil {
		return Cell{}
	}
	text := fmt.Sprintf("for %s, or %d passes in a row", Duration(q.GetUntil().AsTime().Sub(now)), q.GetRelease())
	if q.GetReason() != "" {
		text += "; " + Line(q.GetReason())
	}
	if q.GetBy() != "" {
		text += "; by " + Line(q.GetBy())
	}
	return Cell{Text: text, Color: Yellow}
}
