// Package e2e tests programs of Slipway together, as users run them.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/server"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/natstest"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestCLI runs scripts with the real slipway against a real coordinator on a real NATS.
// Only what tasks do is the test's: a file fail/<task> makes one fail, a file
// block/<task> keeps one from ending while it exists ("/" is "_" in both).
func TestCLI(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "slipway"), "../../slipway").CombinedOutput(); err != nil {
		t.Fatalf("build slipway: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/cli",
		Setup: func(e *testscript.Env) error {
			f, err := startFarm(e.T().(testing.TB), e.WorkDir) //nolint:forcetypeassert // it is a *testing.T
			e.Values[farmKey{}] = f
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("STATE", f.state)
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			for _, who := range []string{"AUTHOR", "COMMITTER"} {
				e.Setenv("GIT_"+who+"_NAME", "Anna")
				e.Setenv("GIT_"+who+"_EMAIL", "anna@example.com")
			}
			e.Defer(f.close)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"farm":  farmCommand,
			"begun": begunCommand,
			"exits": exitsCommand,
			"holds": holdsCommand,
		},
	})
}

type farmKey struct{}

// farm is a coordinator with workers of the test's.
type farm struct {
	t       testing.TB
	nats    *natstest.Server
	images  *httptest.Server
	work    string
	state   string
	address string
	token   string
	worker  string
	halt    func()
	rest    func() // stops the workers, which outlive the coordinator

	mu    sync.Mutex
	begun map[string]bool
	more  chan struct{} // closed when begun grew
}

func startFarm(t testing.TB, work string) (*farm, error) {
	t.Helper()
	f := &farm{
		t: t, nats: natstest.Start(t), images: httptest.NewServer(registry.New(registry.Logger(stdlog.New(io.Discard, "", 0)))),
		work: work, state: filepath.Join(work, "state"), address: "127.0.0.1:0", token: rpc.NewToken(), worker: rpc.NewToken(),
		halt: func() {}, rest: func() {}, begun: map[string]bool{}, more: make(chan struct{}),
	}
	if err := f.start(); err != nil {
		return f, err
	}
	var err error
	f.rest, err = f.workers()
	return f, err
}

func (f *farm) close() {
	f.rest()
	f.halt()
	f.images.Close()
}

func (f *farm) start() error {
	targets := filepath.Join(f.state, "targets.yaml")
	if err := errors.Join(os.MkdirAll(f.state, 0o700), os.WriteFile(targets, []byte(`version: 1
project: shop
clusters: { one: { labels: { tier: prod } } }
environments: { prod: { clusters: { tier: prod }, namespace: shop, strategy: rolling } }
`), 0o600)); err != nil {
		return err
	}
	cfg := config.Config{
		Listen: f.address, HTTP: "127.0.0.1:0", State: f.state, NATS: queue.Address{URL: f.nats.URL()}, Partitions: 2,
		Registry: strings.TrimPrefix(f.images.URL, "http://") + "/shop", Targets: targets, LocalPaths: []string{f.work},
		Tokens: []config.Token{{Name: "anna", Hash: rpc.HashToken(f.token), Role: "administer"}, {Name: "w", Hash: rpc.HashToken(f.worker), Role: "worker"}},
	}
	cfg.Default()
	if err := cfg.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- server.Run(ctx, server.Options{Config: cfg, Version: "test", Env: gitcmd.PassThrough(os.Environ()), Log: f.log(), Ready: func(a string) { ready <- a }})
	}()
	select {
	case f.address = <-ready: // and again the same after a restart
	case err := <-done:
		cancel()
		return fmt.Errorf("coordinator: %w", err)
	}
	f.halt = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("coordinator: %v", err)
		}
	})
	return clientfile.Write(f.state, clientfile.File{Address: f.address, Token: f.token})
}

func (f *farm) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(f.t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}

func (f *farm) workers() (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := rpc.Dial(ctx, f.address, rpc.DialOptions{Token: f.worker})
	if err != nil {
		return cancel, err
	}
	js := f.nats.JetStream(f.t)
	var wg sync.WaitGroup
	for i, slots := range []map[string]int{{"build": 4, "render": 2}, {"deploy_one": 2}} {
		c := session.Config{
			Client: pb.NewWorkerServiceClient(conn), Name: fmt.Sprint("worker-", i), Instance: rpc.NewToken()[:16], Slots: slots, Log: f.log(), Now: time.Now, Drain: time.Millisecond,
		}
		if i == 0 {
			c.Hints = map[string]session.Hints{"build": queue.NewPuller(js, "build"), "render": queue.NewPuller(js, "render")}
		}
		wg.Go(func() {
			if err := session.New(c, f.handle).Run(ctx); err != nil && ctx.Err() == nil {
				f.t.Errorf("session: %v", err)
			}
		})
	}
	return func() { cancel(); wg.Wait(); _ = conn.Close() }, nil
}

// handle carries a task out.
func (f *farm) handle(ctx context.Context, l *session.Lease) *pb.Completion {
	task := l.Grant.GetTaskId()
	file := strings.ReplaceAll(task, "/", "_")
	l.Started()
	fmt.Fprintf(l, "%s says hello\n", task)
	f.mu.Lock()
	f.begun[task] = true
	close(f.more)
	f.more = make(chan struct{})
	f.mu.Unlock()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for exists(filepath.Join(f.work, "block", file)) {
		select {
		case <-ctx.Done():
			return &pb.Completion{Outcome: pb.Outcome_OUTCOME_CANCELED, Message: context.Cause(ctx).Error()}
		case <-tick.C:
		}
	}
	fmt.Fprintf(l, "%s says goodbye\n", task)
	c := &pb.Completion{Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Result: &pb.Result{}}
	fails := exists(filepath.Join(f.work, "fail", file))
	if fails {
		c.Outcome, c.FailureClass, c.Message = pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "1 of 2 tests failed"
	}
	digest := "sha256:" + strings.Repeat("ab", 32)
	switch w := l.Grant.GetWork().(type) {
	case *pb.Grant_Build:
		c.Result.Image = w.Build.GetPush() + "@" + digest
	case *pb.Grant_Test:
		c.Result.Tests = &pb.TestSummary{Total: 2, Passed: 2}
		if fails {
			c.Result.Tests = &pb.TestSummary{Total: 2, Passed: 1, Failed: 1, Failures: []*pb.TestCase{{Suite: "api", Name: "TestPrice", Output: "got 90, want 80"}}}
		}
	case *pb.Grant_Render:
		c.Result.Manifests = digest
	case *pb.Grant_Apply:
		c.Result.Deploy = &pb.Deployed{State: "healthy", Replicas: 1, Simulated: true}
	case *pb.Grant_Rollback:
		c.Result.Deploy = &pb.Deployed{State: "removed"}
	}
	return c
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// farmCommand is "farm stop" and "farm start".
func farmCommand(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(farmKey{}).(*farm) //nolint:forcetypeassert // set above
	switch args[0] {
	case "stop":
		f.halt()
	case "start":
		ts.Check(f.start())
	}
}

// begunCommand is "begun TASK": it waits until a worker has begun with a task.
func begunCommand(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(farmKey{}).(*farm) //nolint:forcetypeassert // set above
	limit := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		done, more := f.begun[args[0]], f.more
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-more:
		case <-limit:
			ts.Fatalf("task %s was never begun", args[0])
		}
	}
}

// holdsCommand is "holds FILE TEXT": it waits until a file that a program writes has a text.
func holdsCommand(ts *testscript.TestScript, _ bool, args []string) {
	limit := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("%s never held %q", args[0], args[1])
		}
	}
}

// exitsCommand is "exits CODE PROGRAM ARGS…".
func exitsCommand(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
