package canary_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/canary"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/revision"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
)

// times is how often each fault of R11 is made.
var times = flag.Int("times", 1, "how often each fault of R11 is made")

// envJob makes the test's program a deployer that carries out one job.
const envJob = "SLIPWAY_TEST_DEPLOYER_JOB"

// job is a task of a deployer.
type job struct {
	Kubeconfig, Do, Namespace string
	Release, Text             string
	Stable, StableText        string // of a rollback
	Part                      canary.Part
	Fence                     apply.Fence
}

// carryOut is what a deployer does with it.
func (j job) carryOut(ctx context.Context) error {
	c, err := cluster.Open(cluster.Spec{Name: "test", Kubeconfig: j.Kubeconfig, QPS: 500, Burst: 500, Timeout: 5 * time.Second})
	if err != nil {
		return err
	}
	target := apply.Target{Project: "shop", Service: "api", Environment: "dev", Namespace: j.Namespace}
	req := apply.Request{Target: target, Manifests: []byte(j.Text), Stamp: apply.Stamp{Fence: j.Fence, Release: j.Release}}
	var result rolling.Result
	switch j.Do {
	case "shift":
		result, err = canary.Shift(ctx, c, req, j.Part, check(), hasty(), rolling.Listener{})
	case "rollback":
		result, err = rolling.Rollback(ctx, c, revision.Request{
			Target: target, Candidate: j.Release, Stable: &revision.Release{ID: j.Stable, Manifests: []byte(j.StableText)}, Fence: j.Fence,
		}, check(), hasty(), rolling.Listener{})
	default:
		result, err = canary.Finish(ctx, c, req, check(), hasty(), rolling.Listener{})
	}
	if err == nil && result.Verdict != rolling.Healthy {
		err = fmt.Errorf("%s: %s", result.Verdict, result.Explanation()) //nolint:err113 // for the test's reader
	}
	return err
}

// deployer carries out the job of the environment; false: there is none.
func deployer() (code int, ok bool) {
	text := os.Getenv(envJob)
	if text == "" {
		return 0, false
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.carryOut(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// killer is the way to the API server, on which a deployer is killed at one request.
type killer struct {
	proxy *httputil.ReverseProxy
	at    func(r *http.Request, writes int) (before, after bool)

	mu     sync.Mutex
	writes int
	pid    int
	done   bool
}

func writes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.URL.Query().Get("dryRun") == "" && !strings.Contains(r.URL.Path, "/authorization.k8s.io/")
}

func (k *killer) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	if writes(r) {
		k.writes++
	}
	before, after := k.at(r, k.writes)
	before, after = before && !k.done, after && !k.done
	k.done = k.done || before || after
	k.mu.Unlock()
	if before {
		k.kill()
		return
	}
	if !after {
		k.proxy.ServeHTTP(out, r)
		return
	}
	k.proxy.ServeHTTP(httptest.NewRecorder(), r)
	k.kill()
}

func (k *killer) kill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = syscall.Kill(k.pid, syscall.SIGKILL)
}

// killed carries a job out in a process that is killed at a request, and says whether it was.
func (s *scene) killed(j job, at func(r *http.Request, writes int) (before, after bool)) bool {
	s.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubetest.Kubeconfig(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		s.t.Fatal(err)
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	k := &killer{at: at, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport, FlushInterval: -1,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {},
	}}
	server := httptest.NewServer(k)
	defer server.Close()
	j.Kubeconfig = filepath.Join(s.t.TempDir(), "kubeconfig")
	through := clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {Server: server.URL}}, Contexts: map[string]*clientcmdapi.Context{"c": {Cluster: "c"}}, CurrentContext: "c",
	}
	if err := clientcmd.WriteToFile(through, j.Kubeconfig); err != nil {
		s.t.Fatal(err)
	}
	text, err := json.Marshal(j)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envJob+"="+string(text))
	var said strings.Builder
	cmd.Stderr = &said
	k.mu.Lock() // nothing is decided before its pid is known
	err = cmd.Start()
	if err == nil {
		k.pid = cmd.Process.Pid
	}
	k.mu.Unlock()
	if err != nil {
		s.t.Fatal(err)
	}
	err = cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return true
		}
	}
	s.t.Errorf("the deployer was to be killed, and ended: %v\n%s", err, &said)
	return false
}

// standing is what is on the cluster, without what times and names make different in each: objects with what they hold, and how often
// Deployments and Services were written otherwise.
func (s *scene) standing() map[string]string {
	s.t.Helper()
	client, out := kubetest.Client(s.t), map[string]string{}
	deployments, err := client.AppsV1().Deployments(s.ns).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, d := range deployments.Items {
		out["Deployment/"+d.Name] = fmt.Sprint("generation ", d.Generation, ", ", *d.Spec.Replicas, " of ", d.Spec.Template.Spec.Containers[0].Image, ", release ", d.Annotations[apply.AnnotationRelease])
	}
	configs, err := client.CoreV1().ConfigMaps(s.ns).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range configs.Items {
		if c.Name != "kube-root-ca.crt" {
			out["ConfigMap/"+c.Name] = fmt.Sprint(c.Data, ", release ", c.Annotations[apply.AnnotationRelease])
		}
	}
	services, err := client.CoreV1().Services(s.ns).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range services.Items {
		out["Service/"+v.Name] = fmt.Sprint(v.Spec.Selector, ", release ", v.Annotations[apply.AnnotationRelease])
	}
	return out
}

const removed = "\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: old}, data: {version: \"1\"}}\n"

// TestR11 kills a deployer at a place of each kind of work, and has another one carry the task out with a newer lease: what stands in
// the end is what stands when nobody is killed, and each Deployment was written as often.
func TestR11(t *testing.T) {
	nth := func(n int, after bool) func(*http.Request, int) (bool, bool) {
		return func(r *http.Request, count int) (bool, bool) {
			hit := writes(r) && count == n
			return hit && !after, hit && after
		}
	}
	method := func(method string, after bool) func(*http.Request, int) (bool, bool) {
		return func(r *http.Request, _ int) (bool, bool) {
			hit := writes(r) && r.Method == method
			return hit && !after, hit && after
		}
	}
	want := map[string]map[string]string{} // by what is done: what stands when nobody is killed
	for _, c := range []struct {
		name string
		do   string
		at   func(*http.Request, int) (before, after bool)
	}{
		{"apply: before anything", "deploy", func(*http.Request, int) (bool, bool) { return true, false }},
		{"apply: before the first question", "deploy", func(r *http.Request, _ int) (bool, bool) { return r.URL.Query().Get("dryRun") != "", false }},
		{"apply: before the first write", "deploy", nth(1, false)},
		{"apply: behind the first write", "deploy", nth(1, true)},
		{"apply: before the second write", "deploy", nth(2, false)},
		{"apply: behind the second write", "deploy", nth(2, true)},
		{"apply: while it becomes healthy", "deploy", func(r *http.Request, count int) (bool, bool) {
			return count >= 2 && r.URL.Query().Get("watch") != "", false
		}},
		{"apply: before something is deleted", "deploy", method(http.MethodDelete, false)},
		{"apply: behind something that was deleted", "deploy", method(http.MethodDelete, true)},
		{"canary: behind the first write of the candidate", "canary", nth(1, true)},
		{"blue-green: behind the switch", "switch", nth(1, true)},
		{"rollback: behind the switch back", "back", nth(1, true)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if want[c.do] == nil {
				s, j := ready(t, c.do)
				want[c.do] = s.finished(j)
			}
			for range *times {
				s, j := ready(t, c.do)
				if !s.killed(j, c.at) {
					return
				}
				if diff := cmp.Diff(want[c.do], s.finished(j)); diff != "" {
					t.Errorf("after a kill stands something else (-nobody killed +killed):\n%s", diff)
				}
			}
		})
	}
}

// TestR11SeesWhatIsLeftUndone is its control: a task that nobody carries out again.
func TestR11SeesWhatIsLeftUndone(t *testing.T) {
	s, j := ready(t, "deploy")
	want := s.finished(j)
	s, j = ready(t, "deploy")
	if !s.killed(j, func(r *http.Request, count int) (bool, bool) { return false, writes(r) && count == 1 }) {
		return
	}
	if got := s.standing(); cmp.Equal(want, got) {
		t.Errorf("half a release is taken for a whole one: %v", got)
	}
}

// ready is a namespace in which a release serves, and the job that is next there.
func ready(t *testing.T, do string) (*scene, job) {
	t.Helper()
	s := setUp(t)
	one := app("1", "") + removed
	s.deploy("r1", one)
	j := job{Namespace: s.ns, Release: "r2", Text: app("2", ""), Stable: "r1", StableText: one}
	switch do {
	case "canary":
		j.Do, j.Part = "shift", canary.Part{Weight: 50}
	case "switch", "back":
		s.good(s.part("r2", j.Text, 0))
		j.Do, j.Part = "shift", canary.Part{Router: canary.Service, Weight: 100}
		if do == "back" {
			s.good(s.part("r2", j.Text, 100))
			j.Do = "rollback"
		}
	}
	j.Fence = s.fence()
	return s, j
}

// finished carries a job out here, with a newer lease, and answers what stands then.
func (s *scene) finished(j job) map[string]string {
	s.t.Helper()
	j.Kubeconfig, j.Fence = kubetest.Kubeconfig(s.t), s.fence()
	if err := j.carryOut(s.t.Context()); err != nil {
		s.t.Fatalf("the next deployer: %v", err)
	}
	return s.standing()
}
