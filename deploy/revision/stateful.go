package revision

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// observeWithin bounds the wait for the cluster's controller to have seen a StatefulSet.
const observeWithin = 30 * time.Second

var errNotObserved = errors.New("the cluster's controller has not looked at it in time; does kube-controller-manager run?")

// unblock deletes the candidate's broken pods of StatefulSets. Kubernetes replaces such pods in order and waits for each to be
// ready first, so a pod that never becomes ready would hold up its own replacement forever. Deployments have no such order.
func unblock(ctx context.Context, c *cluster.Cluster, refs []manifest.Ref, changed func(apply.Change)) error {
	for _, ref := range refs {
		if ref.Group != "apps" || ref.Kind != "StatefulSet" {
			continue
		}
		set, err := observed(ctx, c, ref)
		if err != nil {
			return err
		}
		if set == nil || set.Spec.Selector == nil || set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
			continue
		}
		pods, err := c.Typed.CoreV1().Pods(ref.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(set.Spec.Selector)})
		if err != nil {
			return c.Explain("list the pods of "+ref.String(), err)
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if metav1.IsControlledBy(pod, set) && stuck(pod, set.Status.UpdateRevision) {
				if err := deletePod(ctx, c, pod, changed); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// stuck reports a pod of another revision than the wanted one that is not ready.
func stuck(pod *corev1.Pod, wanted string) bool {
	if pod.DeletionTimestamp != nil || wanted == "" || pod.Labels[appsv1.StatefulSetRevisionLabel] == wanted {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status != corev1.ConditionTrue
		}
	}
	return true
}

func deletePod(ctx context.Context, c *cluster.Cluster, pod *corev1.Pod, changed func(apply.Change)) error {
	err := c.Typed.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // it was replaced meanwhile
	case err != nil:
		return c.Explain("delete pod "+pod.Name, err)
	}
	if changed != nil {
		ref := manifest.Ref{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Pod"), Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
		changed(apply.Change{Ref: ref, Action: apply.Deleted, Reason: "it was not ready and held up its own replacement"})
	}
	return nil
}

// observed returns the StatefulSet once its status speaks of what was applied, or nil when it is gone.
func observed(ctx context.Context, c *cluster.Cluster, ref manifest.Ref) (*appsv1.StatefulSet, error) {
	sets := c.Typed.AppsV1().StatefulSets(ref.Namespace)
	wait, cancel := context.WithTimeout(ctx, observeWithin)
	defer cancel()
	for {
		set, err := sets.Get(ctx, ref.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil //nolint:nilnil // gone is an answer
		}
		if err != nil {
			return nil, c.Explain("read "+ref.String(), err)
		}
		if set.Status.ObservedGeneration >= set.Generation {
			return set, nil
		}
		if err := nextChange(wait, c, set); err != nil {
			return nil, err
		}
		if wait.Err() != nil {
			return nil, fmt.Errorf("cluster %q: %s: %w", c.Name(), ref, errors.Join(errNotObserved, context.Cause(ctx)))
		}
	}
}

// nextChange returns when the object changes after the version given, or when ctx ends.
func nextChange(ctx context.Context, c *cluster.Cluster, set *appsv1.StatefulSet) error {
	watcher, err := c.Watching.AppsV1().StatefulSets(set.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", set.Name).String(), ResourceVersion: set.ResourceVersion,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil // the caller tells the end of its wait from the end of the task
		}
		return c.Explain("watch "+set.Name, err)
	}
	defer watcher.Stop()
	select {
	case <-watcher.ResultChan():
	case <-ctx.Done():
	}
	return nil
}
