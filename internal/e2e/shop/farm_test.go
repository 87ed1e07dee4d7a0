package shop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// targets has two clusters in prod, so that one can fail while the other is well.
const targets = `version: 1
project: shop
clusters:
  dev:     { labels: { tier: nonprod } }
  prod-eu: { labels: { tier: prod } }
  prod-us: { labels: { tier: prod } }
environments:
  dev:  { clusters: { tier: nonprod }, namespace: shop-dev, strategy: rolling }
  prod: { clusters: { tier: prod }, namespace: shop, strategy: rolling, after: { env: dev, verified: true } }
`

// world is what all tests of the package share: engines are expensive, projects cheap.
type world struct {
	dir      string
	bin      string            // built tools, and slipway itself
	clusters map[string]string // name → kubeconfig
	link     *link             // between the farm and prod-us
	ports    devfarm.Ports     // the registry's stays: image names have it
	log      *os.File
	farm     clientfile.File
	stop     []func()
	halt     func() error // stops the farm alone
}

func tools() (string, error) {
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".cache", "slipway", "bin"), err
}

// cluster starts a control plane with simulated nodes.
func (w *world) cluster(ctx context.Context, bin, name string) error {
	dir := filepath.Join(w.dir, "clusters", name)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "devcluster"), "up", "--dir", dir, "--name", name, "--kind", "kwok")
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start cluster %s: %w (make tools builds devcluster)", name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	w.stop = append(w.stop, func() { _ = cmd.Process.Signal(syscall.SIGTERM); <-ended })
	for {
		var ready struct {
			Kubeconfig string `json:"kubeconfig"`
		}
		data, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		if err == nil {
			err = json.Unmarshal(data, &ready)
		}
		if err == nil {
			w.clusters[name] = ready.Kubeconfig
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cluster %s: %w", name, err)
		}
		select {
		case err := <-ended:
			return fmt.Errorf("cluster %s ended: %w", name, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func startWorld(ctx context.Context) (*world, error) {
	bin, err := tools()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "slipway-e2e-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, bin: bin, clusters: map[string]string{}, halt: func() error { return nil }}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "slipway"), "../../../slipway").CombinedOutput(); err != nil {
		return w, fmt.Errorf("build slipway: %w\n%s", err, out)
	}
	for _, name := range []string{"dev", "prod-eu", "prod-us"} {
		if err := w.cluster(ctx, bin, name); err != nil {
			return w, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "targets.yaml"), []byte(targets), 0o600); err != nil {
		return w, err
	}
	if w.link, err = newLink(w.clusters["prod-us"], filepath.Join(dir, "prod-us.kubeconfig")); err != nil {
		return w, err
	}
	w.stop = append(w.stop, w.link.cut)
	if w.log, err = os.Create(filepath.Join(dir, "farm.log")); err != nil {
		return w, err
	}
	if w.ports.Registry, err = freePort(); err != nil {
		return w, err
	}
	if err := w.startFarm(ctx); err != nil {
		return w, err
	}
	w.stop = append(w.stop, func() { fmt.Fprintln(os.Stderr, "farm stopped:", w.halt()) })
	m := w.farm.Mirror
	_, err = baseimages.Bootstrap(ctx, baseimages.Config{Registry: m.Registry, Prefix: m.Prefix, User: m.User, Password: m.Password})
	return w, err
}

func freePort() (int, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert // it is one of ListenTCP
}

// startFarm starts it on what an earlier one left in the state folder.
func (w *world) startFarm(ctx context.Context) error {
	cfg := devfarm.Config{
		State: filepath.Join(w.dir, "state"), Tools: w.bin, Targets: filepath.Join(w.dir, "targets.yaml"), Clusters: map[string]devfarm.Cluster{},
		LeaseTTL: 3 * time.Second, LocalPaths: []string{w.dir}, Version: "test", GitEnv: gitcmd.PassThrough(os.Environ()), Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Ports: w.ports, BuildKitRoot: os.Getenv("SLIPWAY_TEST_BUILDKIT_ROOT"),
	}
	for name, kubeconfig := range w.clusters {
		cfg.Clusters[name] = devfarm.Cluster{Kubeconfig: kubeconfig}
	}
	cfg.Clusters["prod-us"] = devfarm.Cluster{Kubeconfig: w.link.kubeconfig}
	ready, ended := make(chan clientfile.File, 1), make(chan error, 1)
	cfg.Ready = func(f clientfile.File) { ready <- f }
	ctx, cancel := context.WithCancel(ctx)
	go func() { ended <- devfarm.Run(ctx, cfg) }()
	select {
	case w.farm = <-ready:
		w.halt = sync.OnceValue(func() error { cancel(); return <-ended })
		return nil
	case err := <-ended:
		cancel()
		return fmt.Errorf("farm: %w", err)
	}
}

func (w *world) close() {
	for i := len(w.stop) - 1; i >= 0; i-- {
		w.stop[i]()
	}
	_ = os.RemoveAll(w.dir)
}

// shared is the package's world; TestMain makes it.
var shared *world

func TestMain(m *testing.M) {
	w, err := startWorld(context.Background())
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		if w != nil {
			log, _ := os.ReadFile(filepath.Join(w.dir, "farm.log"))
			fmt.Fprintln(os.Stderr, string(log))
		}
	} else {
		shared = w
		code = m.Run()
	}
	if w != nil {
		if code != 0 {
			log, _ := os.ReadFile(filepath.Join(w.dir, "farm.log"))
			_ = os.WriteFile(filepath.Join(os.TempDir(), "slipway-e2e-farm.log"), log, 0o600)
			fmt.Fprintln(os.Stderr, "the farm's log:", filepath.Join(os.TempDir(), "slipway-e2e-farm.log"))
		}
		w.close()
	}
	os.Exit(code)
}

// repo is a copy of examples/shop in a repository of its own.
type repo struct {
	t   *testing.T
	dir string
}

func newShop(t *testing.T) *repo {
	t.Helper()
	r := &repo{t: t, dir: filepath.Join(shared.dir, "repos", strings.ReplaceAll(t.Name(), "/", "-"))}
	if err := os.CopyFS(r.dir, os.DirFS("../../../examples/shop")); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q", "-b", "main")
	r.commit("The shop")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir, "-c", "user.name=Anna", "-c", "user.email=anna@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) commit(message string) {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "-m", message)
}

// edit replaces text in a file, and commits.
func (r *repo) edit(name, old, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		r.t.Fatalf("%s does not contain %q", name, old)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(data), old, text)), 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.commit("Edit " + name)
}

func runs(t *testing.T) pb.RunServiceClient {
	t.Helper()
	conn, err := rpc.Dial(t.Context(), shared.farm.Address, rpc.DialOptions{Token: shared.farm.Token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewRunServiceClient(conn)
}

// run submits the newest commit and waits for the end.
func (r *repo) run() *pb.Run {
	r.t.Helper()
	c := runs(r.t)
	s, err := c.Submit(r.t.Context(), &pb.SubmitRequest{IdempotencyKey: rpc.NewToken(), Repository: r.dir, Ref: "main"})
	if err != nil {
		r.t.Fatal(err)
	}
	return wait(r.t, c, s.GetRun().GetId())
}

func wait(t *testing.T, c pb.RunServiceClient, id string) *pb.Run {
	t.Helper()
	return watch(t, c, id, func(*pb.WatchResponse) bool { return false })
}

// watch follows a run until something holds of it, or it ends.
func watch(t *testing.T, c pb.RunServiceClient, id string, holds func(*pb.WatchResponse) bool) *pb.Run {
	t.Helper()
	w, err := c.Watch(t.Context(), &pb.WatchRequest{Run: id})
	for err == nil {
		var change *pb.WatchResponse
		change, err = w.Recv()
		if err == nil && holds(change) {
			err = io.EOF
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("watch %s: %v", id, err)
	}
	g, err := c.Get(t.Context(), &pb.GetRequest{Run: id})
	if err != nil {
		t.Fatal(err)
	}
	return g.GetRun()
}

func dump(t *testing.T, r *pb.Run) {
	t.Helper()
	t.Logf("run %s is %s: %s", r.GetId(), r.GetState(), r.GetMessage())
	for _, task := range r.GetTasks() {
		t.Logf("  %-32s %-10s %s", task.GetId(), strings.TrimPrefix(task.GetState().String(), "TASK_STATE_"), firstLines(task.GetMessage(), 6))
	}
}

func firstLines(s string, n int) string {
	l := strings.SplitN(s, "\n", n+1)
	return strings.Join(l[:min(len(l), n)], "\n      ")
}

var clientsOnce sync.Mutex

func kube(t *testing.T, cluster string) kubernetes.Interface {
	t.Helper()
	clientsOnce.Lock()
	defer clientsOnce.Unlock()
	cfg, err := clientcmd.BuildConfigFromFlags("", shared.clusters[cluster])
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
