//go:build e2e

package install_test

import (
	"bytes"
	"context"
	"crypto/sha256"
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
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/enginetest"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	root      = "../../.."
	namespace = "slipway"
	nodeIndex = "12" // of the address plan; make demo uses others
)

const targets = `version: 1
project: slipway
clusters: { here: { labels: { tier: farm } } }
environments: { here: { clusters: { tier: farm }, namespace: slipway } }
`

// place is what the test works with.
type place struct {
	dir, tools string
	kubeconfig string
	config     *rest.Config
	kube       kubernetes.Interface
	farm       clientfile.File
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, errs.Bytes())
	}
	return out
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is one of ListenTCP
}

// start brings up a cluster with a real node and a farm whose registry the node can reach.
func start(t *testing.T) *place {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	p := &place{dir: t.TempDir(), tools: filepath.Join(cache, "slipway", "bin")}
	devcluster := filepath.Join(p.tools, "devcluster")
	if out, err := exec.CommandContext(t.Context(), devcluster, "doctor", "--kind", "node").CombinedOutput(); err != nil {
		enginetest.Missing(t, "this machine cannot run a real node: %v\n%s", err, out)
	}
	var addresses struct {
		HostIP string `json:"host_ip"`
	}
	if err := json.Unmarshal(run(t, p.dir, devcluster, "addresses", "--index", nodeIndex), &addresses); err != nil {
		t.Fatal(err)
	}
	state, port := filepath.Join(p.dir, "state"), freePort(t)
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	ca, auth, err := devfarm.RegistryFiles(state)
	if err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("%s:%d", addresses.HostIP, port)
	p.cluster(t, devcluster, "--index", nodeIndex, "--registry", fmt.Sprintf("127.0.0.1:%d=https://%s,ca=%s,auth=%s", port, host, ca, auth))

	file := filepath.Join(p.dir, "targets.yaml")
	if err := os.WriteFile(file, []byte(targets), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(p.dir, "farm.log"))
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan clientfile.File, 1), make(chan error, 1)
	cfg := devfarm.Config{
		State: state, Tools: p.tools, Targets: file, Clusters: map[string]devfarm.Cluster{"here": {Kubeconfig: p.kubeconfig, Kinds: []string{"ClusterRoleBinding.rbac.authorization.k8s.io"}}},
		LocalPaths: []string{p.dir}, Version: "test", GitEnv: gitcmd.PassThrough(os.Environ()), Log: slog.New(slog.NewTextHandler(log, nil)),
		Ports: devfarm.Ports{Registry: port}, RegistryHosts: []string{host}, Ready: func(f clientfile.File) { ready <- f },
		BuildKitRoot: os.Getenv("SLIPWAY_TEST_BUILDKIT_ROOT"),
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { ended <- devfarm.Run(ctx, cfg) }()
	select {
	case p.farm = <-ready:
	case err := <-ended:
		t.Fatalf("farm: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop the farm: %v", err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the farm's log:\n%s", text[max(0, len(text)-20_000):])
		}
	})
	m := p.farm.Mirror
	if _, err := baseimages.Bootstrap(t.Context(), baseimages.Config{Registry: m.Registry, Prefix: m.Prefix, User: m.User, Password: m.Password}); err != nil {
		t.Fatal(err)
	}
	return p
}

// cluster starts one with a real node.
func (p *place) cluster(t *testing.T, devcluster string, args ...string) {
	t.Helper()
	dir := filepath.Join(p.dir, "cluster")
	log, err := os.Create(dir + ".log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), devcluster, append([]string{"up", "--dir", dir, "--name", "here", "--kind", "node", "--lean=false"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), devcluster, "down", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("devcluster down: %v\n%s", err, out)
		}
		<-ended
	})
	for {
		var ready struct {
			Kubeconfig string `json:"kubeconfig"`
		}
		data, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		if err == nil {
			err = json.Unmarshal(data, &ready)
		}
		if err == nil {
			p.kubeconfig = ready.Kubeconfig
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the cluster ended while it started:\n%s", text)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if p.config, err = clientcmd.BuildConfigFromFlags("", p.kubeconfig); err != nil {
		t.Fatal(err)
	}
	if p.kube, err = kubernetes.NewForConfig(p.config); err != nil {
		t.Fatal(err)
	}
}

// release submits a commit and wants the run to succeed.
func (p *place) release(t *testing.T, repository string) *pb.Run {
	t.Helper()
	conn, err := rpc.Dial(t.Context(), p.farm.Address, rpc.DialOptions{Token: p.farm.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := pb.NewRunServiceClient(conn)
	s, err := c.Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: rpc.NewToken(), Repository: repository, Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	id := s.GetRun().GetId()
	w, err := c.Watch(t.Context(), &pb.WatchRequest{Run: id})
	for err == nil {
		_, err = w.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	g, err := c.Get(t.Context(), &pb.GetRequest{Run: id})
	if err != nil {
		t.Fatal(err)
	}
	if g.GetRun().GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		for _, task := range g.GetRun().GetTasks() {
			t.Logf("%-28s %s %s", task.GetId(), task.GetState(), task.GetMessage())
		}
		t.Fatalf("run %s is %s: %s", id, g.GetRun().GetState(), g.GetRun().GetMessage())
	}
	return g.GetRun()
}

func image(t *testing.T, r *pb.Run, service string) string {
	t.Helper()
	for _, task := range r.GetTasks() {
		if task.GetId() == "build/"+service {
			return task.GetResult().GetImage()
		}
	}
	t.Fatalf("run %s built no %s", r.GetId(), service)
	return ""
}

// volumes are what the chart's claims are bound to: a cluster of a test has nobody who makes them.
func (p *place) volumes(t *testing.T) {
	t.Helper()
	nodes, err := p.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		t.Fatalf("nodes: %v, %v", nodes, err)
	}
	for i := range 2 {
		dir := filepath.Join(p.dir, "volumes", fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("volume-", i)}}
		volume.Spec = corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: "local", PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{nodes.Items[0].Labels[corev1.LabelHostname]}}},
			}}}},
		}
		if _, err := p.kube.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// secrets makes those of docs/install.md.
func (p *place) secrets(t *testing.T, tokens map[string]string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := p.kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t, "slipway-coordinator.slipway.svc", "localhost")
	for name, data := range map[string]map[string]string{
		"slipway-tls":    {"tls.crt": cert, "tls.key": key, "ca.crt": cert},
		"slipway-tokens": {"worker": tokens["worker"], "deployer": tokens["deployer"]},
		"slipway-nats":   {"coordinator": rpc.NewToken(), "worker": rpc.NewToken()},
		"slipway-redis":  {"password": rpc.NewToken()},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}
		if _, err := p.kube.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// list asks the farm from a pod beside it, as a person in the cluster's network would. The pod asks
// again when nobody answers: kube-proxy may learn a moment later than the deployer that the
// coordinator is ready.
func (p *place) list(t *testing.T, image, token string) []byte {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "ask"}}
	pod.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyOnFailure,
		Containers: []corev1.Container{{
			Name: "slipway", Image: image, Command: []string{"slipway", "list", "-o", "json"},
			Env: []corev1.EnvVar{
				{Name: "SLIPWAY_ADDR", Value: "slipway-coordinator.slipway.svc:7420"}, {Name: "SLIPWAY_TOKEN", Value: token},
				{Name: "SLIPWAY_CA_FILE", Value: "/tls/ca.crt"},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "tls", MountPath: "/tls"}},
		}},
		Volumes: []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "slipway-tls", Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}}}},
	}
	pods := p.kube.CoreV1().Pods(namespace)
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deadline, tick := time.Now().Add(2*time.Minute), time.NewTicker(200*time.Millisecond)
	defer tick.Stop()
	for {
		now, err := pods.Get(t.Context(), "ask", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if phase := now.Status.Phase; phase == corev1.PodSucceeded || time.Now().After(deadline) {
			out, err := pods.GetLogs("ask", &corev1.PodLogOptions{}).DoRaw(t.Context())
			if err != nil || phase != corev1.PodSucceeded {
				t.Fatalf("slipway list in the cluster: %s, %v\n%s\n%+v", phase, err, out, now.Status.ContainerStatuses)
			}
			return out
		}
		<-tick.C
	}
}

// TestSlipwayInstallsSlipway builds the images of this repository with its own slipway.yaml, rolls its
// own chart out with them, and asks the farm that came up.
func TestSlipwayInstallsSlipway(t *testing.T) {
	p := start(t)
	repo := repository(t, p)
	first := p.release(t, repo.dir)

	tokens := map[string]string{"admin": rpc.NewToken(), "worker": rpc.NewToken(), "deployer": rpc.NewToken()}
	p.secrets(t, tokens)
	p.volumes(t)
	values := fmt.Sprintf(`image: { repository: slipway, tag: built }
tls: { secret: slipway-tls }
programTokens: { secret: slipway-tokens }
tokens:
  - { name: admin, role: administer, hash: "%s" }
  - { name: worker, role: worker, hash: "%s" }
  - { name: deployer, role: worker, hash: "%s" }
coordinator:
  storage: { size: 1Gi, class: local }
  targets: |
    version: 1
    project: shop
    clusters: { here: { labels: { tier: dev } } }
    environments: { dev: { clusters: { tier: dev }, namespace: shop-dev } }
worker: { replicas: 0 } # BuildKit's image is not made from what this machine has
nats: { image: "%s", secret: slipway-nats, storage: { size: 1Gi, class: local } }
redis: { image: "%s", secret: slipway-redis }
`, hash(tokens["admin"]), hash(tokens["worker"]), hash(tokens["deployer"]), image(t, first, "nats"), image(t, first, "redis"))
	repo.write("values.yaml", values)
	repo.edit("slipway.yaml", "    deploy: false\n  nats:", "    deploy: { using: helm, path: charts/slipway, values: [values.yaml], timeout: 5m }\n  nats:")
	repo.commit("Install")
	second := p.release(t, repo.dir)
	if a, b := image(t, first, "slipway"), image(t, second, "slipway"); a != b {
		t.Errorf("a second commit that changed no program has another image: %s, %s", a, b)
	}

	pods, err := p.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready := map[string]bool{}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			ready[pod.Labels["app.kubernetes.io/component"]] = c.Ready
			t.Logf("%s: %s ready: %t, restarts: %d", pod.Name, c.Image, c.Ready, c.RestartCount)
		}
	}
	for _, component := range []string{"coordinator", "nats", "redis", "deployer"} {
		if !ready[component] {
			t.Errorf("no ready pod of %s", component)
		}
	}

	var answer struct {
		Runs []any `json:"runs"`
	}
	out := p.list(t, image(t, second, "slipway"), tokens["admin"])
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Runs) != 0 {
		t.Errorf("a new farm lists %s (%v)", out, err)
	}
}

func hash(token string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(token))) }
