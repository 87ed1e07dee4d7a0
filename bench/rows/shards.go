package rows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/pairs"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// splitShards is how many shards share the test: as many as the farm has slots.
const splitShards = 4

// teaching runs come before the first pair, as SCOREBOARD has it.
const teaching = 3

// suite is a test of which everything is known: how long each of its items takes.
type suite struct {
	names []string
	took  []time.Duration
}

// newSuite are items whose times differ as those of real suites do: a few take most of it (a log-normal distribution whose sigma
// is one, cut at an eighth of the whole so that none decides alone).
func newSuite(items int, total time.Duration) suite {
	r := rand.New(rand.NewPCG(5, 8))
	var s suite
	weights, sum := make([]float64, items), 0.0
	for i := range weights {
		weights[i] = math.Exp(r.NormFloat64())
		sum += weights[i]
	}
	for i, w := range weights {
		s.names = append(s.names, fmt.Sprintf("item%03d", i))
		s.took = append(s.took, time.Duration(min(w/sum, 0.125)*float64(total)).Round(time.Millisecond))
	}
	return s
}

// best is the split that the true times give, the longest first, and the bound that no split is below.
func (s suite) best(parts int) (split [][]int, bound time.Duration) {
	order := make([]int, len(s.took))
	sum, longest := time.Duration(0), time.Duration(0)
	for i, t := range s.took {
		order[i] = i
		sum, longest = sum+t, max(longest, t)
	}
	slices.SortFunc(order, func(a, b int) int { return int(s.took[b] - s.took[a]) })
	split = make([][]int, parts)
	load := make([]time.Duration, parts)
	for _, i := range order {
		least := 0
		for p := range load {
			if load[p] < load[least] {
				least = p
			}
		}
		split[least] = append(split[least], i)
		load[least] += s.took[i]
	}
	return split, max(longest, sum/time.Duration(parts))
}

// files of the suite's repository. An item sleeps for its time, give or take a tenth, and says in a report how long it did.
func (s suite) files(dir string) error {
	var list strings.Builder
	for i, name := range s.names {
		fmt.Fprintf(&list, "%s %d\n", name, s.took[i].Milliseconds())
	}
	busybox, err := os.ReadFile(shell)
	if err != nil {
		return fmt.Errorf("images need a shell, Debian's package busybox-static: %w", err)
	}
	for name, data := range map[string]string{
		"slipway.yaml": fmt.Sprintf(`version: 1
project: suite
services:
  api:
    path: api
    test:
      unit: { in: tests, shards: %d, list: "cut -d' ' -f1 suite.txt", run: "sh run.sh $SLIPWAY_TESTS >junit.xml", report: junit.xml }
`, splitShards),
		"api/Dockerfile": `FROM scratch AS tests
COPY api/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
WORKDIR /src
COPY api .
FROM scratch
COPY api/version /version
`,
		"api/busybox":   string(busybox),
		"api/version":   "0\n",
		"api/suite.txt": list.String(),
		"api/run.sh": `echo "<testsuites>"
while read name; do
  ms=$(grep "^$name " suite.txt | cut -d' ' -f2)
  ms=$((ms * (90 + $(od -An -N1 -tu1 /dev/urandom) % 21) / 100))
  usleep $((ms * 1000))
  printf "<testsuite name='%s'><testcase name='it works' time='%d.%03d'/></testsuite>\n" $name $((ms / 1000)) $((ms % 1000))
done <$1
echo "</testsuites>"
`,
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			return fmt.Errorf("make a repository: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o755); err != nil {
			return fmt.Errorf("make a repository: %w", err)
		}
	}
	if err := git(context.Background(), dir, "init", "-q", "-b", "main"); err != nil {
		return err
	}
	return commit(context.Background(), dir)
}

// alone carries out a split side by side, with nothing around it: what an ideal farm would take.
func (s suite) alone(ctx context.Context, dir string, split [][]int) (time.Duration, error) {
	start := time.Now()
	errs := make(chan error, len(split))
	for n, part := range split {
		name := filepath.Join(dir, fmt.Sprint("part", n))
		var list strings.Builder
		for _, i := range part {
			fmt.Fprintln(&list, s.names[i])
		}
		if err := os.WriteFile(name, []byte(list.String()), 0o644); err != nil {
			return 0, fmt.Errorf("write a part: %w", err)
		}
		cmd := exec.CommandContext(ctx, shell, "sh", "run.sh", name)
		cmd.Dir = filepath.Join(dir, "api")
		go func() { errs <- cmd.Run() }()
	}
	for range split {
		if err := <-errs; err != nil {
			return 0, fmt.Errorf("carry out a part: %w", err)
		}
	}
	return time.Since(start), nil
}

// sharded is what a run says of its shards.
type sharded struct {
	elapsed time.Duration // from the first lease of a shard to the end of the test
	cases   int32
}

// next commits a change and has the farm test it.
func (w *whole) next(ctx context.Context, dir string) (out sharded, err error) {
	w.keys++
	if err := os.WriteFile(filepath.Join(dir, "api", "version"), []byte(fmt.Sprintln(w.keys)), 0o644); err != nil {
		return out, fmt.Errorf("change a file: %w", err)
	}
	if err := commit(ctx, dir); err != nil {
		return out, err
	}
	res, err := w.runs.Submit(ctx, &pb.SubmitRequest{IdempotencyKey: fmt.Sprint("shards-", w.keys), Repository: dir, Ref: "main"})
	if err != nil {
		return out, fmt.Errorf("submit: %w", err)
	}
	watch, err := w.runs.Watch(ctx, &pb.WatchRequest{Run: res.GetRun().GetId()})
	if err != nil {
		return out, fmt.Errorf("watch: %w", err)
	}
	for err == nil {
		_, err = watch.Recv()
	}
	if !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("watch: %w", err)
	}
	got, err := w.runs.Get(ctx, &pb.GetRequest{Run: res.GetRun().GetId()})
	if err != nil {
		return out, fmt.Errorf("read the run: %w", err)
	}
	if s := got.GetRun().GetState(); s != pb.RunState_RUN_STATE_SUCCEEDED {
		return out, fmt.Errorf("the run is %s: %s", s, got.GetRun().GetMessage())
	}
	var first, last time.Time
	for _, t := range got.GetRun().GetTasks() {
		switch t.GetKind() {
		case "test":
			if at := t.GetAttempts()[0].GetLeasedAt().AsTime(); first.IsZero() || at.Before(first) {
				first = at
			}
		case "gather":
			last, out.cases = t.GetFinishedAt().AsTime(), t.GetResult().GetTests().GetTotal()
		}
	}
	out.elapsed = last.Sub(first)
	return out, nil
}

// splitting is a test of known items that is split by the times which earlier runs took.
func splitting(ctx context.Context, b *bench) error {
	dir, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	s := newSuite(b.size(60, 12), time.Duration(b.size(60, 4))*time.Second)
	repo := filepath.Join(dir, "suite")
	if err := s.files(repo); err != nil {
		return err
	}
	machine := farm.Machine()
	w, err := openWhole(ctx, dir)
	if err != nil {
		return err
	}
	defer w.close()
	split, bound := s.best(splitShards)
	r := pairs.Result{
		Row: "shards", Unit: "s", Durable: "fsync before ack",
		What:    fmt.Sprintf("a test of %d items (%d s, of which a few take most) in %d shards, after %d runs: the first lease of a shard → the end of the test, in containers of BuildKit's", len(s.names), b.size(60, 4), splitShards, teaching),
		Against: "the same commands in processes side by side, split by the true times: the start of the first → the end of the last",
		Notes:   []string{fmt.Sprintf("no split ends before %s", bound)},
	}
	for i := range teaching {
		out, err := w.next(ctx, repo)
		if err != nil {
			return err
		}
		r.Notes = append(r.Notes, fmt.Sprintf("run %d, which taught: %.2f s", i+1, out.elapsed.Seconds()))
	}
	r.Raw, err = b.interleave("shards", func(int) (pairs.Half, error) {
		elapsed, err := s.alone(ctx, repo, split)
		return pairs.Half{Value: elapsed.Seconds()}, err
	}, func(int) (pairs.Half, error) {
		before := w.cpu()
		out, err := w.next(ctx, repo)
		if err == nil && int(out.cases) != len(s.names) {
			r.Broken = append(r.Broken, fmt.Sprintf("%d of %d items were tested", out.cases, len(s.names)))
		}
		return pairs.Half{Value: out.elapsed.Seconds(), CPU: w.cpu() - before}, err
	})
	if err != nil {
		return err
	}
	return b.finish(r, pairs.Goal{Limit: 1.2, AtMost: true}, machine)
}
