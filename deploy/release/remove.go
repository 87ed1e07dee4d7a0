package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	helm "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
)

// remove deletes Slipway's records of the target, which say what is no longer so. Revisions from before it was taken over stay, and
// the newest of them is Helm's again.
func remove(ctx context.Context, c *cluster.Cluster, req Request) (Outcome, error) {
	out := Outcome{}
	selector, secrets := owner(req.Target), corev1.SchemeGroupVersion.WithResource("secrets")
	selector["owner"] = "helm"
	delete(selector, apply.LabelService)
	if none, err := bare(ctx, c, req.Target.Namespace, selector); err != nil || none {
		return out, err
	}
	which := cluster.Labeled{Labels: selector, Each: apply.LabelService, Value: req.Target.Service}
	list, err := c.Metas(ctx, secrets, req.Target.Namespace, which, time.Now())
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return out, nil // what the deployer may not even list, it never wrote
	}
	if err != nil {
		return out, c.Explain("list the records of Helm releases", err)
	}
	client := c.Metadata.Resource(secrets).Namespace(req.Target.Namespace)
	mine := slices.DeleteFunc(slices.Clone(list), func(item metav1.PartialObjectMetadata) bool {
		return !owned(item.Labels, item.Labels["version"], req.Target)
	})
	names := map[string]bool{}
	for _, item := range mine {
		names[item.Labels["name"]] = true
		if err := checkFence(item.Labels["name"], item.Labels, req); err != nil {
			return out, err
		}
	}
	for name := range names { // before the deletion, which a repeat would not know of
		if err := giveBack(ctx, c, req, name); err != nil {
			return out, err
		}
	}
	for _, item := range mine {
		err := client.Delete(ctx, item.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &item.UID}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return out, c.Explain("delete "+item.Name, err)
		}
		out.Removed++
	}
	return out, nil
}

// bareFor is how long it is believed that a namespace has no records of Slipway's, unless this deployer writes one.
const bareFor = 30 * time.Second

type bareKey string // a namespace

func bare(ctx context.Context, c *cluster.Cluster, namespace string, selector labels.Set) (bool, error) {
	return cluster.Read(ctx, &c.Reads, bareKey(namespace), time.Now().Add(-bareFor), func(ctx context.Context) (bool, error) {
		client := c.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace)
		list, err := client.List(ctx, metav1.ListOptions{LabelSelector: selector.String(), Limit: 1})
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return true, nil // what the deployer may not even list, it never wrote
		}
		if err != nil {
			return false, c.Explain("list the records of Helm releases", err)
		}
		return len(list.Items) == 0, nil
	})
}

// giveBack makes the newest revision that is left deployed, as it was before Slipway superseded it.
func giveBack(ctx context.Context, c *cluster.Cluster, req Request, name string) error {
	b := &book{store: open(ctx, c, req.Target.Namespace, false), wanted: &helm.Release{Name: name}, req: req, cl: c}
	history, err := b.history()
	if err != nil {
		return err
	}
	history = slices.DeleteFunc(history, b.ours)
	last := newest(history)
	if last == nil || last.Info.Status != common.StatusSuperseded {
		return nil
	}
	last.Info.Status = common.StatusDeployed
	if err := b.store.Update(last); err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
		return fmt.Errorf("give back: %w", b.explain("update", err))
	}
	return nil
}
