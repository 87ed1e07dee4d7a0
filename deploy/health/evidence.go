package health

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/slipway-build/slipway/deploy/cluster"
)

const (
	maxReasons = 5
	logLines   = 20
	logBytes   = 16 << 10
	logTimeout = 5 * time.Second
)

// evidence turns findings into reasons: one for each distinct sign, with events and, where a process ran, its last words.
func (w *watch) evidence(ctx context.Context, findings []finding) []Reason {
	slices.SortStableFunc(findings, func(a, b finding) int { return cmp.Compare(weight(a), weight(b)) })
	events := list[*corev1.Event](w.stores[eventKind])
	var reasons []Reason
	index := map[string]int{}
	for _, f := range findings {
		sign := f.reason.Object.Key() + "|" + f.reason.Container + "|" + f.reason.Reason
		if at, ok := index[sign]; ok {
			if reasons[at].Pod != f.reason.Pod {
				reasons[at].Also++
			}
			continue
		}
		if len(reasons) == maxReasons {
			break
		}
		reason := f.reason
		for _, uid := range f.about {
			if event := latest(events, uid); event != nil {
				reason.Event = event.Reason + ": " + event.Message
			}
		}
		reason.Logs = w.logs(ctx, f)
		index[sign] = len(reasons)
		reasons = append(reasons, reason)
	}
	return reasons
}

// weight puts what says most first: a container's own sign, a pod's, the workload's.
func weight(f finding) int {
	switch {
	case f.reason.Container != "" && f.class != "waiting":
		return 0
	case f.reason.Container != "":
		return 1
	case f.reason.Pod != "":
		return 2
	default:
		return 3
	}
}

// logs are the last lines of the container, of its previous run when it is not running now. A missing log is no reason to say
// less about the rest.
func (w *watch) logs(ctx context.Context, f finding) []string {
	if f.pod == nil || f.reason.Container == "" || f.class == "image" || f.class == "config" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	lines, size := int64(logLines), int64(logBytes)
	text, err := w.cluster.Typed.CoreV1().Pods(f.pod.Namespace).GetLogs(f.pod.Name, &corev1.PodLogOptions{
		Container: f.reason.Container, TailLines: &lines, LimitBytes: &size,
		Previous: f.reason.Restarts > 0 && f.reason.State == "waiting",
	}).DoRaw(ctx)
	if err != nil {
		return nil
	}
	trimmed := strings.TrimRight(strings.ToValidUTF8(string(text), "?"), "\n")
	if trimmed == "" {
		return nil
	}
	return strings.Split(trimmed, "\n")
}

// kwokNode marks the nodes on which no process ever runs.
const kwokNode = "kwok.x-k8s.io/node"

// Simulated reports whether there are pods and all of them are on simulated nodes, where no process exists.
func Simulated(ctx context.Context, c *cluster.Cluster, pods []*corev1.Pod) (bool, error) {
	known := map[string]bool{}
	for _, pod := range pods {
		if pod.Spec.NodeName == "" || known[pod.Spec.NodeName] {
			continue
		}
		if simulated, err := simulatedNode(ctx, c, pod.Spec.NodeName); err != nil || !simulated {
			return false, err
		}
		known[pod.Spec.NodeName] = true
	}
	return len(known) > 0, nil
}

// nodeAge is how long a node is what it was: one that is replaced under its name is of the same kind.
const nodeAge = time.Minute

type nodeKey string

func simulatedNode(ctx context.Context, c *cluster.Cluster, name string) (bool, error) {
	return cluster.Read(ctx, &c.Reads, nodeKey(name), time.Now().Add(-nodeAge), func(ctx context.Context) (bool, error) {
		node, err := c.Typed.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
			return false, nil // a deployer without a view of nodes runs in a real cluster
		case err != nil:
			return false, c.Explain("read node "+name, err)
		}
		_, ok := node.Annotations[kwokNode]
		return ok, nil
	})
}

// warnings names services of the release that no ready pod stands behind: legal, and hardly ever meant.
func (w *watch) warnings() []string {
	var out []string
	services, pods := byName[*corev1.Service](w.stores[serviceKind]), list[*corev1.Pod](w.stores[podKind])
	for _, ref := range w.req.Objects {
		if ref.Group != "" || ref.Kind != "Service" {
			continue
		}
		service, ok := services[ref.Name]
		if !ok || len(service.Spec.Selector) == 0 {
			continue
		}
		selector := labels.SelectorFromSet(service.Spec.Selector)
		if !slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return selector.Matches(labels.Set(pod.Labels)) }) {
			out = append(out, fmt.Sprintf("%s: no pod matches its selector %s", ref, selector))
		}
	}
	return out
}
