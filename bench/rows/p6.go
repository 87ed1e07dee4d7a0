package rows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/bench/reference/bake"
	"github.com/slipway-build/slipway/examples/many"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// shell is what images of the generated repository run.
const shell = "/bin/busybox"

// whole is a farm with everything.
type whole struct {
	proc  *farm.Proc
	conn  *grpc.ClientConn
	runs  pb.RunServiceClient
	state string
	tools string
	file  clientfile.File
	keys  int
}

// openWhole starts one whose repositories and state are below a folder.
func openWhole(ctx context.Context, dir string) (w *whole, err error) {
	return openWholeWith(ctx, dir, node.Whole{})
}

// openWholeWith starts one that differs in some other way.
func openWholeWith(ctx context.Context, dir string, as node.Whole) (w *whole, err error) {
	if _, err := os.Stat(shell); err != nil {
		return nil, fmt.Errorf("images need a shell, Debian's package busybox-static: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find BuildKit's programs: %w", err)
	}
	w = &whole{state: filepath.Join(dir, "state"), tools: filepath.Join(cache, "slipway", "bin")}
	as.State, as.Tools, as.Repositories = w.state, w.tools, []string{dir}
	if w.proc, err = farm.Start(ctx, "whole", as); err != nil {
		return nil, err
	}
	if w.file, err = clientfile.Read(w.state); err == nil {
		w.conn, err = rpc.Dial(ctx, w.file.Address, rpc.DialOptions{Token: w.file.Token})
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("how the farm is reached: %w", err)
	}
	w.runs = pb.NewRunServiceClient(w.conn)
	return w, nil
}

func (w *whole) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	w.proc.Stop()
}

// cpu is the seconds of the farm and of its daemon, which works for both.
func (w *whole) cpu() float64 { return farm.Family(w.proc.PID()) }

// settle waits until the daemon does nothing any more: it writes down what it did some seconds after it has answered, and
// the next half would pay for it.
func (w *whole) settle(ctx context.Context) error {
	const calm = 500 * time.Millisecond
	for quiet := 0; quiet < 8; { // four seconds
		before := w.cpu()
		select {
		case <-time.After(calm):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if quiet++; w.cpu()-before > calm.Seconds()/10 {
			quiet = 0
		}
	}
	return nil
}

// repository makes one, and its first commit.
func repository(ctx context.Context, dir string, o many.Options) error {
	if err := many.Write(dir, o); err != nil {
		return fmt.Errorf("make a repository: %w", err)
	}
	if err := git(ctx, dir, "init", "-q", "-b", "main"); err != nil {
		return err
	}
	return commit(ctx, dir)
}

// site is a farm with a repository, and beside it whoever builds the same without it, with the same daemon and registry.
type site struct {
	*whole

	bake     *bake.Bake
	repo     string // of ours
	theirs   string // the same files
	services []many.Service
}

func (b *bench) openSite(ctx context.Context, dir string, o many.Options) (s *site, err error) {
	s = &site{repo: filepath.Join(dir, "ours"), theirs: filepath.Join(dir, "theirs")}
	if s.services, err = o.List(); err != nil {
		return nil, fmt.Errorf("make a repository: %w", err)
	}
	if err := errors.Join(repository(ctx, s.repo, o), many.Write(s.theirs, o)); err != nil {
		return nil, err
	}
	if s.whole, err = openWhole(ctx, dir); err != nil {
		return nil, err
	}
	s.bake, err = bake.New(ctx, bake.Config{
		Programs: filepath.Join(b.Disk, "programs"), Scratch: dir, BuildCtl: filepath.Join(s.tools, "buildctl"), Address: "unix://" + filepath.Join(s.state, "buildkit", "buildkitd.sock"),
		Registry: s.file.Mirror.Registry + "/reference", Auth: filepath.Join(s.state, "secrets", "docker-"+engines.RegistryPush+".json"),
	})
	if err == nil {
		err = s.bake.File(s.theirs, s.services)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// built is what a run did: how long it took, and the image of each service.
type built struct {
	elapsed time.Duration
	cpu     float64
	images  map[string]string
	solved  int // services that were built
}

// run submits the newest commit, and waits until the run has ended.
func (s *site) run(ctx context.Context, again bool) (out built, err error) {
	s.keys++
	before, start := s.cpu(), time.Now()
	res, err := s.runs.Submit(ctx, &pb.SubmitRequest{IdempotencyKey: fmt.Sprint("bench-", s.keys), Repository: s.repo, Ref: "main", NoReuse: again})
	if err != nil {
		return out, fmt.Errorf("submit: %w", err)
	}
	watch, err := s.runs.Watch(ctx, &pb.WatchRequest{Run: res.GetRun().GetId()})
	if err != nil {
		return out, fmt.Errorf("watch: %w", err)
	}
	for {
		if _, err = watch.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("watch: %w", err)
	}
	out.elapsed = time.Since(start)
	if err := s.settle(ctx); err != nil {
		return out, err
	}
	out.cpu = s.cpu() - before
	got, err := s.runs.Get(ctx, &pb.GetRequest{Run: res.GetRun().GetId()})
	if err != nil {
		return out, fmt.Errorf("read the run: %w", err)
	}
	out.images = map[string]string{}
	for _, t := range got.GetRun().GetTasks() {
		if t.GetKind() != "build" {
			continue
		}
		if t.GetResult().GetImage() == "" {
			return out, fmt.Errorf("%s made no image: %s", t.GetId(), t.GetMessage())
		}
		out.images[t.GetService()] = t.GetResult().GetImage()
		if len(t.GetAttempts()) > 0 {
			out.solved++
		}
	}
	return out, nil
}

// withSite opens one with 40 services, of which everything is built once, and closes it after f.
func (b *bench) withSite(ctx context.Context, f func(s *site, o many.Options, first built, machine pairs.Machine) error) error {
	dir, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	o := many.Options{Services: b.size(40, 6), Bytes: int64(b.size(100<<20, 1<<20)), Seed: 1, Busybox: shell}
	machine := farm.Machine()
	s, err := b.openSite(ctx, dir, o)
	if err != nil {
		return err
	}
	defer s.close()
	first, err := s.run(ctx, false)
	if err != nil {
		return err
	}
	return f(s, o, first, machine)
}

// p6 is a commit in which nothing changed. Both rows have the reference of the same pair.
func p6(ctx context.Context, b *bench) error {
	return b.withSite(ctx, func(s *site, o many.Options, first built, machine pairs.Machine) error {
		return b.unchanged(ctx, s, o, first, machine)
	})
}

func (b *bench) unchanged(ctx context.Context, s *site, o many.Options, first built, machine pairs.Machine) error {
	r := pairs.Result{
		Unit: "s", Durable: "fsync before ack; images in the farm's registry on the same disk",
		Against: "docker buildx 0.38 bake of the same targets, which pushes them too: its start → its end",
	}
	reference := func(int) ([]pairs.Half, error) {
		before := s.cpu()
		rep, err := s.bake.All(ctx, s.theirs)
		if err == nil && len(rep.Digests) != o.Services {
			err = fmt.Errorf("bake built %d of %d", len(rep.Digests), o.Services)
		}
		if err == nil {
			err = s.settle(ctx)
		}
		h := pairs.Half{Value: rep.Elapsed.Seconds(), CPU: rep.CPU + s.cpu() - before}
		return []pairs.Half{h, h}, err
	}
	ours := func(int) ([]pairs.Half, error) {
		solving, err := s.run(ctx, true)
		if err != nil {
			return nil, err
		}
		known, err := s.run(ctx, false)
		if err != nil {
			return nil, err
		}
		if solving.solved != o.Services || known.solved != 0 {
			r.Broken = append(r.Broken, fmt.Sprintf("of %d services %d were built where all should be, %d where none", o.Services, solving.solved, known.solved))
		}
		if !maps.Equal(solving.images, first.images) || !maps.Equal(known.images, first.images) {
			r.Broken = append(r.Broken, "I8: images of the same commit differ")
		}
		return []pairs.Half{{Value: solving.elapsed.Seconds(), CPU: solving.cpu}, {Value: known.elapsed.Seconds(), CPU: known.cpu}}, nil
	}
	all, err := b.interleaveAll([]string{"P6-solve", "P6-identity"}, reference, ours)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("a commit of %d services (%d MiB) in which nothing changed: submit → the run has ended with a digest for each service; ", o.Services, o.Bytes>>20)
	for i, row := range []struct {
		name, how string
		goal      float64
	}{
		{"P6-solve", "each is solved again (--no-reuse), 8 at once, by a daemon that has all of it in its cache", 1},
		{"P6-identity", "by content identity: none is solved", 0.03},
	} {
		r := r
		r.Row, r.What, r.Raw = row.name, what+row.how, all[i]
		if b.wants(row.name) {
			if err := b.finish(r, pairs.Goal{Limit: row.goal, AtMost: true}, machine); err != nil {
				return err
			}
		}
	}
	return nil
}

// p7 is a commit in which one file of one service changed.
func p7(ctx context.Context, b *bench) error {
	return b.withSite(ctx, func(s *site, o many.Options, first built, machine pairs.Machine) error {
		return b.oneChanged(ctx, s, o, first, machine)
	})
}

func (b *bench) oneChanged(ctx context.Context, s *site, o many.Options, before built, machine pairs.Machine) (err error) {
	leaf := s.services[len(s.services)-1]
	r := pairs.Result{
		Row: "P7", Unit: "s", Durable: "fsync before ack; images in the farm's registry on the same disk",
		What:    fmt.Sprintf("a commit of %d services (%d MiB) in which one file of one service changed: submit → the run has ended, that image is pushed and all others are known", o.Services, o.Bytes>>20),
		Against: "buildctl build of that service alone, with the same kind of change, pushed: its start → its end",
	}
	change := func(repo, who string, i int) error {
		return os.WriteFile(filepath.Join(repo, leaf.Path, "main.sh"), fmt.Appendf(nil, "#!/bin/sh\necho %s %d\n", who, i), 0o644)
	}
	r.Raw, err = b.interleave("P7", func(i int) (pairs.Half, error) {
		if err := change(s.theirs, "theirs", i); err != nil {
			return pairs.Half{}, fmt.Errorf("change a file: %w", err)
		}
		cpu := s.cpu()
		rep, err := s.bake.One(ctx, s.theirs, leaf, before.images[leaf.Base])
		if err == nil {
			err = s.settle(ctx)
		}
		return pairs.Half{Value: rep.Elapsed.Seconds(), CPU: rep.CPU + s.cpu() - cpu}, err
	}, func(i int) (pairs.Half, error) {
		if err := change(s.repo, "ours", i); err != nil {
			return pairs.Half{}, fmt.Errorf("change a file: %w", err)
		}
		if err := commit(ctx, s.repo); err != nil {
			return pairs.Half{}, err
		}
		now, err := s.run(ctx, false)
		if err != nil {
			return pairs.Half{}, err
		}
		if now.solved != 1 || now.images[leaf.Name] == before.images[leaf.Name] {
			r.Broken = append(r.Broken, fmt.Sprintf("%d services were built, want the one that changed", now.solved))
		}
		before = now
		return pairs.Half{Value: now.elapsed.Seconds(), CPU: now.cpu}, nil
	})
	if err != nil {
		return err
	}
	return b.finish(r, pairs.Goal{Limit: 1.1, AtMost: true}, machine)
}

func commit(ctx context.Context, repo string) error {
	if err := git(ctx, repo, "add", "-A"); err != nil {
		return err
	}
	return git(ctx, repo, "-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "-q", "-m", "next")
}

func git(ctx context.Context, repo string, args ...string) error {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", repo}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
