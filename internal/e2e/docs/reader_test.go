//go:build e2e

package docs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/jsonpath"
)

const root = "../../.."

// reader is somebody with a repository, and a home of their own.
type reader struct {
	dir, home, repo string
	env             []string
}

// files of the reader: a repository with one service, another one, and the kubeconfig of
// somebody who has used kind.
const (
	dockerfile = "FROM busybox:1.36\nCOPY services/api/index.html /www/index.html\nEXPOSE 8080\nUSER 1000:1000\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n"
	deployment = `apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec:
  selector: { matchLabels: { app: api } }
  template:
    metadata: { labels: { app: api } }
    spec: { containers: [{ name: api, image: api, ports: [{ containerPort: 8080 }] }] }
`
	kind = `apiVersion: v1
kind: Config
clusters: [{ name: kind, cluster: { server: "https://127.0.0.1:1" } }]
users: [{ name: anna, user: { token: x } }]
contexts: [{ name: kind-dev, context: { cluster: kind, user: anna } }]
`
	identity = "[user]\nname = Anna\nemail = anna@example.com\n"
)

func newReader(t *testing.T) *reader {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "docs") //nolint:usetesting // t.TempDir's is too long: the kubelet's sockets are below the home
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{dir: dir}
	r.home, r.repo = filepath.Join(r.dir, "home"), filepath.Join(r.dir, "shop")
	for name, text := range map[string]string{
		"shop/services/api/Dockerfile": dockerfile, "shop/services/api/index.html": "hello\n",
		"shop/deploy/api/kustomization.yaml": "resources: [deployment.yaml]\n", "shop/deploy/api/deployment.yaml": deployment,
		"other/Dockerfile": "FROM busybox:1.36\n", "home/.gitconfig": identity, "home/.cache/slipway/README": "", "slipway/bin/README": "",
	} {
		file := filepath.Join(r.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(r.dir, "slipway", "bin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "slipway"), root+"/slipway").CombinedOutput(); err != nil {
		t.Fatalf("build slipway: %v\n%s", err, out)
	}
	if err := os.Symlink(filepath.Join(home, ".cache", "slipway", "bin"), filepath.Join(r.home, ".cache", "slipway", "bin")); err != nil {
		t.Fatal(err)
	}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name != "HOME" && name != "PATH" && name != "KUBECONFIG" && !strings.HasPrefix(name, "SLIPWAY_") && !strings.HasPrefix(name, "XDG_") {
			r.env = append(r.env, v)
		}
	}
	r.env = append(r.env, "HOME="+r.home, "PATH="+bin+":"+os.Getenv("PATH"))
	r.shell(t, r.repo, "git init -q -b main && git add -A && git commit -q -m first")
	t.Cleanup(func() {
		for _, state := range []string{"~/.local/state/slipway", "~/farm"} {
			if out, err := r.bash(context.WithoutCancel(t.Context()), r.repo, "slipway down --state "+state).CombinedOutput(); err != nil {
				t.Errorf("stop the farm of %s: %v\n%s", state, err, out)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *reader) place(dir string) string {
	if dir == "" {
		return r.repo
	}
	return filepath.Join(r.dir, dir)
}

func (r *reader) bash(ctx context.Context, dir, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Env = dir, r.env
	return cmd
}

// shell runs commands and answers what they print; a command that fails fails the test.
func (r *reader) shell(t *testing.T, dir, text string) string {
	t.Helper()
	// A file, which the farm in the background does not keep open.
	file, err := os.CreateTemp(r.dir, "out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() // it was read by its name
	cmd := r.bash(t.Context(), dir, text)
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	out, rerr := os.ReadFile(file.Name())
	if err := errors.Join(err, rerr); err != nil {
		log, _ := os.ReadFile(filepath.Join(r.home, ".local/state/slipway/farm.log"))
		t.Fatalf("%s: %v\n%s\nthe farm's log:\n%s", text, err, out, log)
	}
	return string(out)
}

// foreground runs a command until it says that the farm is up, and ends it as Ctrl-C does.
func (r *reader) foreground(t *testing.T, dir, text string) string {
	t.Helper()
	if strings.Contains(text, "kind-dev") {
		file := filepath.Join(r.home, ".kube", "config")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(kind), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := r.bash(t.Context(), dir, "exec "+text)
	out := &until{text: "the farm is up", seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-out.seen:
	case err := <-ended:
		t.Fatalf("%s: %v\n%s", text, err, out)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatalf("%s, after Ctrl-C: %v\n%s", text, err, out)
	}
	return out.String()
}

// until closes seen once text was written.
type until struct {
	text string
	seen chan struct{}

	mu  sync.Mutex
	all bytes.Buffer
}

var _ io.Writer = (*until)(nil)

func (u *until) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := strings.Contains(u.all.String(), u.text)
	n, err := u.all.Write(p)
	if !before && strings.Contains(u.all.String(), u.text) {
		close(u.seen)
	}
	return n, err
}

func (u *until) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all.String()
}

// kube is the cluster that README.md says how to look at.
func (r *reader) kube(t *testing.T) kubernetes.Interface {
	t.Helper()
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: filepath.Join(r.home, ".local/state/slipway/kubeconfig")}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: "dev"}).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (r *reader) pods(t *testing.T) string {
	t.Helper()
	list, err := r.kube(t).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	return strings.Join(names, " ")
}

// kubectl is "kubectl get deployment NAME -o jsonpath='…'", in the namespace of targets.yaml.
func (r *reader) kubectl(t *testing.T, text string) string {
	t.Helper()
	rest, ok := strings.CutPrefix(text, "kubectl get deployment ")
	name, expression, found := strings.Cut(rest, " -o jsonpath=")
	if !ok || !found {
		t.Fatalf("the test cannot do this: %s", text)
	}
	d, err := r.kube(t).AppsV1().Deployments("shop").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return evaluate(t, d, strings.Trim(expression, "'"))
}

func evaluate(t *testing.T, d *appsv1.Deployment, expression string) string {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	path := jsonpath.New("example")
	if err := errors.Join(path.Parse(expression), path.Execute(&out, object)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
