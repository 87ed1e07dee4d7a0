package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/coordinator/replay"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

// simulation is what `slipway simulate -o json` prints.
type simulation struct {
	Runs           []string   `json:"runs"` // oldest first
	Tasks          int        `json:"tasks"`
	WorkMillis     int64      `json:"work_ms"` // of the tasks that need a slot
	CriticalMillis int64      `json:"critical_path_ms"`
	TookMillis     int64      `json:"took_ms"` // in fact, from the first acceptance to the last end
	Results        []foretold `json:"results"`
}

// foretold is what would have been with a number of slots.
type foretold struct {
	Slots          int     `json:"slots"`
	MakespanMillis int64   `json:"makespan_ms"`
	BoundMillis    int64   `json:"bound_ms"`
	WaitP50Millis  int64   `json:"waiting_p50_ms"`
	WaitMaxMillis  int64   `json:"waiting_max_ms"`
	Utilization    float64 `json:"utilization"`
}

func (a *app) simulate() *cobra.Command {
	var last int
	var project string
	var slots []int
	var keep map[string]int
	c := &cobra.Command{
		Use:   "simulate [RUN]",
		Short: "Say how a run would have gone with other numbers of slots",
		Long: `Simulate carries a run that has ended (the latest, if none is named), or the last runs
together, out again on paper: the same tasks, each for as long as all its attempts took, in
the order in which the farm's own scheduler gives them out. For each number of slots it
says how long it would have taken (MAKESPAN), the BOUND that no order of the tasks could
beat (the longest path through them, or the work divided by the slots), how long tasks
would have waited for a slot, and how much of its slots the capability would have USED
that is the busiest.

Each capability (build, which tests use too, render, and deploy_CLUSTER) has that many
slots; --keep holds some of them at another number. Tasks that never began are left out.
Quotas of teams, groups, the locks of environments and what made attempts fail are not replayed,
and messages take no time.`,
		Example: "  slipway simulate --last 20 --slots 2,4,8 --keep deploy_prod-eu=1",
		Args:    between(0, "RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	c.Flags().IntVar(&last, "last", 0, "the last so many runs together, instead of one")
	c.Flags().StringVar(&project, "project", "", "of --last: only runs of this project")
	c.Flags().IntSliceVar(&slots, "slots", []int{1, 2, 4, 8, 16, 32}, "numbers of slots to try")
	c.Flags().StringToIntVar(&keep, "keep", nil, "slots of a capability whatever is tried: CAPABILITY=N")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := wantSlots(slots, keep); err != nil {
			return err
		}
		if last < 0 || last > 1000 || last > 0 && len(args) > 0 {
			return usage("--last takes a number up to 1000, and no RUN beside it")
		}
		return a.dial(c.Context(), func(cl *client.Client) error {
			runs, err := a.ended(c.Context(), cl, last, project, args)
			if err != nil {
				return err
			}
			s, err := simulated(runs, slots, keep)
			if err != nil {
				return err
			}
			if *out == "table" {
				return a.printf("%s", s.table(a.style()))
			}
			data, err := json.Marshal(s)
			if err != nil {
				return fmt.Errorf("encode the answer: %w", err)
			}
			return a.document(*out, data)
		})
	}
	return c
}

// wantSlots checks numbers of slots.
func wantSlots(slots []int, keep map[string]int) error {
	for _, n := range slots {
		if n < 1 || n > 1_000_000 {
			return usage("--slots takes numbers from 1 to 1000000, and got %d", n)
		}
	}
	for capability, n := range keep {
		if n < 1 || n > 1_000_000 {
			return usage("--keep takes numbers from 1 to 1000000, and got %s=%d", capability, n)
		}
	}
	return nil
}

// ended asks for the runs that are simulated, oldest first.
func (a *app) ended(ctx context.Context, cl *client.Client, last int, project string, args []string) ([]*pb.Run, error) {
	names := []string{runName(args)}
	if last > 0 {
		res, err := cl.Runs.List(ctx, &pb.ListRequest{Project: project, Limit: int32(last)})
		if err != nil {
			return nil, err
		}
		names = nil
		for _, r := range res.GetRuns() {
			names = append(names, r.GetId())
		}
		slices.Reverse(names)
	}
	var runs []*pb.Run
	for _, name := range names {
		res, err := cl.Runs.Get(ctx, &pb.GetRequest{Run: name})
		switch {
		case err != nil:
			return nil, err
		case render.RunEnded(res.GetRun().GetState()):
			runs = append(runs, res.GetRun())
		case last == 0:
			return nil, fmt.Errorf("run %s has not ended: what it will take is not known", res.GetRun().GetId())
		default:
			a.note("run %s has not ended, and is left out", res.GetRun().GetId())
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("there is no run that has ended")
	}
	return runs, nil
}

// simulated replays runs with each number of slots.
func simulated(list []*pb.Run, slots []int, keep map[string]int) (simulation, error) {
	runs, took := replayed(list)
	s := simulation{CriticalMillis: replay.CriticalPath(runs).Milliseconds(), TookMillis: took.Milliseconds()}
	for i := range runs {
		s.Runs = append(s.Runs, runs[i].ID)
	}
	for _, w := range replay.Work(runs) {
		s.WorkMillis += w.Milliseconds()
	}
	for _, n := range slots {
		o, err := replay.Replay(runs, func(capability string) int {
			if k, ok := keep[capability]; ok {
				return k
			}
			return n
		})
		if err != nil {
			return simulation{}, fmt.Errorf("replay: %w", err)
		}
		s.Tasks = len(o.Tasks)
		s.Results = append(s.Results, foretold{
			Slots: n, MakespanMillis: o.Makespan.Milliseconds(), BoundMillis: o.Bound.Milliseconds(),
			WaitP50Millis: o.WaitP50.Milliseconds(), WaitMaxMillis: o.WaitMax.Milliseconds(), Utilization: o.Utilization,
		})
	}
	return s, nil
}

func (s simulation) table(style render.Style) string {
	long := func(ms int64) render.Cell {
		return render.Cell{Text: render.Duration(time.Duration(ms) * time.Millisecond)}
	}
	what := render.Line(s.Runs[0])
	if len(s.Runs) > 1 {
		what = fmt.Sprintf("%d runs", len(s.Runs))
	}
	text := fmt.Sprintf("%s: %d tasks, %s of work, critical path %s; it took %s\n", what, s.Tasks,
		long(s.WorkMillis).Text, long(s.CriticalMillis).Text, long(s.TookMillis).Text)
	var rows [][]render.Cell
	for _, r := range s.Results {
		rows = append(rows, []render.Cell{
			{Text: strconv.Itoa(r.Slots)}, long(r.MakespanMillis), long(r.BoundMillis), long(r.WaitP50Millis), long(r.WaitMaxMillis),
			{Text: fmt.Sprintf("%.0f%%", 100*r.Utilization)},
		})
	}
	return text + style.Table([]string{"SLOTS", "MAKESPAN", "BOUND", "WAITING P50", "WAITING MAX", "USED"}, rows)
}
