package release

import (
	"context"

	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
)

// secrets are the namespace's, asked for as long as ctx holds: Helm's library knows no context, and a deployer that lost its
// lease must not write.
type secrets struct {
	typed.SecretInterface

	ctx    context.Context //nolint:containedctx // it lives as long as one call of this package
	dryRun []string
}

func (s secrets) Get(_ context.Context, name string, opts metav1.GetOptions) (*corev1.Secret, error) {
	return s.SecretInterface.Get(s.ctx, name, opts)
}

func (s secrets) List(_ context.Context, opts metav1.ListOptions) (*corev1.SecretList, error) {
	return s.SecretInterface.List(s.ctx, opts)
}

func (s secrets) Create(_ context.Context, secret *corev1.Secret, opts metav1.CreateOptions) (*corev1.Secret, error) {
	opts.FieldManager, opts.DryRun = apply.FieldManager, s.dryRun
	return s.SecretInterface.Create(s.ctx, secret, opts)
}

func (s secrets) Update(_ context.Context, secret *corev1.Secret, opts metav1.UpdateOptions) (*corev1.Secret, error) {
	opts.FieldManager = apply.FieldManager
	return s.SecretInterface.Update(s.ctx, secret, opts)
}

func (s secrets) Delete(_ context.Context, name string, opts metav1.DeleteOptions) error {
	return s.SecretInterface.Delete(s.ctx, name, opts)
}

// open is Helm's storage in the target's namespace. A dry run of it creates nothing.
func open(ctx context.Context, c *cluster.Cluster, namespace string, dry bool) *storage.Storage {
	s := secrets{SecretInterface: c.Typed.CoreV1().Secrets(namespace), ctx: ctx}
	if dry {
		s.dryRun = []string{metav1.DryRunAll}
	}
	store := storage.Init(driver.NewSecrets(s))
	store.MaxHistory = maxHistory
	return store
}
