// Package simulate makes nodes and pods that exist only as objects, with KWOK: pods get scheduled, become ready, end and are
// deleted, and an annotation on the pod template makes them fail in one of the ways in which real ones fail.
//
// Nothing runs, so nothing answers: a connection that the API server is asked to make to a pod or Service is refused here, in
// this process, and never becomes a packet.
package simulate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/client"

	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

// podRange holds the addresses of simulated pods. It is set aside for benchmarks (RFC 2544) and routed nowhere.
const podRange = "198.18.0.0/16"

const nodeAnnotation = "kwok.x-k8s.io/node"

// Config says how much to simulate.
type Config struct {
	Nodes int
	// Socket is where the API server sends its connections to nodes and pods.
	Socket string
	Log    *os.File
}

// API is the API server to simulate for. Kubeconfig names a file with the rights of an administrator.
type API struct {
	Kubeconfig string
	Client     *rest.Config
	Authority  *pki.Authority
}

// Guard is what has to listen before the API server starts.
type Guard struct {
	kubelet *kubelet
	egress  *egress
}

// Listen opens the two listeners; Close closes them.
func Listen(cfg Config) (*Guard, error) {
	k, err := listenKubelet()
	if err != nil {
		return nil, err
	}
	e, err := listenEgress(cfg.Socket, k.addr())
	if err != nil {
		k.close()
		return nil, err
	}
	return &Guard{kubelet: k, egress: e}, nil
}

// Close ends both listeners and waits for what they served.
func (g *Guard) Close() {
	g.egress.close()
	g.kubelet.close()
}

// Run makes the nodes, waits until they are ready, calls ready, and simulates until ctx ends.
func Run(ctx context.Context, cfg Config, api API, g *Guard, ready func() error) error {
	typed, err := kubernetes.NewForConfig(api.Client)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := g.kubelet.serve(api.Authority, typed); err != nil {
		return err
	}
	ctx = log.NewContext(ctx, log.NewLogger(cfg.Log, log.LevelInfo))
	controller, err := newController(api.Kubeconfig, g.kubelet.port())
	if err != nil {
		return err
	}
	if err := controller.Start(ctx); err != nil {
		return fmt.Errorf("start KWOK: %w", err)
	}
	for i := range cfg.Nodes {
		if err := makeNode(ctx, typed, fmt.Sprintf("simulated-%d", i)); err != nil {
			return err
		}
	}
	if err := waitNodes(ctx, typed, cfg.Nodes); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func newController(kubeconfig string, kubeletPort int) (*controllers.Controller, error) {
	stages, err := stages()
	if err != nil {
		return nil, err
	}
	set, err := client.NewClientset("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("make KWOK's clients: %w", err)
	}
	cfg, err := set.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("make KWOK's clients: %w", err)
	}
	dyn, err := set.ToDynamicClient()
	if err != nil {
		return nil, fmt.Errorf("make KWOK's clients: %w", err)
	}
	mapper, err := set.ToRESTMapper()
	if err != nil {
		return nil, fmt.Errorf("make KWOK's clients: %w", err)
	}
	plain, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make KWOK's clients: %w", err)
	}
	typed, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make KWOK's clients: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return controllers.NewController(controllers.Config{
		Clock: clock.RealClock{}, DynamicClient: dyn, RESTClient: plain, RESTMapper: mapper, TypedClient: typed,
		ImpersonatingDynamicClient: set.ToImpersonatingDynamicClient(), ImpersonatingTypedClient: set.ToImpersonatingTypedClient(),
		ManageNodesWithAnnotationSelector: nodeAnnotation + "=fake",
		CIDR:                              podRange, NodeIP: "127.0.0.1", NodePort: kubeletPort, LocalStages: stages,
		PodPlayStageParallelism: 4, NodePlayStageParallelism: 2, PodsOnNodeSyncParallelism: 1,
		NodeLeaseDurationSeconds: 40, NodeLeaseParallelism: 1, ID: filepath.Join(host, fmt.Sprint(os.Getpid())),
	})
}

func makeNode(ctx context.Context, c kubernetes.Interface, name string) error {
	size := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("32"),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods:   resource.MustParse("500"),
	}
	_, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{nodeAnnotation: "fake"},
			Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
				"slipway.dev/simulated": "true",
			},
		},
		Status: corev1.NodeStatus{Capacity: size, Allocatable: size},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) { // it exists after a restart
		return fmt.Errorf("make node %s: %w", name, err)
	}
	return nil
}

func waitNodes(ctx context.Context, c kubernetes.Interface, want int) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "slipway.dev/simulated=true"})
		if err == nil {
			ready := 0
			for _, n := range nodes.Items {
				for _, cond := range n.Status.Conditions {
					if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
						ready++
					}
				}
			}
			if ready >= want {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for simulated nodes: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}
