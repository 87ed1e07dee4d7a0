//go:build e2e

package rollout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/e2e/audit"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// targets has the same two clusters in four environments: side by side, one after the other, switched at once, and by a flag.
const targets = `version: 1
project: canary
clusters:
  eu: { labels: { tier: prod, region: eu } }
  us: { labels: { tier: prod, region: us } }
environments:
  both:
    clusters: { tier: prod }
    namespace: both
    strategy: { canary: [50, 100], pause: 12s, analyze: [errors] }
    tolerate: { unreachable: 1 }
  waves:
    clusters: { tier: prod }
    namespace: waves
    strategy: { canary: [34, 100], pause: 12s, analyze: [errors] }
    waves: [{ name: first, clusters: { region: eu } }, { name: others, rest: true }]
    on_failure: { hold: true }
  green:
    clusters: { tier: prod }
    namespace: green
    strategy: { blue-green: { verify: 2s, warm: 12s }, analyze: [errors] }
  flags:
    clusters: { tier: prod }
    namespace: flags
    strategy: { flag: failing, steps: [50, 100], pause: 40s, analyze: [errors] }
analysis:
  errors:
    provider: prometheus
    interval: 2s
    inconclusive: 30
    metrics:
      errors:
        query: sum(rate(http_requests_total{cluster="$cluster", namespace="$namespace", pod=~"$pods", code="500"}[6s])) / sum(rate(http_requests_total{cluster="$cluster", namespace="$namespace", pod=~"$pods"}[6s]))
        max: 0.01
        failures: 2
`

// nodeIndex is the address plan of the first real node.
const nodeIndex = 27

// world is what the tests share.
type world struct {
	dir      string
	clusters []*devclusters.Cluster
	us       *door // between the deployer and that cluster
	kube     map[string]*rest.Config
	farm     clientfile.File
	runs     pb.RunServiceClient
	rollout  pb.RolloutServiceClient
	stop     []func()
}

func start(t *testing.T) *world {
	t.Helper()
	home, err := os.UserHomeDir()
	must(t, err)
	bin := filepath.Join(home, ".cache", "slipway", "bin")
	program := filepath.Join(bin, "devcluster")
	kind, why, err := devclusters.Best(t.Context(), program)
	must(t, err)
	if kind != devclusters.Real {
		t.Skipf("this machine cannot run a real node: %s", why)
	}
	w := &world{dir: t.TempDir(), kube: map[string]*rest.Config{}}
	t.Cleanup(func() {
		for i := len(w.stop) - 1; i >= 0; i-- {
			w.stop[i]()
		}
	})
	state := filepath.Join(w.dir, "state")
	must(t, os.MkdirAll(state, 0o700))
	ca, auth, err := devfarm.RegistryFiles(state)
	must(t, err)
	port, prometheus := freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	w.clusters, err = devclusters.Start(t.Context(), devclusters.Config{
		Program: program, Dir: filepath.Join(w.dir, "clusters"), Registry: fmt.Sprintf("127.0.0.1:%d", port), CA: ca, Auth: auth, Index: nodeIndex,
	}, []devclusters.Spec{{Name: "eu", Kind: kind}, {Name: "us", Kind: kind}})
	w.stop = append(w.stop, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		t.Logf("clusters stopped: %v", devclusters.Stop(ctx, program, filepath.Join(w.dir, "clusters"), w.clusters))
	})
	must(t, err)
	for _, c := range w.clusters {
		w.kube[c.Name], err = clientcmd.BuildConfigFromFlags("", c.Ready.Kubeconfig)
		must(t, err)
		w.kube[c.Name].QPS, w.kube[c.Name].Burst = 500, 500
	}
	w.startPrometheus(t, prometheus)
	w.startFarm(t, bin, state, port, prometheus)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is one of ListenTCP
}

// startFarm starts one whose registry the nodes reach.
func (w *world) startFarm(t *testing.T, bin, state string, registry int, prometheus string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(w.dir, "targets.yaml"), []byte(targets), 0o600))
	log, err := os.Create(filepath.Join(w.dir, "farm.log"))
	must(t, err)
	cfg := devfarm.Config{
		State: state, Tools: bin, Targets: filepath.Join(w.dir, "targets.yaml"), Clusters: map[string]devfarm.Cluster{}, Ports: devfarm.Ports{Registry: registry},
		LeaseTTL: 3 * time.Second, LocalPaths: []string{w.dir}, Version: "test", GitEnv: gitcmd.PassThrough(os.Environ()), Log: slog.New(slog.NewTextHandler(log, nil)),
		BuildKitRoot: os.Getenv("SLIPWAY_TEST_BUILDKIT_ROOT"), Prometheus: "http://" + prometheus,
	}
	for _, c := range w.clusters {
		kubeconfig := c.Ready.Kubeconfig
		if c.Name == "us" {
			w.us, kubeconfig = w.behind(t, kubeconfig, "us")
		}
		cfg.Clusters[c.Name] = devfarm.Cluster{Kubeconfig: kubeconfig}
		cfg.RegistryHosts = append(cfg.RegistryHosts, fmt.Sprintf("%s:%d", c.Ready.HostIP, registry))
	}
	ready, ended := make(chan clientfile.File, 1), make(chan error, 1)
	cfg.Ready = func(f clientfile.File) { ready <- f }
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- devfarm.Run(ctx, cfg) }()
	halt := sync.OnceValue(func() error { cancel(); return <-ended })
	w.stop = append(w.stop, func() {
		t.Logf("farm stopped: %v", halt())
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			kept := filepath.Join(os.TempDir(), "slipway-e2e-rollout-farm.log")
			_ = os.WriteFile(kept, text, 0o600)
			t.Logf("the farm's log: %s", kept)
		}
	})
	select {
	case w.farm = <-ready:
	case err := <-ended:
		t.Fatalf("farm: %v", err)
	}
	m := w.farm.Mirror
	_, err = baseimages.Bootstrap(ctx, baseimages.Config{Registry: m.Registry, Prefix: m.Prefix, User: m.User, Password: m.Password})
	must(t, err)
	conn, err := rpc.Dial(ctx, w.farm.Address, rpc.DialOptions{Token: w.farm.Token})
	must(t, err)
	w.stop = append(w.stop, func() { _ = conn.Close() })
	w.runs, w.rollout = pb.NewRunServiceClient(conn), pb.NewRolloutServiceClient(conn)
}

// startPrometheus starts Debian's, which asks pods through the API servers: nothing else reaches them. It is built without
// discovery in Kubernetes, so that a file says which pods there are.
func (w *world) startPrometheus(t *testing.T, address string) {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v: install the package prometheus", err)
	}
	dir := filepath.Join(w.dir, "prometheus")
	must(t, os.MkdirAll(dir, 0o700))
	var b strings.Builder
	b.WriteString("global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n")
	for _, c := range w.clusters {
		r := w.kube[c.Name]
		must(t, rest.LoadTLSFiles(r))
		file := func(name string, data []byte) string {
			path := filepath.Join(dir, c.Name+"-"+name)
			must(t, os.WriteFile(path, data, 0o600))
			return path
		}
		pods := file("pods.json", []byte("[]"))
		fmt.Fprintf(&b, "  - job_name: %s\n    scheme: https\n    tls_config: { ca_file: %s, cert_file: %s, key_file: %s }\n    file_sd_configs: [{ files: [%s] }]\n",
			c.Name, file("ca.crt", r.CAData), file("tls.crt", r.CertData), file("tls.key", r.KeyData), pods)
		w.discover(t, c, pods)
	}
	config := filepath.Join(dir, "prometheus.yml")
	must(t, os.WriteFile(config, []byte(b.String()), 0o600))
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address) //nolint:noctx // stopped in order
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	w.stop = append(w.stop, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("prometheus said:\n%s", text[max(0, len(text)-2000):])
		}
	})
}

// discover keeps a file with the pods of a cluster that are to be scraped.
func (w *world) discover(t *testing.T, c *devclusters.Cluster, file string) {
	t.Helper()
	client, host := w.client(t, c.Name), strings.TrimPrefix(w.kube[c.Name].Host, "https://")
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for last := ""; ctx.Err() == nil; {
			type group struct {
				Targets []string          `json:"targets"`
				Labels  map[string]string `json:"labels"`
			}
			groups := []group{}
			pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: "app in (api, api-canary)", FieldSelector: "status.phase=Running"})
			if err == nil {
				for _, p := range pods.Items {
					groups = append(groups, group{[]string{host}, map[string]string{
						"__metrics_path__": "/api/v1/namespaces/" + p.Namespace + "/pods/" + p.Name + ":8080/proxy/metrics",
						"cluster":          c.Name, "namespace": p.Namespace, "pod": p.Name,
					}})
				}
				text, _ := json.Marshal(groups)
				if string(text) != last {
					last = string(text)
					_ = os.WriteFile(file+".next", text, 0o600)
					_ = os.Rename(file+".next", file)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	w.stop = append(w.stop, func() { cancel(); all.Wait() })
}

// client of a cluster.
func (w *world) client(t *testing.T, cluster string) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(w.kube[cluster])
	must(t, err)
	return c
}

// repo is a repository that is changed and run.
type repo struct {
	t   *testing.T
	w   *world
	dir string
	n   int
}

func (w *world) repository(t *testing.T) *repo {
	t.Helper()
	r := &repo{t: t, w: w, dir: filepath.Join(w.dir, "repo")}
	must(t, os.CopyFS(r.dir, os.DirFS("testdata")))
	r.git("init", "-q", "-b", "main")
	r.commit()
	return r
}

func (r *repo) git(args ...string) {
	r.t.Helper()
	out, err := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir, "-c", "user.name=e2e", "-c", "user.email=e2e@example.com"}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (r *repo) commit() {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "next")
}

// version makes the service another one, of whose answers every so manieth is an error.
func (r *repo) version(name string, failEvery int) {
	r.t.Helper()
	path := filepath.Join(r.dir, "api", "main.go")
	text, err := os.ReadFile(path)
	must(r.t, err)
	lines := strings.Split(string(text), "\n")
	for i, l := range lines {
		switch {
		case strings.HasPrefix(l, "var failEvery int64 = "):
			lines[i] = fmt.Sprint("var failEvery int64 = ", failEvery)
		case strings.HasPrefix(l, "const version = "):
			lines[i] = fmt.Sprintf("const version = %q", name)
		}
	}
	must(r.t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
	manifest := filepath.Join(r.dir, "deploy", "api", "api.yaml")
	text, err = os.ReadFile(manifest)
	must(r.t, err)
	i := strings.Index(string(text), "greeting:")
	j := i + strings.Index(string(text)[i:], "}")
	must(r.t, os.WriteFile(manifest, []byte(string(text)[:i]+fmt.Sprintf("greeting: %q ", name)+string(text)[j:]), 0o600))
	r.commit()
}

// flag has everybody get a variant of the flag.
func (r *repo) flag(variant string) {
	r.t.Helper()
	path := filepath.Join(r.dir, "deploy", "api", "api.yaml")
	text, err := os.ReadFile(path)
	must(r.t, err)
	must(r.t, os.WriteFile(path, bytes.Replace(text, []byte(`"defaultVariant": "off"`), fmt.Appendf(nil, `"defaultVariant": %q`, variant), 1), 0o600))
	r.commit()
}

// submit asks for a run of what is there.
func (r *repo) submit() string {
	r.t.Helper()
	r.n++
	res, err := r.w.runs.Submit(r.t.Context(), &pb.SubmitRequest{IdempotencyKey: fmt.Sprint("k", r.n), Repository: r.dir, Ref: "main"})
	must(r.t, err)
	return res.GetRun().GetId()
}

// ended follows a run to its end.
func (w *world) ended(t *testing.T, id string) *pb.Run {
	t.Helper()
	watch, err := w.runs.Watch(t.Context(), &pb.WatchRequest{Run: id})
	must(t, err)
	for {
		if _, err = watch.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return w.get(t, id)
}

func (w *world) get(t *testing.T, id string) *pb.Run {
	t.Helper()
	res, err := w.runs.Get(t.Context(), &pb.GetRequest{Run: id})
	must(t, err)
	return res.GetRun()
}

func find(t *testing.T, r *pb.Run, id string) *pb.Task {
	t.Helper()
	for _, task := range r.GetTasks() {
		if task.GetId() == id {
			return task
		}
	}
	t.Fatalf("run %s has no task %s", r.GetId(), id)
	return nil
}

func show(t *testing.T, r *pb.Run) {
	t.Helper()
	t.Logf("run %s is %s: %s", r.GetId(), r.GetState(), r.GetMessage())
	for _, task := range r.GetTasks() {
		t.Logf("  %s %s: %s", task.GetId(), task.GetState(), task.GetMessage())
	}
}

// written are the changes that the deployer made in a namespace of a cluster since a time.
func (w *world) written(t *testing.T, cluster, namespace string, since time.Time) []audit.Write {
	t.Helper()
	i := slices.IndexFunc(w.clusters, func(c *devclusters.Cluster) bool { return c.Name == cluster })
	all, err := audit.Read(w.clusters[i].Ready.Audit)
	must(t, err)
	return slices.DeleteFunc(all, func(a audit.Write) bool {
		return a.Namespace != namespace || a.At.Before(since) || !strings.HasPrefix(a.Agent, "slipway-deployer")
	})
}
