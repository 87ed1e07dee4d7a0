package canary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
)

// Why nothing was done.
const (
	nothingServes = "no Deployment of the service serves here yet: there is nothing to stand beside, and the release comes as a whole with the last step"
	nobodySends   = "no Service of the release sends requests to a Deployment that serves here: there is nothing to switch, and the release comes as a whole with the last step"
	noDeployment  = "the release has no Deployment: its pods cannot stand beside those that serve, and it comes as a whole with the last step"
)

var errWeight = errors.New("a candidate's part is 1 to 50 percent by pods, 0 or 100 by service, and 1 to 99 by flag; are coordinator and deployer of the same version?")

// target is one service on one cluster, and what is told of the work on it.
type target struct {
	apply.Target
	cluster *cluster.Cluster
	part    Part
	check   rolling.Check
	set     rolling.Settings
	to      rolling.Listener
	result  rolling.Result
}

func (t *target) do(name string, do func() error) error { return t.result.Do(name, t.to, do) }

// nothing makes a success of there being nothing to do.
func (t *target) nothing(objs []*unstructured.Unstructured) {
	t.result.Verdict, t.result.Note = rolling.Healthy, noDeployment
	if slices.ContainsFunc(objs, IsDeployment) {
		t.result.Note = nothingServes
		if t.part.Router == Service && len(reached(objs)) == 0 {
			t.result.Note = nobodySends
		}
	}
}

func (t *target) connect(ctx context.Context) error {
	return t.do("connect", func() error {
		_, err := t.cluster.Ping(ctx)
		return err
	})
}

// refuse makes refusals, if there are any, the verdict.
func (t *target) refuse(refused []manifest.Refusal) bool {
	if len(refused) > 0 {
		t.result.Verdict, t.result.Applied.Refused = rolling.Refused, refused
	}
	return len(refused) > 0
}

// serving is how many pods the live Deployments of the release have, without those of others and those that have none; by service
// also without those that nobody sends requests to.
func (t *target) serving(ctx context.Context, objs []*unstructured.Unstructured) (map[string]int64, error) {
	out := map[string]int64{}
	sent := reached(objs)
	for _, obj := range objs {
		if !IsDeployment(obj) || t.part.Router == Service && !sent[obj.GetName()] {
			continue
		}
		live, err := t.deployment(ctx, obj.GetName())
		if err != nil {
			return nil, err
		}
		if live == nil || !t.Owns(live) {
			continue
		}
		n := int64(1)
		if live.Spec.Replicas != nil {
			n = int64(*live.Spec.Replicas)
		}
		if n > 0 {
			out[obj.GetName()] = n
		}
	}
	return out, nil
}

// deployment is the live one of that name; nil: there is none.
func (t *target) deployment(ctx context.Context, name string) (*appsv1.Deployment, error) {
	live, err := t.cluster.Typed.AppsV1().Deployments(t.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, t.cluster.Explain("read "+refOf(name).String(), err)
	}
	return live, nil
}

// live is the object of that kind and name on the cluster; nil: there is none.
func (t *target) live(ctx context.Context, obj *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	ref := manifest.RefOf(obj)
	mapping, err := t.cluster.MappingFor(ctx, ref.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	live, err := t.cluster.Dynamic.Resource(mapping.Resource).Namespace(t.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, t.cluster.Explain("read "+ref.String(), err)
	}
	return live, nil
}

// copies are the live copies by the names of their originals, without those that are not there.
func (t *target) copies(ctx context.Context, names map[string]string) (map[string]*appsv1.Deployment, error) {
	out := map[string]*appsv1.Deployment{}
	for original, name := range names {
		live, err := t.deployment(ctx, name)
		if err != nil {
			return nil, err
		}
		if live != nil {
			out[original] = live
		}
	}
	return out, nil
}

// candidates are the live copies, by the names of their originals: of every Deployment that serves one.
func (t *target) candidates(ctx context.Context, objs []*unstructured.Unstructured, release string, fence apply.Fence) (map[string]*appsv1.Deployment, error) {
	serving, err := t.serving(ctx, objs)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for original := range serving {
		names[original] = Name(original, validation.DNS1123LabelMaxLength)
	}
	found, err := t.copies(ctx, names)
	if err != nil {
		return nil, err
	}
	for original, name := range names {
		copied := found[original]
		if copied == nil || !t.Owns(copied) {
			return nil, fmt.Errorf("%s, the candidate beside %s, is not there: somebody deleted it, or a later release did: %w",
				refOf(name), refOf(original), apply.ErrSuperseded)
		}
		if of := copied.Annotations[Annotation]; of != release {
			return nil, fmt.Errorf("%s is of release %q and not of release %s: %w", refOf(name), of, release, apply.ErrSuperseded)
		}
		if err := apply.CheckFence(copied, refOf(name), fence); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// watched asks for the health of objects.
func (t *target) watched(refs []manifest.Ref, within time.Duration) health.Request {
	return health.Request{
		Namespace: t.Namespace, Objects: refs, Timeout: within, Patience: t.set.Patience, Grace: t.set.Grace, Progress: t.to.Progress,
	}
}
