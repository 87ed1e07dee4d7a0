package apply

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/slipway-build/slipway/deploy/cluster"
)

// accountWait bounds the wait for a new namespace's default service account, without which the cluster refuses pods. A
// cluster that makes none is not held up longer.
const accountWait = 10 * time.Second

// namespaceAge is how long a namespace is taken to be there that was.
const namespaceAge = 2 * time.Second

type namespaceKey string

// ensureNamespace creates and labels the target's namespace. One that exists is left as it is: it may be the platform team's.
func ensureNamespace(ctx context.Context, c *cluster.Cluster, target Target) (created bool, err error) {
	live, err := cluster.Read(ctx, &c.Reads, namespaceKey(target.Namespace), time.Now().Add(-namespaceAge), func(ctx context.Context) (*corev1.Namespace, error) {
		return c.Typed.CoreV1().Namespaces().Get(ctx, target.Namespace, metav1.GetOptions{})
	})
	switch {
	case err == nil && live.DeletionTimestamp != nil:
		return false, fmt.Errorf("cluster %q: namespace %s is still being deleted", c.Name(), target.Namespace)
	case err == nil:
		return false, nil
	case !apierrors.IsNotFound(err):
		return false, c.Explain("read namespace "+target.Namespace, err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: target.Namespace,
		Labels: map[string]string{
			LabelManagedBy: managedBy, LabelProject: target.Project, LabelEnvironment: target.Environment,
		},
	}}
	_, err = c.Typed.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return false, c.Explain("create namespace "+target.Namespace, err)
	}
	return err == nil, awaitAccount(ctx, c, target.Namespace)
}

func awaitAccount(ctx context.Context, c *cluster.Cluster, namespace string) error {
	wait, cancel := context.WithTimeout(ctx, accountWait)
	defer cancel()
	watcher, err := c.Watching.CoreV1().ServiceAccounts(namespace).Watch(wait, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", "default").String(),
	})
	if err != nil {
		return c.Explain("watch the service accounts of "+namespace, err)
	}
	defer watcher.Stop()
	for {
		select {
		case event, open := <-watcher.ResultChan():
			if !open || event.Type == watch.Added {
				return ctx.Err()
			}
		case <-wait.Done():
			return ctx.Err()
		}
	}
}
