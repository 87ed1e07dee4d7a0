package agent_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/agent"
	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/kubetest"
	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// desk is the other end of the session: it offers grants and collects what comes back. It decides nothing and stores nothing.
type desk struct {
	pb.UnimplementedWorkerServiceServer
	client pb.WorkerServiceClient
	offers chan *pb.Grant
	done   chan *pb.Completion

	mu    sync.Mutex
	blobs map[string][]byte
	log   strings.Builder
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{offers: make(chan *pb.Grant, 10), done: make(chan *pb.Completion, 10), blobs: map[string][]byte{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterWorkerServiceServer(server, d)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); server.Stop(); serving.Wait() })
	d.client = pb.NewWorkerServiceClient(conn)
	return d
}

func (d *desk) blob(text string) string {
	sum := sha256.Sum256([]byte(text))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blobs[digest] = []byte(text)
	return digest
}

func (d *desk) GetBlob(r *pb.GetBlobRequest, to grpc.ServerStreamingServer[pb.GetBlobResponse]) error {
	d.mu.Lock()
	data, ok := d.blobs[r.GetDigest()]
	d.mu.Unlock()
	if !ok {
		return status.Error(codes.NotFound, "no such blob")
	}
	return to.Send(&pb.GetBlobResponse{Data: data})
}

func (d *desk) Session(s grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	if err := s.Send(&pb.SessionResponse{Welcome: &pb.Welcome{Ttl: durationpb.New(10 * time.Second)}}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	out := make(chan *pb.SessionResponse, 100)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	granted := map[string]*pb.Grant{}
	var mu sync.Mutex
	sender.Go(func() {
		for {
			select {
			case g := <-d.offers:
				mu.Lock()
				granted[g.GetLease().GetToken()] = g
				mu.Unlock()
				_ = s.Send(&pb.SessionResponse{Offers: []*pb.Offer{{Token: g.GetLease().GetToken(), Capability: "deploy_one"}}})
			case m := <-out:
				_ = s.Send(m)
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		answer := &pb.SessionResponse{}
		if h := m.GetHeartbeat(); h != nil {
			answer.HeartbeatAck = &pb.HeartbeatAck{Sequence: h.GetSequence()}
		}
		for _, r := range m.GetLeaseRequests() {
			mu.Lock()
			answer.Grants = append(answer.Grants, granted[r.GetToken()])
			mu.Unlock()
		}
		for _, chunk := range m.GetLogs() {
			d.mu.Lock()
			d.log.Write(chunk.GetData())
			d.mu.Unlock()
			answer.LogAcks = append(answer.LogAcks, &pb.LogAck{Lease: chunk.GetLease(), Offset: chunk.GetOffset() + int64(len(chunk.GetData()))})
		}
		for _, c := range m.GetCompletions() {
			answer.CompletionAcks = append(answer.CompletionAcks, &pb.CompletionAck{Lease: c.GetLease()})
			d.done <- c
		}
		out <- answer
	}
}

// deployer runs an agent against the desk until the returned function stops it.
func (d *desk) deployer(t *testing.T, kubeconfig string) (stop func()) {
	t.Helper()
	c, err := cluster.Open(cluster.Spec{Name: "one", Kubeconfig: kubeconfig, QPS: 500, Burst: 500, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	a := agent.New(map[string]agent.Cluster{"one": {Cluster: c, Settings: rolling.Settings{
		Patience: time.Second, Grace: health.Grace{CrashLoop: time.Second},
	}}}, session.Blobs{Client: d.client}, log, func(string, string, time.Duration) {})
	s := session.New(session.Config{
		Client: d.client, Name: "test", Instance: fmt.Sprintf("instance-%d", time.Now().UnixNano()),
		Slots: map[string]int{agent.CapabilityPrefix + "one": 2}, Drain: time.Millisecond, Log: log, Now: time.Now,
	}, a.Handle)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-ended }) }
	t.Cleanup(stop)
	return stop
}

func (d *desk) grant(ns string, counter uint64) *pb.Grant {
	return &pb.Grant{
		Lease: &pb.LeaseRef{Token: fmt.Sprintf("shop-1-%s-%d", ns, counter), Attempt: 1, Fence: &pb.Fence{Epoch: 1, Counter: counter}},
		Run:   "shop-1", TaskId: "apply/api@dev/one", Project: "shop", Service: "api", Timeout: durationpb.New(time.Minute),
	}
}

func (d *desk) apply(ns, release, text string, counter uint64) *pb.Completion {
	g := d.grant(ns, counter)
	g.Work = &pb.Grant_Apply{Apply: &pb.ApplyWork{
		Target: &pb.DeployTarget{Environment: "dev", Cluster: "one", Namespace: ns}, Manifests: d.blob(text), Release: release,
		Health: &pb.HealthCheck{Path: "/healthz", Port: 8080},
	}}
	d.offers <- g
	return <-d.done
}

func (d *desk) compare(ns, text string, counter uint64) *pb.Completion {
	g := d.grant(ns, counter)
	g.Work = &pb.Grant_Diff{Diff: &pb.DiffWork{Target: &pb.DeployTarget{Environment: "dev", Cluster: "one", Namespace: ns}, Manifests: d.blob(text)}}
	d.offers <- g
	return <-d.done
}

func (d *desk) rollback(ns, candidate, release, stable string, counter uint64) *pb.Completion {
	g := d.grant(ns, counter)
	w := &pb.RollbackWork{Target: &pb.DeployTarget{Environment: "dev", Cluster: "one", Namespace: ns}, CandidateRelease: candidate}
	if stable != "" {
		w.StableRelease, w.StableManifests = release, d.blob(stable)
	}
	g.Work = &pb.Grant_Rollback{Rollback: w}
	d.offers <- g
	return <-d.done
}

func app(version, simulate string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}, annotations: {%s}}
    spec: {containers: [{name: server, image: "example.com/api:%s"}]}
`, simulate, version)
}

func expect(t *testing.T, c *pb.Completion, outcome pb.Outcome, class pb.FailureClass, state string, parts ...string) {
	t.Helper()
	if c.GetOutcome() != outcome || c.GetFailureClass() != class || c.GetResult().GetDeploy().GetState() != state {
		t.Fatalf("got %s %s %q: %s", c.GetOutcome(), c.GetFailureClass(), c.GetResult().GetDeploy().GetState(), c.GetMessage())
	}
	for _, part := range parts {
		if !strings.Contains(c.GetMessage(), part) {
			t.Errorf("%q lacks %q", c.GetMessage(), part)
		}
	}
	t.Log(c.GetMessage())
}

func TestTasks(t *testing.T) {
	d, ns := newDesk(t), kubetest.Namespace(t)
	d.deployer(t, kubetest.Kubeconfig(t))
	good, bad := app("1", ""), app("2", "slipway.dev/simulate: crash-loop")

	c := d.apply(ns, "r1", good, 1)
	expect(t, c, pb.Outcome_OUTCOME_SUCCEEDED, 0, "healthy", "2 pods ready", "pods are simulated")
	if deployed := c.GetResult().GetDeploy(); !deployed.GetSimulated() || deployed.GetWritten() != 1 || deployed.GetReplicas() != 2 {
		t.Errorf("deployed %v", deployed)
	}
	kinds := map[string]int{}
	for _, step := range c.GetSteps() {
		kinds[step.GetKind()+" "+step.GetName()]++
	}
	for _, want := range []string{"apply apply", "apply healthy", "pod pod scheduled", "pod pod ready"} {
		if kinds[want] == 0 {
			t.Errorf("no step %q in %v", want, kinds)
		}
	}
	expect(t, d.apply(ns, "r2", bad, 2), pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "unhealthy",
		"pod api-", "container server", "CrashLoopBackOff")
	expect(t, d.rollback(ns, "r2", "r1", good, 3), pb.Outcome_OUTCOME_SUCCEEDED, 0, "rolled_back", "1 of 1 objects written")
	expect(t, d.rollback(ns, "r2", "r1", good, 4), pb.Outcome_OUTCOME_SUCCEEDED, 0, "rolled_back", "nothing written")
	expect(t, d.apply(ns, "r0", bad, 2), pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "superseded", "newer")
	const file = "# Source: deploy/api/app.yaml\n"
	expect(t, d.apply(ns, "r3", file+strings.Replace(good, "replicas", "replica", 1), 5),
		pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "refused", "deploy/api/app.yaml: Deployment/api: spec.replica")
	expect(t, d.apply(ns, "r3", good+"---\n"+file+"apiVersion: v1\nkind: ConfigMap\nmetadata: { name: c, namespace: kube-system }\n", 5),
		pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "refused", `deploy/api/app.yaml: ConfigMap/c: metadata.namespace: is "kube-system", but this release may only write to namespace "`+ns)
	expect(t, d.apply(ns, "r3", file+"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: { name: all }\n", 5),
		pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "refused", "deploy/api/app.yaml: ClusterRole/all: belongs to the whole cluster")
	expect(t, d.rollback(ns, "r1", "", "", 6), pb.Outcome_OUTCOME_SUCCEEDED, 0, "removed")
	d.mu.Lock()
	log := d.log.String()
	d.mu.Unlock()
	for _, want := range []string{"apply to namespace " + ns + " of cluster one", "created Deployment/api", "Deployment/api 2/2 ready", "deleted Deployment/api"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestDeadClusterIsNotTheReleasesFault(t *testing.T) {
	d, relay := newDesk(t), kubetest.NewRelay(t)
	d.deployer(t, relay.Kubeconfig)
	relay.Kill()
	c := d.apply(kubetest.Namespace(t), "r1", app("1", ""), 1)
	expect(t, c, pb.Outcome_OUTCOME_ERRORED, pb.FailureClass_FAILURE_CLASS_INFRA, "", `cluster "one"`, "does not answer", "connection refused")
	if !c.GetUntouched() {
		t.Error("a cluster that did not answer counts as touched: the run would try to undo what was not done")
	}
}

func TestTakenOver(t *testing.T) {
	d, ns, client := newDesk(t), kubetest.NewNamespace(t), kubetest.Client(t)
	d.deployer(t, kubetest.Kubeconfig(t))
	if _, err := client.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "api", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "old"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	text := app("1", "") + "\n---\n{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {selector: {app: api}, ports: [{port: 80}]}}\n"
	c := d.apply(ns, "r1", text, 1)
	expect(t, c, pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_USER, "refused", "Service/api: exists in namespace "+ns+" already and belongs to a Helm release",
		"spec.selector", "held by helm (Update)", "slipway run --adopt")
	if !c.GetUntouched() {
		t.Error("a release that was refused as a whole would be taken back")
	}
	g := d.grant(ns, 2)
	g.Work = &pb.Grant_Apply{Apply: &pb.ApplyWork{
		Target: &pb.DeployTarget{Environment: "dev", Cluster: "one", Namespace: ns}, Manifests: d.blob(text), Release: "r1", Adopt: true,
	}}
	d.offers <- g
	c = <-d.done
	expect(t, c, pb.Outcome_OUTCOME_SUCCEEDED, pb.FailureClass_FAILURE_CLASS_UNSPECIFIED, "healthy", "taken over: Service/api from a Helm release, with fields of helm (Update). Helm goes on")
	if got := c.GetResult().GetDeploy().GetAdopted(); len(got) != 1 || !strings.HasPrefix(got[0], "Service/api from a Helm release") {
		t.Errorf("the result says of what was taken over: %q", got)
	}
}

// A deployer that is stopped in the middle leaves the work to another one, which finds it half done and writes nothing twice.
func TestAnotherDeployerFinishes(t *testing.T) {
	d, ns := newDesk(t), kubetest.NewNamespace(t)
	first := d.deployer(t, kubetest.Kubeconfig(t))
	text := app("1", "slipway.dev/simulate: never-ready")
	g := d.grant(ns, 1)
	g.Work = &pb.Grant_Apply{Apply: &pb.ApplyWork{
		Target: &pb.DeployTarget{Environment: "dev", Cluster: "one", Namespace: ns}, Manifests: d.blob(text), Release: "r1",
	}}
	d.offers <- g
	deployments := kubetest.Client(t).AppsV1().Deployments(ns)
	kubetest.Eventually(t, "the first deployer's write", func() bool {
		_, err := deployments.Get(t.Context(), "api", metav1.GetOptions{})
		return err == nil
	})
	first()
	if c := <-d.done; c.GetOutcome() != pb.Outcome_OUTCOME_ERRORED {
		t.Errorf("the stopped deployer answered %s", c.GetOutcome())
	}
	before, err := deployments.Get(t.Context(), "api", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.deployer(t, kubetest.Kubeconfig(t))
	g.Lease = d.grant(ns, 2).GetLease()
	g.Timeout = durationpb.New(5 * time.Second)
	d.offers <- g
	c := <-d.done
	expect(t, c, pb.Outcome_OUTCOME_FAILED, pb.FailureClass_FAILURE_CLASS_TIMEOUT, "unhealthy", "not healthy in time")
	after, err := deployments.Get(t.Context(), "api", metav1.GetOptions{})
	if err != nil || c.GetResult().GetDeploy().GetWritten() != 0 || after.Generation != before.Generation ||
		after.Annotations[apply.AnnotationFence] != "1.1" {
		t.Errorf("written again: generation %d → %d, fence %s, %v", before.Generation, after.Generation, after.Annotations[apply.AnnotationFence], err)
	}
}
