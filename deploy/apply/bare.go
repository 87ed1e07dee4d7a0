package apply

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/slipway-build/slipway/deploy/cluster"
)

// bareFor is how long it is believed that a namespace has no object of a kind that is Slipway's. It is asked again earlier when this
// deployer writes one, and when a rollout finds that another deployer was there.
const bareFor = 2 * time.Minute

// barePage is of how many objects it is seen whether they are Slipway's; of more one is taken to be.
const barePage = 500

type bareKey struct {
	namespace string
	resource  schema.GroupResource
}

// bare reports a kind of which Slipway has nothing in the namespace.
func bare(ctx context.Context, c *cluster.Cluster, namespace string, resource schema.GroupVersionResource) (bool, error) {
	return cluster.Read(ctx, &c.Reads, bareKey{namespace, resource.GroupResource()}, time.Now().Add(-bareFor), func(ctx context.Context) (bool, error) {
		list, err := c.Metadata.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{
			LabelSelector: Everything(), Limit: barePage,
		})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err), apierrors.IsForbidden(err):
			return true, nil // what the deployer may not even list, it never applied
		case err != nil:
			return false, c.Explain("list "+resource.Resource, err)
		}
		// Copies that controllers make of labels are none of Slipway's.
		return list.Continue == "" && !slices.ContainsFunc(list.Items, func(item metav1.PartialObjectMetadata) bool { return applied(&item) }), nil
	})
}

// forgetBare says that there may be something now: of a resource, or nil, of any.
func forgetBare(c *cluster.Cluster, namespace string, resource *schema.GroupVersionResource) {
	c.Reads.Forget(func(key any) bool {
		k, ok := key.(bareKey)
		return ok && k.namespace == namespace && (resource == nil || k.resource == resource.GroupResource())
	})
}
