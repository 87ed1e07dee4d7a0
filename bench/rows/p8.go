package rows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/examples/many"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	p8Daemons = 4
	p8Slots   = 2 // of each
	p8Load    = 0.7
	p8Commits = 30
	p8Most    = 5 // services in a commit
)

// p8 has commits of a few services each come to four workers with a BuildKit daemon each, one of which is replaced by an empty
// one in the middle; the reference is one daemon that never throws anything away, and builds the same commits.
func p8(ctx context.Context, b *bench) error {
	hits := pairs.Result{
		Row: "P8-hits", Unit: "share of Dockerfile steps that were cached", Durable: "fsync before ack; images in the farm's registry on the same disk",
		Against: "one daemon with as many slots as come at once, which keeps everything",
	}
	balance := hits
	balance.Row, balance.Unit, balance.Against = "P8-balance", "busy time of the busiest daemon, by the mean of all", "even: 1"
	o := many.Options{Services: b.size(40, 8), Bytes: int64(b.size(40<<20, 1<<20)), Seed: 1, Busybox: shell, Seconds: b.size(2, 1)}
	n := b.size(p8Commits, 6)
	hits.What = fmt.Sprintf("%d commits of 1 to %d of %d services come to %d daemons with %d slots each at %.0f %% load; before the %dth one daemon is replaced by an empty one; a service has a step for what it depends on and one for its sources, of %d s each",
		n, p8Most, o.Services, p8Daemons, p8Slots, 100*p8Load, n/2+1, o.Seconds)
	balance.What = hits.What
	machine := farm.Machine()
	var one built8
	all, err := b.interleaveAll([]string{"P8-hits", "P8-balance"}, func(i int) (_ []pairs.Half, err error) {
		one, err = b.series(ctx, o, changes(o, n, uint64(i)), time.Duration(o.Seconds)*time.Second, false)
		return []pairs.Half{{Value: one.share(), CPU: one.cpu}, {Value: 1}}, err
	}, func(i int) ([]pairs.Half, error) {
		// A task takes as long as it did with the one daemon: so often commits come.
		pause := time.Duration(float64(one.busy()) / float64(n) / (p8Load * p8Daemons * p8Slots))
		four, err := b.series(ctx, o, changes(o, n, uint64(i)), pause, true)
		if err != nil {
			return nil, err
		}
		if broken := one.differs(four); broken != "" {
			hits.Broken = append(hits.Broken, broken)
		}
		note := fmt.Sprintf("pair %d: a commit every %s; %d builds, %d with one daemon; busy %v", i+1, pause.Round(time.Millisecond), four.builds, one.builds, four.seconds())
		hits.Notes, balance.Notes = append(hits.Notes, note), append(balance.Notes, note)
		fmt.Fprintln(b.Out, note)
		return []pairs.Half{{Value: four.share(), CPU: four.cpu}, {Value: four.uneven(), CPU: four.cpu}}, nil
	})
	if err != nil {
		return err
	}
	hits.Raw, balance.Raw, balance.Broken = all[0], all[1], hits.Broken
	if b.wants(hits.Row) {
		if err := b.finish(hits, pairs.Goal{Limit: 0.98}, machine); err != nil {
			return err
		}
	}
	if b.wants(balance.Row) {
		return b.finish(balance, pairs.Goal{Limit: 1.15, AtMost: true}, machine)
	}
	return nil
}

// changes are the services that each commit touches.
func changes(o many.Options, commits int, seed uint64) [][]many.Service {
	all, err := o.List()
	if err != nil {
		return nil // which making the repository says too
	}
	leaves := slices.DeleteFunc(all, func(s many.Service) bool { return s.Base == "" })
	r := rand.New(rand.NewPCG(8, seed))
	out := make([][]many.Service, commits)
	for i := range out {
		for _, k := range r.Perm(len(leaves))[:1+r.IntN(p8Most)] {
			out[i] = append(out[i], leaves[k])
		}
	}
	return out
}

// built8 is what the builds of a series of commits did.
type built8 struct {
	builds, steps, cached int
	workers               map[string]time.Duration // how long each was busy
	images                map[string]string        // digests of the last commit, by service
	cpu                   float64
}

func (r built8) share() float64 { return float64(r.cached) / float64(max(1, r.steps)) }

func (r built8) busy() (sum time.Duration) {
	for _, d := range r.workers {
		sum += d
	}
	return sum
}

// uneven is how much more than the mean the busiest was busy.
func (r built8) uneven() float64 {
	most := time.Duration(0)
	for _, d := range r.workers {
		most = max(most, d)
	}
	return float64(most) * p8Daemons / float64(r.busy())
}

func (r built8) seconds() []string {
	var out []string
	for name, d := range r.workers {
		out = append(out, fmt.Sprintf("%s %.1f s", name, d.Seconds()))
	}
	slices.Sort(out)
	return out
}

// differs says which image is not the same in another series.
func (r built8) differs(o built8) string {
	for service, digest := range r.images {
		if o.images[service] != digest {
			return fmt.Sprintf("I8: the image of %s is %s, and %s of the one daemon", service, o.images[service], digest)
		}
	}
	return ""
}

// fleet is a farm with workers beside it.
type fleet struct {
	*whole

	dir     string
	nats    string
	workers map[string]*farm.Proc
	made    int
	gone    float64 // CPU seconds of workers that were replaced
}

// series has a farm of its own build a repository, with one daemon or several, and then commits with a pause in between.
func (b *bench) series(ctx context.Context, o many.Options, commits [][]many.Service, pause time.Duration, several bool) (out built8, err error) {
	dir, remove, err := scratch(b.Disk)
	if err != nil {
		return out, err
	}
	defer remove()
	repo := filepath.Join(dir, "repository")
	if err := repository(ctx, repo, o); err != nil {
		return out, err
	}
	f, err := openFleet(ctx, dir, several)
	if err != nil {
		return out, err
	}
	defer f.stop()
	first, err := f.submit(ctx, repo)
	if err == nil {
		_, err = f.ended(ctx, first)
	}
	if err != nil {
		return out, err
	}
	cpu := f.cpu()
	var runs []string
	begin := time.Now()
	for i, services := range commits {
		select {
		case <-time.After(time.Until(begin.Add(time.Duration(i) * pause))):
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
		if several && i == len(commits)/2 {
			if err := f.replace(ctx, "daemon-1"); err != nil {
				return out, err
			}
		}
		for _, s := range services {
			if err := os.WriteFile(filepath.Join(repo, s.Path, "main.sh"), fmt.Appendf(nil, "#!/bin/sh\necho %d\n", i), 0o644); err != nil {
				return out, fmt.Errorf("change a file: %w", err)
			}
		}
		if err := commit(ctx, repo); err != nil {
			return out, err
		}
		id, err := f.submit(ctx, repo)
		if err != nil {
			return out, err
		}
		runs = append(runs, id)
	}
	out.workers = map[string]time.Duration{}
	for _, id := range runs {
		r, err := f.ended(ctx, id)
		if err != nil {
			return out, err
		}
		if err := out.add(r); err != nil {
			return out, err
		}
	}
	out.cpu = f.cpu() - cpu
	return out, nil
}

// instruction is the name of a step that is a line of a Dockerfile.
var instruction = regexp.MustCompile(`^\[(\S+ )?\d+/\d+\] `)

// add counts what the builds of a run did.
func (r *built8) add(run *pb.Run) error {
	r.images = map[string]string{}
	for _, t := range run.GetTasks() {
		if t.GetKind() != "build" {
			continue
		}
		_, digest, ok := strings.Cut(t.GetResult().GetImage(), "@")
		if !ok {
			return fmt.Errorf("%s of %s made no image: %s", t.GetId(), run.GetId(), t.GetMessage())
		}
		r.images[t.GetService()] = digest
		for _, a := range t.GetAttempts() {
			r.builds++
			r.workers[a.GetWorker()] += a.GetFinishedAt().AsTime().Sub(a.GetStartedAt().AsTime())
			cached := map[string]bool{} // one that BuildKit shows twice was cached if it was both times
			for _, s := range a.GetSteps() {
				if instruction.MatchString(s.GetName()) {
					before, again := cached[s.GetName()]
					cached[s.GetName()] = s.GetCached() && (before || !again)
				}
			}
			for _, was := range cached {
				r.steps++
				if was {
					r.cached++
				}
			}
		}
	}
	return nil
}

func openFleet(ctx context.Context, dir string, several bool) (f *fleet, err error) {
	f = &fleet{dir: dir, workers: map[string]*farm.Proc{}}
	port := 0
	slots := p8Daemons * p8Slots
	if several {
		var l net.Listener
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("find a port: %w", err)
		}
		port = l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of a TCP listener
		_ = l.Close()
		f.nats, slots = fmt.Sprintf("nats://127.0.0.1:%d", port), -1
	}
	if f.whole, err = openWholeWith(ctx, dir, node.Whole{Slots: slots, NATS: port}); err != nil {
		return nil, err
	}
	for i := range p8Daemons {
		if several {
			if err := f.start(ctx, fmt.Sprint("daemon-", i+1)); err != nil {
				f.stop()
				return nil, err
			}
		}
	}
	return f, nil
}

// start starts a worker with an empty daemon.
func (f *fleet) start(ctx context.Context, name string) (err error) {
	f.made++
	f.workers[name], err = farm.Start(ctx, "builder", node.Builder{
		Name: name, State: filepath.Join(f.dir, fmt.Sprint("builder-", f.made)), Tools: f.tools, Farm: f.state, Address: f.file.Address, NATS: f.nats,
		Registry: f.file.Mirror.Registry, Slots: p8Slots, Shares: true,
	})
	return err
}

// replace stops a worker in order, and starts another with an empty daemon in its place.
func (f *fleet) replace(ctx context.Context, name string) error {
	f.gone += farm.Family(f.workers[name].PID())
	f.workers[name].Stop()
	delete(f.workers, name)
	return f.start(ctx, name)
}

func (f *fleet) stop() {
	for _, w := range f.workers {
		w.Stop()
	}
	f.close()
}

func (f *fleet) cpu() float64 {
	sum := f.whole.cpu() + f.gone
	for _, w := range f.workers {
		sum += farm.Family(w.PID())
	}
	return sum
}

func (f *fleet) submit(ctx context.Context, repo string) (run string, err error) {
	f.keys++
	res, err := f.runs.Submit(ctx, &pb.SubmitRequest{IdempotencyKey: fmt.Sprint("bench-", f.keys), Repository: repo, Ref: "main"})
	if err != nil {
		return "", fmt.Errorf("submit: %w", err)
	}
	return res.GetRun().GetId(), nil
}

// ended waits for the end of a run.
func (f *fleet) ended(ctx context.Context, run string) (*pb.Run, error) {
	watch, err := f.runs.Watch(ctx, &pb.WatchRequest{Run: run})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	for {
		if _, err = watch.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("watch: %w", err)
	}
	got, err := f.runs.Get(ctx, &pb.GetRequest{Run: run})
	if err != nil {
		return nil, fmt.Errorf("read the run: %w", err)
	}
	return got.GetRun(), nil
}
