package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

const (
	nodeIndex = "242"
	// imageHost is what image references say; nothing listens there.
	imageHost = "127.0.0.1:7423"
	pullToken = "node:a-pull-token"
)

func TestRealNode(t *testing.T) {
	if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), program(t), "doctor", "--kind", "node", "--bin", filepath.Dir(program(t)), "-o", "json").Output(); err != nil {
		t.Skipf("this machine cannot run a real node: %s", out)
	}
	var plan address.Plan
	if err := json.Unmarshal([]byte(run(t, 0, "addresses", "--index", nodeIndex)), &plan); err != nil {
		t.Fatal(err)
	}
	before := machine(t, plan)
	dir := filepath.Join(t.TempDir(), "state")
	t.Cleanup(func() { run(t, 0, "net", "down", "--name", "real", "--index", nodeIndex) })
	run(t, 0, "net", "up", "--name", "real", "--index", nodeIndex)
	ref, args := serveRegistry(t, plan)
	args = append([]string{"--name", "real", "--kind", "node", "--index", nodeIndex}, args...)
	c := up(t, dir, args...)
	if c.ready.Simulated || c.ready.HostIP != plan.HostIP.String() || c.ready.NodeIP != plan.NodeIP.String() {
		t.Errorf("ready.json: %+v", c.ready)
	}
	ns := namespace(t, c.client, "demo")
	rollOut(t, c.client, ns, ref)

	t.Run("http", func(t *testing.T) {
		for path, want := range map[string]string{
			"/": "hello from web-", "/ask/web.demo.svc.cluster.local": "answered 200", "/ask/web": "answered 200",
			"/ask/nothing.example.com": "no such host", "/out": "unreachable",
		} {
			waitFor(t, "GET "+path+" to say "+want, func(ctx context.Context) (bool, string) {
				b, err := c.client.CoreV1().Services(ns).ProxyGet("http", "web", "80", path, nil).DoRaw(ctx)
				return strings.Contains(string(b), want), fmt.Sprint(string(b), err)
			})
		}
	})
	t.Run("logs", func(t *testing.T) {
		pod, why := firstPod(t.Context(), c.client, ns, "web")
		if pod == nil {
			t.Fatal(why)
		}
		b, err := c.client.CoreV1().Pods(ns).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
		if err != nil || !strings.Contains(string(b), "hello listens") {
			t.Errorf("logs: %q %v", b, err)
		}
	})
	t.Run("root never reaches pods or Services", func(t *testing.T) { unreachable(t, c.client, ns, plan) })
	t.Run("kubelet refuses strangers", func(t *testing.T) { strangers(t, plan) })
	t.Run("index is taken", func(t *testing.T) {
		for _, other := range []string{"real", "other"} {
			out := run(t, 1, "up", "--dir", filepath.Join(t.TempDir(), "other"), "--name", other, "--kind", "node", "--index", nodeIndex)
			if !strings.Contains(out, "choose another --index") {
				t.Errorf("a second cluster on the index said: %s", out)
			}
		}
		run(t, 1, "net", "down", "--name", "real", "--index", nodeIndex)
	})
	t.Run("crash", func(t *testing.T) { crash(t, c.client, ns, ref) })
	t.Run("a kubelet that ends is started again", func(t *testing.T) {
		old := kubelet(t, "real-0")
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "another kubelet", func(context.Context) (bool, string) {
			pid := kubelet(t, "real-0")
			return pid != 0 && pid != old, fmt.Sprint(pid)
		})
	})

	c.stop(t, syscall.SIGTERM)
	run(t, 0, "net", "down", "--name", "real", "--index", nodeIndex)
	if after := machine(t, plan); after != before {
		t.Errorf("the machine before:\n%s\nand after:\n%s", before, after)
	}
	t.Run("killed", func(t *testing.T) {
		run(t, 0, "net", "up", "--name", "real", "--index", nodeIndex)
		again := up(t, dir, args...)
		available := func(ctx context.Context) (bool, string) {
			d, err := again.client.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			pods, err := again.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
			return err == nil && d.Status.AvailableReplicas == 2 && len(pods.Items) == 2, d.Status.String()
		}
		waitFor(t, "web to run again after a restart", available)
		again.stop(t, syscall.SIGKILL)
		run(t, 0, "down", "--dir", dir)
		run(t, 0, "down", "--dir", dir)
		if after := machine(t, plan); after != before {
			t.Errorf("the machine before:\n%s\nand after a kill:\n%s", before, after)
		}
	})
}

// kubelet answers the process id of the kubelet of a node; 0: there is none.
func kubelet(t *testing.T, node string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil { // it has ended
			continue
		}
		args := strings.Split(string(line), "\x00")
		if filepath.Base(args[0]) == "kubelet" && slices.Contains(args, "--hostname-override="+node) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// serveRegistry serves an image over TLS, on the host's side of the veth pair, to whoever has the token.
func serveRegistry(t *testing.T, plan address.Plan) (ref string, args []string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := pki.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Subject{User: "registry", IPs: []netip.Addr{plan.HostIP}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", netip.AddrPortFrom(plan.HostIP, 0).String(), &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
	})
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(pullToken, ":")
	inner := registry.New()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	auth := filepath.Join(dir, "auth")
	if err := os.WriteFile(auth, []byte(pullToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	digest := push(t, listener.Addr().String(), user, password)
	flag := fmt.Sprintf("%s=https://%s,ca=%s,auth=%s", imageHost, listener.Addr(), filepath.Join(dir, "ca.crt"), auth)
	return imageHost + "/demo/hello@" + digest, []string{"--registry", flag}
}

// push builds the program hello into an image and returns its digest.
func push(t *testing.T, host, user, password string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "hello")
	build := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", bin, "./hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build hello: %v\n%s", err, out)
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config.Entrypoint = "linux", "amd64", []string{"/hello"}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/demo/hello:1")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // our own, a line above
	err = remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: user, Password: password}), remote.WithTransport(transport))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func rollOut(t *testing.T, c kubernetes.Interface, ns, ref string) {
	t.Helper()
	d := deployment("web", nil)
	container := &d.Spec.Template.Spec.Containers[0]
	container.Image = ref
	container.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	container.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(8080)},
	}}
	create(t, c, ns, d)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
	}}
	if _, err := c.CoreV1().Services(ns).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "web to be available", func(ctx context.Context) (bool, string) {
		got, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		pod, why := firstPod(ctx, c, ns, "web")
		if pod != nil {
			why = fmt.Sprint(pod.Status.ContainerStatuses)
		}
		return got.Status.AvailableReplicas == 2, why
	})
}

// unreachable dials a Service and a pod from here, the root namespace: both fail at once, and no packet is sent.
func unreachable(t *testing.T, c kubernetes.Interface, ns string, plan address.Plan) {
	t.Helper()
	pod, why := firstPod(t.Context(), c, ns, "web")
	service, err := c.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || pod == nil {
		t.Fatal(err, why)
	}
	for _, addr := range []string{pod.Status.PodIP + ":8080", service.Spec.ClusterIP + ":80", plan.Kubernetes.String() + ":443"} {
		_, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", addr)
		if !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("dial %s: %v; want unreachable", addr, err)
		}
	}
}

func strangers(t *testing.T, plan address.Plan) {
	t.Helper()
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // a stranger does not care
	}
	url := "https://" + netip.AddrPortFrom(plan.NodeIP, 10250).String() + "/pods"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() // only the status matters
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the kubelet answers a stranger %s; want 401", res.Status)
	}
}

// crash rolls out a container that ends, and looks at what a deployer would report.
func crash(t *testing.T, c kubernetes.Interface, ns, ref string) {
	t.Helper()
	d := deployment("crash", nil)
	d.Spec.Template.Spec.Containers[0].Image = ref
	d.Spec.Template.Spec.Containers[0].Command = []string{"/does-not-exist"}
	create(t, c, ns, d)
	waitFor(t, "the container to fail", func(ctx context.Context) (bool, string) {
		pod, why := firstPod(ctx, c, ns, "crash")
		if pod == nil || len(pod.Status.ContainerStatuses) == 0 {
			return false, why
		}
		last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated
		return last != nil && strings.Contains(last.Message, "does-not-exist"), pod.Status.String()
	})
}

// machine describes what a cluster must leave as it was: routes, links, namespaces, mounts, cgroups, processes of its index, and
// the machine's sysctls. Other clusters may come and go beside it.
func machine(t *testing.T, plan address.Plan) string {
	t.Helper()
	var b strings.Builder
	var listing bytes.Buffer
	for _, args := range [][]string{{"route"}, {"-brief", "link"}, {"netns"}} {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "ip", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		listing.Write(out)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	listing.Write(mounts)
	own := []string{plan.Netns, plan.Link.Addr().String(), plan.Pods.Addr().String(), plan.Services.Addr().String(), filepath.Dir(t.TempDir())}
	for line := range strings.Lines(listing.String()) {
		if slices.ContainsFunc(own, func(s string) bool { return strings.Contains(line, s) }) {
			b.WriteString(line)
		}
	}
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*" + plan.Cgroup)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "cgroups: %v\n", cgroups)
	for _, s := range []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys"} {
		v, err := os.ReadFile("/proc/sys/" + s)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: %s", s, v)
	}
	fmt.Fprintf(&b, "processes: %v\n", processes(t, t.TempDir()))
	return b.String()
}

// processes lists those whose command line names the folder of this test.
func processes(t *testing.T, below string) []string {
	t.Helper()
	dir := filepath.Dir(below)
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), dir) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}
