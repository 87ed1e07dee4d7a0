package canary

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/cluster"
	"github.com/slipway-build/slipway/deploy/health"
	"github.com/slipway-build/slipway/deploy/manifest"
	"github.com/slipway-build/slipway/deploy/rolling"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// Shift gives the candidate its part of the pods and sees them work. Where nothing of the service serves yet it changes nothing, and
// says so in Result.Note. Repeating it finishes what an earlier one began and writes nothing twice; another weight only scales.
//
// The whole release is checked before the first write, as the last step will check it: what that would take over is no reason to
// refuse it if the request adopts, and nothing is taken over here. Errors are those of rolling.Deploy.
func Shift(ctx context.Context, c *cluster.Cluster, req apply.Request, part Part, check rolling.Check, set rolling.Settings, to rolling.Listener) (rolling.Result, error) {
	s := &shift{target: target{cluster: c, Target: req.Target, part: part, check: check, set: set, to: to}, req: req}
	s.req.Policy, s.req.Changed = set.Policy, to.Changed
	s.result.Path = check.Path
	err := s.run(ctx)
	return s.result, err
}

type shift struct {
	target
	req apply.Request
}

func (s *shift) run(ctx context.Context) error {
	if !s.part.valid() {
		return fmt.Errorf("%d %%: %w", s.part.Weight, errWeight)
	}
	objs, refused := manifest.Parse(s.req.Manifests)
	if s.refuse(refused) {
		return nil
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if s.part.Router == Flag {
		return s.move(ctx, objs)
	}
	if s.part.Router == Service && s.part.Weight == 100 {
		return s.turn(ctx, objs)
	}
	serving, err := s.serving(ctx, objs)
	if err != nil {
		return err
	}
	if len(serving) == 0 {
		s.nothing(objs)
		return nil
	}
	var derived Derived
	if err := s.do("check", func() (err error) {
		derived, err = s.derive(ctx, objs, serving)
		return err
	}); err != nil || s.result.Verdict != "" {
		return err
	}
	failpoint.Hit(failpoint.ShiftDerived)
	if err := s.write(ctx, derived.Objects); err != nil || s.result.Verdict != "" {
		return err
	}
	failpoint.Hit(failpoint.ShiftWritten)
	copies, err := s.copies(ctx, derived.Deployments)
	if err != nil {
		return err
	}
	return s.verify(ctx, objs, copies)
}

// derive asks whether the whole release would be accepted, and what stands beside what serves.
func (s *shift) derive(ctx context.Context, objs []*unstructured.Unstructured, serving map[string]int64) (Derived, error) {
	whole := s.req
	whole.Changed = nil
	out, err := apply.Check(ctx, s.cluster, whole)
	if err != nil || s.refuse(out.Refused) {
		return Derived{}, err
	}
	if err := s.free(ctx, objs); err != nil || s.result.Verdict != "" {
		return Derived{}, err
	}
	absent, err := s.absent(ctx, objs)
	if err != nil {
		return Derived{}, err
	}
	request := Request{Objects: objs, Release: s.req.Stamp.Release, Part: s.part, Serving: serving, Absent: absent}
	if s.part.Router == Service {
		if request.Services, err = s.services(ctx, objs); err != nil {
			return Derived{}, err
		}
	}
	derived, refused := Derive(request)
	if s.refuse(refused) {
		return Derived{}, nil
	}
	return derived, s.vacant(ctx, derived)
}

// absent are the keys of what pods need to start and the cluster does not have.
func (s *shift) absent(ctx context.Context, objs []*unstructured.Unstructured) (map[string]bool, error) {
	out := map[string]bool{}
	for _, obj := range objs {
		ref := manifest.RefOf(obj)
		if !manifest.StartsPods(ref) || copies(obj) {
			continue
		}
		live, err := s.live(ctx, obj)
		switch {
		case apierrors.IsForbidden(err):
		case err != nil:
			return nil, err
		// One that an earlier step of this release brought goes on being part of it.
		case live == nil || s.Owns(live) && live.GetAnnotations()[apply.AnnotationRelease] == s.req.Stamp.Release:
			out[ref.Key()] = true
		}
	}
	return out, nil
}

// vacant refuses copies whose names belong to objects of the release that serves.
func (s *shift) vacant(ctx context.Context, derived Derived) error {
	var refused []manifest.Refusal
	for _, obj := range derived.Objects {
		if obj.GetAnnotations()[Annotation] == "" {
			continue
		}
		live, err := s.live(ctx, obj)
		if err != nil {
			return err
		}
		if live != nil && s.Owns(live) && live.GetAnnotations()[Annotation] == "" {
			refused = append(refused, manifest.Refusal{Object: manifest.RefOf(obj).String(), Reason: fmt.Sprintf(
				"belongs to release %s, which serves, and its name is that of the candidate's copy during a canary; release the service "+
					"without it first, or give it another name", live.GetAnnotations()[apply.AnnotationRelease])})
		}
	}
	s.refuse(refused)
	return nil
}

func encode(objs []*unstructured.Unstructured) ([]byte, error) {
	var text bytes.Buffer
	for _, obj := range objs {
		data, err := json.Marshal(obj.Object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", manifest.RefOf(obj), err)
		}
		fmt.Fprintf(&text, "---\n%s\n", data)
	}
	return text.Bytes(), nil
}

func (s *shift) write(ctx context.Context, objs []*unstructured.Unstructured) (err error) {
	req := s.req
	req.Adopt = false
	if req.Manifests, err = encode(objs); err != nil {
		return err
	}
	return s.do("apply", func() (err error) {
		s.result.Touched = true
		s.result.Applied, err = apply.Apply(ctx, s.cluster, req)
		if s.refuse(s.result.Applied.Refused) {
			s.result.Touched = s.result.Applied.Wrote() > 0
		}
		return err
	})
}

// verify sees what was written work, and the candidate's pods answer.
func (s *shift) verify(ctx context.Context, objs []*unstructured.Unstructured, copies map[string]*appsv1.Deployment) error {
	refs := s.result.Applied.Refs()
	for _, ref := range refsOf(copies) {
		if !slices.ContainsFunc(refs, func(r manifest.Ref) bool { return r.UID == ref.UID }) {
			refs = append(refs, ref)
		}
	}
	if err := s.healthy(ctx, refs); err != nil || s.result.Verdict != "" {
		return err
	}
	s.result.Verdict = rolling.Healthy
	if s.check.Path == "" || s.result.Health.Simulated { // nothing listens behind simulated pods
		return nil
	}
	return s.do("http", func() (err error) {
		s.result.HTTP, err = s.ask(ctx, doorOf(objs, copies, s.Service, s.check.Port), health.DefaultHTTPTimeout)
		if err == nil && !s.result.HTTP.OK {
			s.result.Verdict = rolling.Unanswered
		}
		return err
	})
}
