package render

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/slipway-build/slipway/worker/runner"
)

// Upstream renders work as far as Kustomize's and Helm's own libraries do it, and writes that as `kustomize build` or
// `helm template --include-crds` would print it: what Slipway makes of it, Render says. With a namespace, a kustomization is what it
// would be below another one that sets this namespace.
func Upstream(ctx context.Context, workspace, service string, work runner.Render) ([]byte, error) {
	files, err := load(workspace, append(work.SourcePaths(), work.Path))
	if err != nil {
		return nil, err
	}
	switch work.Using {
	case runner.UsingKustomize, "":
		from, err := kustomizationOf(files, work)
		if err != nil {
			return nil, err
		}
		built, _, err := build(files, from, work.Namespace)
		if err != nil {
			return nil, err
		}
		return built.AsYaml()
	case runner.UsingHelm:
		return templated(ctx, files, service, work)
	default:
		return nil, fmt.Errorf("deploy.using: %s has no upstream command", work.Using)
	}
}

func templated(ctx context.Context, f tree, service string, work runner.Render) ([]byte, error) {
	c, values, err := f.chartOf(work)
	if err != nil {
		return nil, err
	}
	rendered, crds, err := inflate(ctx, c, values, service, work.Namespace)
	if err != nil {
		return nil, err
	}
	for name := range rendered {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(rendered, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(rendered, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, crd := range crds {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", crd.Filename, crd.File.Data)
	}
	for _, m := range manifests {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	text := strings.TrimSpace(b.String()) + "\n"
	for _, h := range hooks {
		text += fmt.Sprintf("---\n# Source: %s\n%s\n", h.Path, h.Manifest)
	}
	return []byte(text), nil
}
