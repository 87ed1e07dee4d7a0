// Package render makes the manifests of one service for one target: it runs
// kustomize or Helm's engine, or takes plain files, puts image digests where the service
// is named, and the target's namespace everywhere.
//
// It reads nothing but the workspace: no remote base or chart, no plugin, no path outside. It
// talks to no cluster, so it does not know whether a cluster would accept the objects. Registries are asked where a policy
// requires of images what only they know, and nowhere else.
package render

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
)

// Store keeps rendered manifests.
type Store interface {
	// PutBlob stores data and answers its digest, "sha256:…".
	PutBlob(ctx context.Context, data []byte) (string, error)
}

// Runner is the runner of render tasks.
type Runner struct {
	store      Store
	registries Registries
}

// New makes the runner of render tasks.
func New(s Store, r Registries) *Runner { return &Runner{s, r} }

// Run renders and stores.
func (r *Runner) Run(ctx context.Context, t runner.Task, report runner.Report) runner.Outcome {
	work, ok := t.Work.(runner.Render)
	if !ok {
		return runner.Err("task %s is no render but %T", t.ID, t.Work)
	}
	report.Started()
	begin := time.Now()
	out, err := Render(ctx, t.Workspace, t.Service, work, r.registries)
	for _, w := range out.Warnings {
		_, _ = fmt.Fprintf(report, "warning: %s\n", w)
	}
	step := runner.Step{Name: "render " + out.From, Kind: "render", Started: begin, Finished: time.Now()}
	if err != nil {
		step.Name, step.Error = "render "+work.Path, err.Error()
		o := runner.Fail("%v", err)
		if errors.Is(err, ErrRegistry) {
			o = runner.Err("%v", err)
			if ended, ok := runner.Interrupted(ctx); ok {
				o = ended
			}
		}
		o.Steps = []runner.Step{step}
		_, _ = fmt.Fprintf(report, "%v\n", err)
		return o
	}
	for _, o := range out.Objects {
		_, _ = fmt.Fprintf(report, "%s\n", o)
	}
	stored := time.Now()
	digest, err := r.store.PutBlob(ctx, out.YAML)
	if err != nil {
		if o, ok := runner.Interrupted(ctx); ok {
			return o
		}
		return runner.Err("store rendered manifests: %v", err)
	}
	return runner.Outcome{
		Kind: runner.Succeeded, Message: fmt.Sprintf("%d objects from %s", len(out.Objects), out.From),
		Result: runner.Result{Manifests: digest, Resolved: out.Resolved},
		Steps:  []runner.Step{step, {Name: "store manifests", Kind: "blob", Started: stored, Finished: time.Now()}},
	}
}

// Output is what was rendered.
type Output struct {
	YAML     []byte   // documents separated by "---", equal for equal inputs; of a Helm release, what Helm wants to know comes first
	From     string   // the repository path that was rendered
	Objects  []string // "Deployment api", in the order of YAML
	Warnings []string
	Resolved map[string]string // what tags of images meant that a policy has resolved, "name:tag" → "sha256:…"
}

// Render renders work from the folder workspace. Every error is the user's to mend, but for ErrRegistry.
func Render(ctx context.Context, workspace, service string, work runner.Render, registries Registries) (Output, error) {
	files, err := load(workspace, append(slices.Concat(work.Paths, work.Values), work.Path))
	if err != nil {
		return Output{}, err
	}
	out := Output{}
	var objects []object
	switch work.Using {
	case runner.UsingKustomize, "":
		out.From, objects, err = kustomized(files, work)
	case runner.UsingManifests:
		out.From, objects, err = plain(files, work)
	case runner.UsingHelm:
		out.From, objects, out.Warnings, err = charted(ctx, files, service, work)
	default:
		return out, fmt.Errorf("deploy.using: %s is not supported: use kustomize, manifests or helm", work.Using)
	}
	if err != nil {
		return out, err
	}
	if len(objects) == 0 {
		return out, fmt.Errorf("%s: no Kubernetes objects were rendered", out.From)
	}
	for _, o := range objects {
		if o.moved != "" {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s: %s %s is written for namespace %s, and goes to %s, which is the target's", o.at, o.kind(), o.name(), o.moved, work.Namespace))
		}
	}
	images := replacer{images: work.Images}
	for i := range objects {
		images.object(&objects[i])
	}
	loose, err := images.verdict(service, out.From)
	if out.Warnings = append(out.Warnings, loose...); err != nil {
		return out, err
	}
	if objects, err = withJobs(objects, service, out.From, work); err != nil {
		return out, err
	}
	found, err := answerTo(ctx, objects, service, work, registries)
	if out.Warnings = append(out.Warnings, found.warnings...); err != nil {
		return out, err
	}
	out.Resolved = found.means
	out.Warnings = slices.DeleteFunc(out.Warnings, func(w string) bool {
		_, rest, _ := strings.Cut(w, ", container ")
		_, image, _ := strings.Cut(strings.TrimSuffix(rest, notPinned), ": ")
		return rest != "" && found.means[image] != ""
	})
	for _, o := range objects {
		out.Objects = append(out.Objects, o.kind()+" "+o.name())
	}
	if out.YAML, err = encode(objects); err != nil {
		return out, err
	}
	front, err := head(files, service, work)
	out.YAML = append(front, out.YAML...)
	return out, err
}

// source chooses the folder that is rendered: the overlay of the environment where
// there is one, else the path itself, else its base.
func source(f tree, work runner.Render, holds func(dir string) bool) (string, error) {
	root := path.Clean(work.Path)
	candidates := []string{path.Join(root, "overlays", work.Environment), root, path.Join(root, "base")}
	for _, c := range candidates {
		if holds(c) {
			return c, nil
		}
	}
	if !f.hasDir(root) {
		return "", fmt.Errorf("%s does not exist in the repository: put the manifests there, or name another folder with deploy.path in slipway.yaml", root)
	}
	return "", fmt.Errorf("%s holds no %s; looked in %s", root, map[bool]string{true: "manifests (*.yaml, *.yml, *.json)", false: "kustomization.yaml"}[work.Using == runner.UsingManifests],
		strings.Join(candidates, ", "))
}
