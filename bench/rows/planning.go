package rows

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/examples/many"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// planning is what a service costs in a plan of many, against one in a plan of few: each time of a new commit.
func planning(ctx context.Context, b *bench) error {
	dir, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	machine := farm.Machine()
	few, most := b.size(200, 40), b.size(many.MaxServices, 80)
	repos := map[int]string{}
	for _, n := range []int{few, most} {
		repos[n] = filepath.Join(dir, fmt.Sprint("many-", n))
		if err := repository(ctx, repos[n], many.Options{Services: n, Seed: 1, Bytes: int64(n) << 14, Busybox: shell, Tested: true}); err != nil {
			return err
		}
	}
	w, err := openWhole(ctx, dir)
	if err != nil {
		return err
	}
	defer w.close()
	var took []float64 // of the large one, milliseconds
	half := func(n int) func(int) (pairs.Half, error) {
		return func(i int) (pairs.Half, error) {
			if err := os.WriteFile(filepath.Join(repos[n], "README.md"), fmt.Append(nil, i), 0o644); err != nil {
				return pairs.Half{}, fmt.Errorf("change a file: %w", err)
			}
			if err := commit(ctx, repos[n]); err != nil {
				return pairs.Half{}, err
			}
			cpu, start := w.cpu(), time.Now()
			res, err := w.runs.Plan(ctx, &pb.PlanRequest{Repository: repos[n], Ref: "main"})
			elapsed := time.Since(start)
			if err != nil {
				return pairs.Half{}, fmt.Errorf("plan: %w", err)
			}
			made, err := plan.Decode(res.GetPlanJson())
			if err != nil {
				return pairs.Half{}, fmt.Errorf("read the plan: %w", err)
			}
			if len(made.Services) != n {
				return pairs.Half{}, fmt.Errorf("the plan has %d services, want %d", len(made.Services), n)
			}
			if n == most {
				took = append(took, elapsed.Seconds()*1000)
			}
			return pairs.Half{Value: elapsed.Seconds() * 1e6 / float64(n), CPU: w.cpu() - cpu}, nil
		}
	}
	r := pairs.Result{
		Row: "planning", Unit: "µs a service", Durable: "nothing is stored",
		What:    fmt.Sprintf("a service in the plan of a new commit with %d services, with a test each: the whole Plan request, with fetch", most),
		Against: fmt.Sprintf("the same with %d services", few),
	}
	if r.Raw, err = b.interleave("planning", half(few), half(most)); err != nil {
		return err
	}
	r.Notes = append(r.Notes, fmt.Sprintf("a plan of %d services took %.0f ms in the median", most, pairs.Median(took)))
	return b.finish(r, pairs.Goal{Limit: 1.1, AtMost: true}, machine)
}
