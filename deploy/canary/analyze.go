package canary

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
)

const (
	askEvery  = 10 * time.Second // the candidate's pods, over HTTP
	askWithin = 5 * time.Second  // so long a pod may answer badly
)

// Judge says from what is measured whether a candidate may have more. It is asked once, beside the watch on the pods, takes the
// time that it needs, and gives up when ctx ends: then somebody else said no. An error means that it could not tell.
type Judge interface {
	Judge(ctx context.Context) (Judgment, error)
}

// Judgment is the answer of a Judge.
type Judgment struct {
	OK   bool
	Text string // what was measured, for people; of a no, why
}

// Analysis asks how the candidate of a release does.
type Analysis struct {
	Target    apply.Target
	Manifests []byte // of the candidate
	Release   string
	Fence     apply.Fence
	Part      Part
	Pause     time.Duration // how long it is watched
	Judge     Judge         // nil: the pods and their answers alone decide
}

// Analyze watches what Shift brought, and changes nothing. It ends with the pause, or with the first no: a container that ended or
// began anew, pods that are not ready for longer than a moment, an answer over HTTP that is not good, or the Judge. Where the shift
// had nothing to do it succeeds at once.
//
// The error is in apply.ErrSuperseded's chain when the candidate's pods are not there any more, or another release's. Other errors
// are those of rolling.Deploy.
func Analyze(ctx context.Context, c *cluster.Cluster, req Analysis, check rolling.Check, set rolling.Settings, to rolling.Listener) (rolling.Result, error) {
	a := &analysis{target: target{cluster: c, Target: req.Target, part: req.Part, check: check, set: set, to: to}, req: req}
	a.result.Path = check.Path
	err := a.run(ctx)
	return a.result, err
}

type analysis struct {
	target
	req Analysis
	no  sync.Once // the first one is the verdict
}

// errNo ends what goes on beside the one that said it.
var errNo = errors.New("no")

func (a *analysis) run(ctx context.Context) error {
	objs, refused := manifest.Parse(a.req.Manifests)
	if a.refuse(refused) {
		return nil
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	var copies map[string]*appsv1.Deployment
	var err error
	if a.part.Router == Flag {
		if copies, a.result.Note, err = a.moving(ctx, objs); err != nil || a.result.Verdict != "" {
			return err
		}
	} else if copies, err = a.candidates(ctx, objs, a.req.Release, a.req.Fence); err != nil {
		return err
	}
	switch {
	case len(copies) > 0:
	case a.result.Note != "":
		a.result.Verdict = rolling.Healthy
		return nil
	default:
		a.nothing(objs)
		return nil
	}
	a.result.Verdict = rolling.Healthy
	return a.do("observe", func() error { return a.observe(ctx, objs, copies) })
}

func refOf(deployment string) manifest.Ref {
	return manifest.Ref{GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Name: deployment}
}

func (a *analysis) observe(ctx context.Context, objs []*unstructured.Unstructured, copies map[string]*appsv1.Deployment) error {
	over := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		defer close(over)
		a.result.Health, err = health.Observe(ctx, a.cluster, a.watched(refsOf(copies), a.req.Pause))
		if err == nil && !a.result.Health.Healthy {
			return a.says(rolling.Unhealthy)
		}
		return err
	})
	if a.check.Path != "" {
		group.Go(func() error { return a.keepAsking(ctx, doorOf(objs, copies, a.Service, a.check.Port), over) })
	}
	if a.req.Judge != nil {
		group.Go(func() error { return a.measure(ctx) })
	}
	if err := group.Wait(); !errors.Is(err, errNo) {
		return err
	}
	return nil
}

// says makes no the verdict, unless somebody was first.
func (a *analysis) says(no rolling.Verdict) error {
	a.no.Do(func() { a.result.Verdict = no })
	return errNo
}

func (a *analysis) keepAsking(ctx context.Context, d door, over <-chan struct{}) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		pods, err := a.pods(ctx, d)
		simulated := false
		if err == nil {
			simulated, err = health.Simulated(ctx, a.cluster, pods)
		}
		if simulated { // nothing listens there
			return nil
		}
		if err == nil && len(pods) > 0 { // that there are pods is for the watch to see
			a.result.HTTP, err = a.ask(ctx, d, askWithin)
			if err == nil && !a.result.HTTP.OK {
				return a.says(rolling.Unanswered)
			}
		}
		if err != nil && !cluster.IsUnreachable(err) { // whether the cluster is gone is for the watch to see, too
			return err
		}
		select {
		case <-over:
			return nil
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *analysis) measure(ctx context.Context) error {
	judgment, err := a.req.Judge.Judge(ctx)
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	a.result.Note = judgment.Text
	if !judgment.OK {
		return a.says(rolling.Worse)
	}
	return nil
}
