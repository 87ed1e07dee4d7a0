//go:build e2e

package farm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/process"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const root = "../../.."

// local is a farm that scripts/farmlocal runs.
type local struct {
	t     *testing.T
	state string
	bin   string
	// layout is where it listens, as it says itself.
	layout struct {
		GRPC, NATS []string
	}
	token string
	runs  pb.RunServiceClient
}

// start makes one, in a folder of its own or in that which SLIPWAY_TEST_FARM_STATE names: there
// base images and BuildKit's cache are used again.
func start(t *testing.T) *local {
	t.Helper()
	f := &local{t: t, bin: t.TempDir(), state: os.Getenv("SLIPWAY_TEST_FARM_STATE")}
	if f.state == "" {
		dir, err := os.MkdirTemp("", "slipway-farm-") // short: BuildKit's socket is below it
		f.must(err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		f.state = dir
	}
	for name, pkg := range map[string]string{
		"slipway": "./slipway", "slipway-coordinator": "./coordinator", "slipway-worker": "./worker", "slipway-deployer": "./deploy", "farmlocal": "./scripts/farmlocal",
	} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(f.bin, name), pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	says := filepath.Join(f.bin, "farm.log")
	p := &process.Process{Name: "farm-local", Log: says, Args: []string{filepath.Join(f.bin, "farmlocal"), "-root", root, "-bin", f.bin, "-state", f.state, "-port", "0"}}
	f.must(p.Start())
	t.Cleanup(func() { f.stopped(p) })
	f.until("the farm", func() bool {
		text, err := os.ReadFile(says)
		f.must(err)
		if !p.Running() {
			t.Fatalf("farm-local ended:\n%s", text)
		}
		return strings.Contains(string(text), "Ctrl-C stops everything")
	})
	data, err := os.ReadFile(filepath.Join(f.state, "layout.json"))
	f.must(errors.Join(err, json.Unmarshal(data, &f.layout)))
	file, err := clientfile.Read(f.state)
	f.must(err)
	f.token = file.Token
	f.runs = f.client(file.Address)
	t.Cleanup(func() {
		if t.Failed() {
			f.tell()
		}
	})
	return f
}

// stopped ends the farm as Ctrl-C does, and checks that nothing of it is left.
func (f *local) stopped(p *process.Process) {
	f.t.Helper()
	names, err := filepath.Glob(filepath.Join(f.state, "pids", "*"))
	if err != nil || len(names) == 0 {
		f.t.Errorf("process ids: %v, %v", names, err)
	}
	code := p.Signal(syscall.SIGINT)
	for _, name := range names {
		if pid := f.pid(filepath.Base(name)); syscall.Kill(pid, 0) == nil {
			f.t.Errorf("%s (%d) still runs after farm-local has ended", filepath.Base(name), pid)
		}
	}
	text, _ := os.ReadFile(p.Log)
	if code != 0 || f.t.Failed() {
		f.t.Errorf("farm-local ended with %d; it said:\n%s", code, text)
	}
	if _, err := clientfile.Read(f.state); !errors.Is(err, clientfile.ErrNone) {
		f.t.Errorf("client.yaml of a farm that has stopped: %v", err)
	}
}

// tell logs what a failure left: what goes on and what waits in each run that has not ended, and the end of
// each program's log.
func (f *local) tell() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), 10*time.Second)
	defer cancel()
	list, err := f.runs.List(ctx, &pb.ListRequest{})
	f.t.Log("runs:", len(list.GetRuns()), err)
	for _, r := range list.GetRuns() {
		if r.GetFinishedAt() != nil {
			continue
		}
		got, err := f.runs.Get(ctx, &pb.GetRequest{Run: r.GetId()})
		f.t.Log(r.GetId(), r.GetState(), err)
		for _, task := range got.GetRun().GetTasks() {
			if task.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
				f.t.Log(task.GetId(), task.GetState(), task.GetAttempts())
			}
		}
		why, err := f.runs.Explain(ctx, &pb.ExplainRequest{Run: r.GetId()})
		f.t.Log("explain:", err)
		for _, w := range why.GetWaits() {
			f.t.Log(w.GetTask(), w.GetReason(), w.GetMessage())
		}
	}
	logs, _ := filepath.Glob(filepath.Join(f.state, "logs", "*.log"))
	for _, name := range logs {
		data, _ := os.ReadFile(name)
		lines := strings.SplitAfter(string(data), "\n")
		f.t.Logf("%s:\n%s", filepath.Base(name), strings.Join(lines[max(0, len(lines)-30):], ""))
	}
}

func (f *local) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// until looks again and again until a condition holds.
func (f *local) until(what string, holds func() bool) {
	f.t.Helper()
	deadline := time.NewTimer(10 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			f.t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// client of one coordinator, or of all.
func (f *local) client(address string) pb.RunServiceClient {
	f.t.Helper()
	conn, err := rpc.Dial(f.t.Context(), address, rpc.DialOptions{Token: f.token})
	f.must(err)
	f.t.Cleanup(func() { _ = conn.Close() })
	return pb.NewRunServiceClient(conn)
}

// pid is the process that a part is now; 0: it is between two.
func (f *local) pid(name string) int {
	data, _ := os.ReadFile(filepath.Join(f.state, "pids", name))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// kill ends a part as a power cut does, and waits until it is another process.
func (f *local) kill(name string) {
	f.t.Helper()
	was := f.pid(name)
	f.must(syscall.Kill(was, syscall.SIGKILL))
	f.until(name+" to be started again", func() bool { pid := f.pid(name); return pid != 0 && pid != was })
}

// answers waits until a coordinator does, by itself.
func (f *local) answers(i int) {
	f.t.Helper()
	c := f.client(f.layout.GRPC[i])
	f.until(fmt.Sprintf("coordinator %d", i+1), func() bool {
		_, err := c.List(f.t.Context(), &pb.ListRequest{})
		return err == nil
	})
}

// whole waits until every stream has all its replicas: before, another server must not be taken away.
func (f *local) whole() {
	f.t.Helper()
	password, err := os.ReadFile(filepath.Join(f.state, "secrets", engines.NATSCoordinator))
	f.must(err)
	f.until("a whole NATS cluster", func() bool {
		nc, err := nats.Connect("nats://"+strings.Join(f.layout.NATS, ",nats://"), nats.UserInfo(engines.NATSCoordinator, strings.TrimSpace(string(password))))
		if err != nil {
			return false
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		f.must(err)
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		streams, n := js.ListStreams(ctx), 0
		for s := range streams.Info() {
			if s.Cluster == nil || s.Cluster.Leader == "" || len(s.Cluster.Replicas) != 2 {
				return false
			}
			for _, r := range s.Cluster.Replicas {
				if !r.Current || r.Offline {
					return false
				}
			}
			n++
		}
		return streams.Err() == nil && n > 0
	})
}
