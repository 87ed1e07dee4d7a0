package render

import (
	"fmt"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Artifacts is the table of `slipway artifacts`.
func (s Style) Artifacts(list []*pb.KeptArtifact, now time.Time) string {
	rows := make([][]Cell, 0, len(list))
	for _, k := range list {
		a := k.GetArtifact()
		kept := Cell{Text: "for " + Duration(k.GetUntil().AsTime().Sub(now))}
		if k.GetGone() != "" {
			kept = Cell{Text: Line(k.GetGone()), Color: Yellow}
		}
		rows = append(rows, []Cell{
			{Text: Line(k.GetTask())}, {Text: Line(a.GetName())}, {Text: fmt.Sprint(a.GetFiles())}, {Text: Size(a.GetSize())}, {Text: Line(a.GetDigest())}, kept,
		})
	}
	return s.Table([]string{"TASK", "NAME", "FILES", "SIZE", "DIGEST", "KEPT"}, rows)
}

// Size is a number of bytes as people read it.
func Size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range units {
		if v /= 1 << 10; v < 1<<10 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
