// Package load is who uses a farm while it is hurt: clients that submit runs, follow each
// to its end, and write down everything that they were told.
package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Load keeps a number of runs going.
type Load struct {
	farm  *farm.Farm
	n     int
	conns []*grpc.ClientConn
	// Caches: each client is answered from what it read before, if that is not older than a
	// second. The control of an experiment has it.
	Caches bool

	stop  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	told  []Told
	wrong []string
	cache map[string]cached
	next  int
	live  map[string]string // runs that go on, by key
}

type cached struct {
	run *pb.Run
	at  time.Time
}

// Kind of a call.
type Kind string

// The calls.
const (
	Submit Kind = "submit"
	Get    Kind = "get"
)

// Told is one call and its answer, with the times of the machine's monotonic clock.
type Told struct {
	Client       int
	Kind         Kind
	Key          string // of a submit, and of what is read
	Call, Return int64
	Run          string
	Ended        int // tasks that have ended
	State        pb.RunState
}

// Start keeps n runs going until Finish.
func Start(ctx context.Context, f *farm.Farm, n int, change func(*Load)) (*Load, error) {
	l := &Load{farm: f, n: n, stop: make(chan struct{}), cache: map[string]cached{}, live: map[string]string{}}
	change(l)
	for i := range f.Coordinators {
		c, err := rpc.Dial(ctx, f.Front(i), rpc.DialOptions{Token: f.Token})
		if err != nil {
			return nil, fmt.Errorf("client of the farm: %w", err)
		}
		l.conns = append(l.conns, c)
	}
	for i := range n {
		l.wg.Go(func() { l.client(ctx, i) })
	}
	for i := range readers {
		l.wg.Go(func() { l.reader(ctx, n+i) })
	}
	return l, nil
}

// readers read the runs of others.
const readers = 3

// reader reads runs that go on.
func (l *Load) reader(ctx context.Context, number int) {
	for pause(ctx) {
		select {
		case <-l.stop:
			return
		default:
		}
		l.mu.Lock()
		var key, id string
		for key, id = range l.live { // any of them
			break
		}
		l.mu.Unlock()
		if id != "" {
			_, _ = l.get(ctx, number, key, id) // who follows it says what is wrong
		}
	}
}

// Finish submits nothing more, and waits until every run has ended, or the context has.
func (l *Load) Finish(ctx context.Context) error {
	close(l.stop)
	done := make(chan struct{})
	go func() { l.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("I2: not every run has ended: %w", context.Cause(ctx))
	}
	return nil
}

// Close hangs up.
func (l *Load) Close() {
	for _, c := range l.conns {
		_ = c.Close()
	}
}

// Told is everything that clients were told so far.
func (l *Load) Told() []Told {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told[:len(l.told):len(l.told)]
}

// Wrong is what no client should have been told.
func (l *Load) Wrong() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrong
}

// Conn is a connection to some coordinator, another one each time.
func (l *Load) Conn() *grpc.ClientConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.conns[l.next%len(l.conns)]
}

// client submits one run after the other and follows each to its end.
func (l *Load) client(ctx context.Context, number int) {
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		key := fmt.Sprintf("client-%d-%d", number, i)
		project := (number + i) % l.farm.Projects
		id, ok := l.submit(ctx, number, key, project, "main")
		if !ok {
			return
		}
		if i%4 == 3 { // a repeat, by somebody who did not hear the answer
			again, ok := l.submit(ctx, number, key, project, "main")
			if ok && again != id {
				l.bad("I1: the key %s began %s and %s", key, id, again)
			}
		}
		l.mu.Lock()
		l.live[key] = id
		l.mu.Unlock()
		l.follow(ctx, number, key, id)
		l.mu.Lock()
		delete(l.live, key)
		l.mu.Unlock()
	}
}

// Run submits one run of a branch, follows it to its end, and answers it. Nil: the context ended, or somebody was told what
// nobody should be.
func (l *Load) Run(ctx context.Context, client int, key string, project int, ref string) *pb.Run {
	id, ok := l.submit(ctx, client, key, project, ref)
	if !ok {
		return nil
	}
	l.follow(ctx, client, key, id)
	r, err := l.get(ctx, client, key, id)
	if err != nil || r.GetFinishedAt() == nil {
		return nil
	}
	return r
}

func (l *Load) bad(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

func (l *Load) say(t Told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, t)
}

// patience is how long a client waits for one answer before it asks another coordinator.
const patience = 10 * time.Second

// submit asks until somebody answers. What a key was used for is asked again and again.
func (l *Load) submit(ctx context.Context, client int, key string, project int, ref string) (id string, ok bool) {
	for call := witness.Now(); ctx.Err() == nil; {
		tctx, cancel := context.WithTimeout(ctx, patience)
		res, err := pb.NewRunServiceClient(l.Conn()).Submit(tctx, &pb.SubmitRequest{
			IdempotencyKey: key, Repository: l.farm.Repository(project), Ref: ref, NoReuse: true,
		})
		cancel()
		if err == nil {
			l.say(Told{Client: client, Kind: Submit, Key: key, Call: call, Return: witness.Now(), Run: res.GetRun().GetId()})
			return res.GetRun().GetId(), true
		}
		if !again(err) {
			l.bad("submit %s: %v", key, err)
			return "", false
		}
		if !pause(ctx) {
			break
		}
	}
	return "", false
}

// again reports that another coordinator, or the same one later, may answer.
func again(err error) bool {
	switch status.Code(err) { //nolint:exhaustive // what is not named is for good
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Canceled:
		return true
	default:
		return false
	}
}

// pause before the next try. False: it is over.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(50 * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// follow reads a run again and again until it has ended.
func (l *Load) follow(ctx context.Context, client int, key, id string) {
	for ctx.Err() == nil {
		r, err := l.get(ctx, client, key, id)
		switch {
		case err == nil && r.GetFinishedAt() != nil:
			return
		case err != nil && !again(err):
			l.bad("I1: run %s was acknowledged, and then: %v", id, err)
			return
		}
		for range 2 + l.n/20 { // many clients ask less often
			if !pause(ctx) {
				return
			}
		}
	}
}

// get reads a run; without a key nobody is told of it.
func (l *Load) get(ctx context.Context, client int, key, id string) (*pb.Run, error) {
	call := witness.Now()
	l.mu.Lock()
	c, have := l.cache[fmt.Sprint(client, id)]
	l.mu.Unlock()
	if !l.Caches || !have || time.Since(c.at) > time.Second {
		tctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		res, err := pb.NewRunServiceClient(l.Conn()).Get(tctx, &pb.GetRequest{Run: id})
		if err != nil {
			return nil, err
		}
		c = cached{res.GetRun(), time.Now()}
	}
	ended := 0
	for _, t := range c.run.GetTasks() {
		if t.GetFinishedAt() != nil {
			ended++
		}
	}
	if key == "" { // not a part of the history
		return c.run, nil
	}
	l.say(Told{Client: client, Kind: Get, Key: key, Call: call, Return: witness.Now(), Run: c.run.GetId(), Ended: ended, State: c.run.GetState()})
	if l.Caches {
		l.mu.Lock()
		l.cache[fmt.Sprint(client, id)] = c
		l.mu.Unlock()
	}
	return c.run, nil
}

// Ended answers how many runs were seen to end.
func (l *Load) Ended() int {
	n, seen := 0, map[string]bool{}
	for _, t := range l.Told() {
		if t.Kind == Get && t.State >= pb.RunState_RUN_STATE_SUCCEEDED && !seen[t.Run] {
			seen[t.Run] = true
			n++
		}
	}
	return n
}

// Served reads every run that was acknowledged, as it is now.
func (l *Load) Served(ctx context.Context) (map[string]*pb.Run, error) {
	out := map[string]*pb.Run{}
	for _, t := range l.Told() {
		for out[t.Run] == nil {
			r, err := l.get(ctx, -1, t.Key, t.Run)
			switch {
			case err == nil:
				out[t.Run] = r
			case !again(err):
				l.bad("I1: run %s was acknowledged, and then: %v", t.Run, err)
				out[t.Run] = &pb.Run{Id: t.Run}
			case !pause(ctx):
				return nil, fmt.Errorf("read run %s: %w", t.Run, err)
			}
		}
	}
	return out, nil
}
