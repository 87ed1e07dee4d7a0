package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
	"github.com/slipway-build/slipway/scripts/devcluster/controlplane"
	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

const (
	apiPort = 6443
	// drainPatience bounds how long the end of pods is waited for; what is left then is killed with the namespace.
	drainPatience = 20 * time.Second
	childPatience = 10 * time.Second
)

// Init is the whole life of the init process. It returns when ctx ends or something dies, with everything in order taken down.
type Init struct {
	Spec Spec
	Log  *os.File
	// Out takes messages to the parent.
	Out io.Writer
}

// Run isolates the process, brings the cluster up, reports that it is ready, and keeps it up until ctx ends.
func (i Init) Run(ctx context.Context) error {
	dir := clusterdir.Dir{Root: i.Spec.Dir}
	state := dir.Path("node")
	if err := isolate(state); err != nil {
		return err
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	logs := func(name string) string { return dir.Path(name + ".log") }
	env := []string{
		"PATH=" + i.Spec.Bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + state, "TMPDIR=" + filepath.Join(state, "tmp"),
	}
	out := &reports{w: i.Out}
	c := newChildren(env, logs, func(what string) { out.progress("%s", what) }, fail)
	defer c.close()
	err := controlplane.Run(running, controlplane.Config{
		Dir: dir, Name: i.Spec.Name, Bind: netip.AddrPortFrom(i.Spec.Plan.NodeIP, apiPort), Services: i.Spec.Plan.Services,
		ServeServices: true, Lean: i.Spec.Lean, Audit: i.Spec.Audit, Log: i.Log, Progress: out.progress,
	}, func(ctx context.Context, api controlplane.API) error {
		n := &node{spec: i.Spec, dir: dir, api: api, children: c, out: out}
		defer n.stop()
		if err := n.start(ctx); err != nil {
			return err
		}
		out.send(Message{Server: api.Server})
		<-ctx.Done()
		return nil
	})
	if cause := context.Cause(running); cause != nil && ctx.Err() == nil {
		return cause
	}
	if ctx.Err() != nil {
		return nil // asked to stop, perhaps while it was starting
	}
	return err
}

// reports writes messages to the parent, one a line.
type reports struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *reports) send(m Message) {
	b, err := json.Marshal(m)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.w.Write(append(b, '\n')) // a parent that is gone is seen elsewhere
}

func (r *reports) progress(format string, args ...any) {
	r.send(Message{Progress: fmt.Sprintf(format, args...)})
}

// node is what runs beside the control plane.
type node struct {
	spec     Spec
	dir      clusterdir.Dir
	api      controlplane.API
	children *children
	out      *reports
	client   kubernetes.Interface

	containerd, kubelet, proxy, dns *child
}

func (n *node) start(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(n.api.Admin)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	n.client = client
	conf, err := n.configure(ctx)
	if err != nil {
		return err
	}
	bin := func(name string) string { return filepath.Join(n.spec.Bin, name) }
	if n.containerd, err = n.children.start("containerd", bin("containerd"), "--config", conf.containerd); err != nil {
		return err
	}
	err = poll(ctx, "containerd to listen", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", conf.socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return err
	}
	if err := n.children.run("ctr", bin("ctr"), "--address", conf.socket, "--namespace", "k8s.io", "images", "import", conf.pause); err != nil {
		return fmt.Errorf("import the pause image: %w", err)
	}
	n.out.progress("containerd is ready")
	if n.kubelet, err = n.children.start("kubelet", bin("kubelet"), conf.kubelet...); err != nil {
		return err
	}
	if n.proxy, err = n.children.start("kube-proxy", bin("kube-proxy"), conf.proxy...); err != nil {
		return err
	}
	if n.dns, err = n.children.start("coredns", bin("coredns"), "-conf", conf.corefile); err != nil {
		return err
	}
	return n.wait(ctx)
}

func (n *node) wait(ctx context.Context) error {
	name := n.spec.nodeName()
	err := poll(ctx, "node "+name+" to be ready", func(ctx context.Context) error {
		got, err := n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range got.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("it is not; see %s", n.dir.Path("kubelet.log"))
	})
	if err != nil {
		return err
	}
	// A stop of an earlier run on this folder has closed the node for new pods.
	if err := n.schedulable(ctx, true); err != nil {
		return err
	}
	n.out.progress("node %s is ready", name)
	for what, url := range map[string]string{
		"kube-proxy": "http://127.0.0.1:10256/healthz",
		"coredns":    "http://127.0.0.1:8181/ready",
	} {
		if err := poll(ctx, what+" to be ready", func(ctx context.Context) error { return answers(ctx, url) }); err != nil {
			return err
		}
	}
	n.out.progress("Services and cluster names work")
	return nil
}

// stop ends the pods through the kubelet and then the node itself. Errors are not worth stopping for: the namespace ends soon.
func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	if n.kubelet != nil && n.client != nil {
		if err := n.drain(ctx); err != nil {
			n.out.progress("pods did not end in time: %v", err)
		}
	}
	for _, ch := range []*child{n.dns, n.proxy, n.kubelet, n.containerd} {
		n.children.stop(ch, childPatience)
	}
}

func (n *node) drain(ctx context.Context) error {
	if err := n.schedulable(ctx, false); err != nil {
		return err
	}
	soon := int64(1)
	return poll(ctx, "pods to end", func(ctx context.Context) error {
		pods, err := n.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.spec.nodeName()})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds <= soon {
				continue
			}
			err := n.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &soon})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if len(pods.Items) > 0 {
			return fmt.Errorf("%d are left", len(pods.Items))
		}
		return nil
	})
}

func (n *node) schedulable(ctx context.Context, yes bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, !yes)
	_, err := n.client.CoreV1().Nodes().Patch(ctx, n.spec.nodeName(), types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("open or close the node for pods: %w", err)
	}
	return nil
}

// allowDNS lets CoreDNS read what it answers from.
func (n *node) allowDNS(ctx context.Context) error {
	_, err := n.client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "slipway-devcluster-dns"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: dnsUser}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("let CoreDNS read Services: %w", err)
	}
	return nil
}

const dnsUser = "slipway-devcluster:coredns"

func (n *node) kubeconfigs() (kubelet, proxy, dns string, err error) {
	name := "system:node:" + n.spec.nodeName()
	if kubelet, err = n.api.Kubeconfig(pki.Subject{User: name, Groups: []string{"system:nodes"}}, "kubelet"); err != nil {
		return "", "", "", err
	}
	if proxy, err = n.api.Kubeconfig(pki.Subject{User: "system:kube-proxy"}, "kube-proxy"); err != nil {
		return "", "", "", err
	}
	dns, err = n.api.Kubeconfig(pki.Subject{User: dnsUser}, "coredns")
	return kubelet, proxy, dns, err
}

func answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() // only the status matters
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return nil
}

// poll tries until it works or ctx ends, and then says what was wrong last.
func poll(ctx context.Context, what string, try func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (%w)", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
