package rows

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/lines"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/coordinator/plan"
)

const (
	// logs that are written at once, and lines of each.
	logs, logLines = 16, 1_000_000
	// paceLines a second of each log, and for how many seconds, where the latency is measured.
	paceLines, paceSeconds = 5_000, 5
)

// p9 is how fast logs go from those who write them to those who follow them.
func p9(ctx context.Context, b *bench) error {
	store, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	machine := farm.Machine()
	plane, err := newLogPlane(ctx, store)
	if err != nil {
		return err
	}
	defer plane.stop()
	for _, part := range []struct {
		r    pairs.Result
		goal pairs.Goal
		run  func(context.Context, *bench, *pairs.Result) error
	}{
		{pairs.Result{Row: "P9-rate", Unit: "MB/s"}, pairs.Goal{Limit: 0.5}, plane.rate},
		{pairs.Result{Row: "P9-p99", Unit: "ms"}, pairs.Goal{Limit: 2, AtMost: true}, plane.latency},
	} {
		if !b.wants(part.r.Row) {
			continue
		}
		part.r.Durable = "fsync before ack, on a disk; a follower sees what is durable"
		if err := part.run(ctx, b, &part.r); err != nil {
			return err
		}
		if err := b.finish(part.r, part.goal, machine); err != nil {
			return err
		}
	}
	return nil
}

// logPlane is a farm with followers, and what it is compared with.
type logPlane struct {
	farm      *farm.Farm
	followers *farm.Proc
	// copy is the reference's server, copier sends to it, copied reads from it.
	copy, copier, copied *farm.Proc
	runs                 int // that were submitted
}

func newLogPlane(ctx context.Context, store string) (*logPlane, error) {
	l := &logPlane{}
	if err := l.start(ctx, store); err != nil {
		l.stop()
		return nil, err
	}
	return l, nil
}

func (l *logPlane) start(ctx context.Context, store string) (err error) {
	if l.farm, err = farm.New(ctx, farm.Config{Store: store, Workers: []map[string]int{{plan.CapabilityBuild: logs}}}); err != nil {
		return err
	}
	if l.followers, err = l.farm.StartFollowers(ctx); err != nil {
		return err
	}
	if l.copy, err = farm.Start(ctx, "copy", node.Copy{Dir: store}); err != nil {
		return err
	}
	if l.copier, err = farm.Start(ctx, "copier", node.Copier{Server: l.copy.Address}); err != nil {
		return err
	}
	l.copied, err = farm.Start(ctx, "copied", node.Copied{Server: l.copy.Address})
	return err
}

// stop ends every process, those that need others first.
func (l *logPlane) stop() {
	for _, p := range []*farm.Proc{l.copied, l.copier, l.copy, l.followers} {
		if p != nil {
			p.Stop()
		}
	}
	if l.farm != nil {
		l.farm.Stop()
	}
}

func (l *logPlane) cpu() float64 { return l.farm.CPU() + farm.CPU(l.followers.PID()) }

func (l *logPlane) copyCPU() float64 {
	return farm.CPU(l.copy.PID(), l.copier.PID(), l.copied.PID())
}

// written is one measurement of ours: tasks write, each is followed.
type written struct {
	seen  node.Seen
	first int64 // when the tasks were let go
	cpu   float64
}

func (l *logPlane) write(n, perSecond int, want node.Follow, broken *[]string) (w written, err error) {
	l.runs++
	coordinator := l.farm.Coordinator
	if err := coordinator.Call("write", node.Logs{Logs: logs, Lines: n, PerSecond: perSecond, Number: l.runs}, &want.LogRun); err != nil {
		return w, err
	}
	if err := l.followers.Call("follow", want, nil); err != nil {
		return w, err
	}
	before := l.cpu()
	if err := l.farm.Workers[0].Call("go", struct{}{}, &w.first); err != nil {
		return w, err
	}
	if err := l.followers.Call("seen", struct{}{}, &w.seen); err != nil {
		return w, err
	}
	w.cpu = l.cpu() - before
	*broken = append(*broken, w.seen.Broken...)
	var also []string
	if err := coordinator.Call("wrote", want.Run, &also); err != nil {
		return w, err
	}
	*broken = append(*broken, also...)
	return w, nil
}

// empty makes the reference's file empty, and says so if it did not have all.
func (l *logPlane) empty(want int64, broken *[]string) error {
	var size int64
	if err := l.copy.Call("empty", struct{}{}, &size); err != nil {
		return err
	}
	if size != want {
		*broken = append(*broken, fmt.Sprintf("the reference's file has %d of %d bytes", size, want))
	}
	return nil
}

// rate is P9-rate: all that is written, divided by the time until the last follower has it.
func (l *logPlane) rate(_ context.Context, b *bench, r *pairs.Result) (err error) {
	n := b.size(logLines, 100_000)
	r.What = fmt.Sprintf("%d attempts of one worker write %d lines of %d B each, as fast as they can and masked, through coordinator and durable log to %d followers: let go → the last follower has all", logs, n, lines.Size, logs)
	r.Against = fmt.Sprintf("the same lines, unmasked, from one process over %d loopback gRPC streams in messages of 256 KiB, appended to one file by another, which syncs once for all that has come meanwhile: first send → all acknowledged; no readers", logs)
	want := node.Follow{Lines: n}
	for i := range logs {
		sum, size := lines.Sum(i, n)
		want.Sums, want.Sizes = append(want.Sums, sum), append(want.Sizes, size)
	}
	bytes := float64(logs * n * lines.Size)
	r.Raw, err = b.interleave(r.Row, func(int) (pairs.Half, error) {
		before := l.copyCPU()
		var sent node.Sent
		if err := l.copier.Call("send", node.Logs{Logs: logs, Lines: n}, &sent); err != nil {
			return pairs.Half{}, err
		}
		h := pairs.Half{Value: bytes / float64(sent.Last-sent.First) * 1e3, CPU: l.copyCPU() - before}
		return h, l.empty(int64(bytes), &r.Broken)
	}, func(int) (pairs.Half, error) {
		w, err := l.write(n, 0, want, &r.Broken)
		return pairs.Half{Value: bytes / float64(w.seen.Last-w.first) * 1e3, CPU: w.cpu}, err
	})
	return err
}

// latency is P9-p99: from the writing of a line until its follower has it.
func (l *logPlane) latency(_ context.Context, b *bench, r *pairs.Result) (err error) {
	n := paceLines * b.size(paceSeconds, 1)
	r.What = fmt.Sprintf("99th percentile of the time from a line's writing by the runner until its follower has it: %d attempts of one worker, each %d lines of %d B a second, masked, every 5 ms those that are due; all of %d lines each", logs, paceLines, lines.Size, n)
	r.Against = fmt.Sprintf("the same lines at the same pace, unmasked, sent at once over %d loopback gRPC streams, appended to one file, synced once for all that has come meanwhile, then sent to a reader of the stream in another process", logs)
	var ours, theirs []float64
	r.Raw, err = b.interleave(r.Row, func(int) (pairs.Half, error) {
		before := l.copyCPU()
		seen, err := l.copyTimed(n)
		r.Broken = append(r.Broken, seen.Broken...)
		theirs = append(theirs, seen.P50)
		if err != nil {
			return pairs.Half{}, err
		}
		return pairs.Half{Value: seen.P99, CPU: l.copyCPU() - before}, l.empty(int64(logs*n*lines.Size), &r.Broken)
	}, func(int) (pairs.Half, error) {
		w, err := l.write(n, paceLines, node.Follow{Lines: n, Timed: true}, &r.Broken)
		ours = append(ours, w.seen.P50)
		return pairs.Half{Value: w.seen.P99, CPU: w.cpu}, err
	})
	r.Notes = append(r.Notes, fmt.Sprintf("medians of the medians: ours %.3g ms, reference %.3g ms", pairs.Median(ours), pairs.Median(theirs)))
	return err
}

// copyTimed has the reference copy lines at the pace, and its readers see them.
func (l *logPlane) copyTimed(n int) (seen node.Seen, err error) {
	want := node.Follow{LogRun: node.LogRun{Tasks: make([]string, logs)}, Lines: n, Timed: true}
	if err := l.copied.Call("follow", want, nil); err != nil {
		return seen, err
	}
	if err := l.copier.Call("send", node.Logs{Logs: logs, Lines: n, PerSecond: paceLines}, nil); err != nil {
		return seen, err
	}
	err = l.copied.Call("seen", struct{}{}, &seen)
	return seen, err
}
