package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/ignore"

	"github.com/slipway-build/slipway/worker/runner"
)

// Annotations of an object that is no part of what stands on the cluster, but is
// carried out before or after it, in the order of the weights.
const (
	annotationHook   = "slipway.dev/hook" // before, after
	annotationWeight = "slipway.dev/hook-weight"
)

// charted renders a Helm chart in memory: no cluster is asked (lookup finds nothing),
// no name resolved, no chart downloaded.
func charted(ctx context.Context, f tree, service string, work runner.Render) (from string, objects []object, warnings []string, err error) {
	from = path.Clean(work.Path)
	c, values, err := f.chartOf(work)
	if err != nil {
		return from, nil, nil, err
	}
	rendered, crds, err := inflate(ctx, c, values, service, work.Namespace)
	if err != nil {
		return from, nil, nil, fmt.Errorf("%s: %s", from, plainly(err, c.Name(), from))
	}
	again, _, err := inflate(ctx, c, values, service, work.Namespace)
	if err != nil {
		return from, nil, nil, fmt.Errorf("%s: %s", from, plainly(err, c.Name(), from))
	}
	for _, crd := range crds {
		found, err := documents(path.Join(from, crd.Name), crd.File.Data)
		if err != nil {
			return from, nil, nil, err
		}
		objects = append(objects, found...)
	}
	hooks := hooks{}
	var problems []error
	for _, name := range sortedNames(rendered) {
		if base := path.Base(name); base == "NOTES.txt" || strings.HasPrefix(base, "_") || strings.TrimSpace(rendered[name]) == "" {
			continue
		}
		at := path.Join(from, strings.TrimPrefix(name, c.Name()+"/"))
		if again[name] != rendered[name] {
			warnings = append(warnings, at+" is different each time it is rendered (a random value, a new certificate or the time): what it makes changes with every release")
		}
		found, err := documents(at, []byte(rendered[name]))
		if err != nil {
			problems = append(problems, err)
		}
		for i := range found {
			setNamespace(&found[i], work.Namespace)
			if hooks.take(&found[i]) {
				objects = append(objects, found[i])
			}
		}
	}
	if len(problems) > 0 {
		return from, nil, warnings, errors.Join(problems...)
	}
	return from, objects, append(warnings, hooks.left...), unique(objects)
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// chart reads the chart in a folder and what it is made of.
func (f tree) chart(dir string) (*chart.Chart, error) {
	at := path.Join(dir, "Chart.yaml")
	if f[at] == nil {
		if !f.hasDir(dir) {
			return nil, fmt.Errorf("%s does not exist in the repository: put the chart there, or name another folder with deploy.path in slipway.yaml", dir)
		}
		return nil, fmt.Errorf("%s holds no Chart.yaml: deploy.path must be the folder of a chart", dir)
	}
	rules := ignore.Empty()
	if text := f[path.Join(dir, ignore.HelmIgnore)]; text != nil {
		parsed, err := ignore.Parse(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, ignore.HelmIgnore), err)
		}
		rules = parsed
	}
	rules.AddDefaults()
	var files []*archive.BufferedFile
	for _, name := range f.below(dir, "\x00") {
		within := name
		if dir != "." {
			within = strings.TrimPrefix(name, dir+"/")
		}
		if !rules.Ignore(within, fileInfo(path.Base(name))) {
			files = append(files, &archive.BufferedFile{Name: within, Data: bytes.TrimPrefix(f[name], []byte("\uFEFF"))})
		}
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", at, firstLine(err))
	}
	if v := c.Metadata.APIVersion; v != "" && v != chart.APIVersionV1 && v != chart.APIVersionV2 {
		return nil, fmt.Errorf("%s: apiVersion %s is not supported: Helm installs charts of v1 and v2", at, v)
	}
	if c.Metadata.Type == "library" {
		return nil, fmt.Errorf("%s: a library chart has nothing to render: name the chart that uses it with deploy.path", at)
	}
	return c, errors.Join(missing(c, dir), closed(c, dir))
}

// chartOf is the chart that is rendered, and the values that it is given.
func (f tree) chartOf(work runner.Render) (*chart.Chart, map[string]any, error) {
	c, err := f.chart(path.Clean(work.Path))
	if err != nil {
		return nil, nil, err
	}
	values, err := f.values(work.Values)
	return c, values, err
}

// missing are subcharts that nobody put into the repository.
func missing(c *chart.Chart, dir string) error {
	var problems []error
	for _, d := range c.Metadata.Dependencies {
		has := slices.ContainsFunc(c.Dependencies(), func(s *chart.Chart) bool { return s.Name() == d.Name })
		if !has {
			problems = append(problems, fmt.Errorf("%s: the subchart %s %s of %s is not in %s: run `helm dependency build %s` and commit what it writes; "+
				"only what is in the repository is rendered, so that a commit always means the same",
				path.Join(dir, "Chart.yaml"), d.Name, d.Version, d.Repository, path.Join(dir, "charts"), dir))
		}
	}
	return errors.Join(problems...)
}

// closed refuses schemas that would be fetched from elsewhere.
func closed(c *chart.Chart, dir string) error {
	if m := regexp.MustCompile(`"\$ref"\s*:\s*"([a-z]+:[^"]*)"`).FindSubmatch(c.Schema); m != nil {
		return fmt.Errorf("%s refers to %s: only what is in the repository is read; copy it into the schema", path.Join(dir, "values.schema.json"), m[1])
	}
	var problems []error
	for _, sub := range c.Dependencies() {
		problems = append(problems, closed(sub, path.Join(dir, "charts", sub.Name())))
	}
	return errors.Join(problems...)
}

// values are those of the files, later ones over earlier ones.
func (f tree) values(files []string) (map[string]any, error) {
	out := map[string]any{}
	var problems []error
	for _, name := range files {
		if f[name] == nil {
			problems = append(problems, fmt.Errorf("%s does not exist in the repository", name))
			continue
		}
		v, err := loader.LoadValues(bytes.NewReader(f[name]))
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", positionOf(name, err), err))
			continue
		}
		out = loader.MergeMaps(out, v)
	}
	return out, errors.Join(problems...)
}

// inflate is what `helm template` does: the text of each template, by name, and the CRDs of the chart and of the subcharts
// that the values leave in it.
func inflate(ctx context.Context, c *chart.Chart, values map[string]any, release, namespace string) (map[string]string, []chart.CRD, error) {
	// Dependencies and values are changed in place by what follows.
	fresh, err := loader.LoadFiles(raw(c))
	if err != nil {
		return nil, nil, err
	}
	own := loader.MergeMaps(map[string]any{}, values)
	if err := chartutil.ProcessDependencies(fresh, own); err != nil {
		return nil, nil, err
	}
	options := common.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	top, err := util.ToRenderValues(fresh, own, options, common.DefaultCapabilities)
	if err != nil {
		return nil, nil, err
	}
	version := common.DefaultCapabilities.KubeVersion.String()
	if want := fresh.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, version) {
		return nil, nil, fmt.Errorf("the chart is for Kubernetes %s, and charts are rendered for %s", want, version)
	}
	files, err := engine.Engine{}.RenderWithContext(ctx, fresh, top)
	return files, fresh.CRDObjects(), err
}

func raw(c *chart.Chart) []*archive.BufferedFile {
	files := make([]*archive.BufferedFile, 0, len(c.Raw))
	for _, r := range c.Raw {
		files = append(files, &archive.BufferedFile{Name: r.Name, Data: r.Data})
	}
	return files
}

// plainly takes Helm's own wrapping off a message and names files as the repository does.
func plainly(err error, name, from string) string {
	text := regexp.MustCompile(`execution error at \(([^)]*)\)`).ReplaceAllString(err.Error(), "$1")
	text = strings.TrimPrefix(text, "template: ")
	return strings.ReplaceAll(text, name+"/templates/", from+"/templates/")
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// hooks translates Helm's hooks into Slipway's.
type hooks struct{ left []string }

// take says whether the object is part of the release, and marks what comes before or
// after the rest.
func (h *hooks) take(o *object) bool {
	notes, _ := o.meta()["annotations"].(map[string]any)
	text, ok := notes["helm.sh/hook"].(string)
	if !ok {
		return true
	}
	var phases []string
	known := true
	for event := range strings.SplitSeq(text, ",") {
		switch strings.ToLower(strings.TrimSpace(event)) {
		case "pre-install", "pre-upgrade":
			phases = append(phases, "before")
		case "post-install", "post-upgrade":
			phases = append(phases, "after")
		case "pre-delete", "post-delete", "pre-rollback", "post-rollback", "test", "test-success":
		default: // Helm leaves out what has an event that it does not know, such as crd-install of Helm 2.
			known = false
		}
	}
	name := fmt.Sprintf("%s: %s %s", o.at, o.kind(), o.name())
	phases = slices.Compact(phases)
	if len(phases) != 1 || !known {
		h.left = append(h.left, fmt.Sprintf("%s is a hook of %s, which is not carried out", name, text))
		return false
	}
	notes[annotationHook] = phases[0]
	if weight, ok := notes["helm.sh/hook-weight"].(string); ok {
		if _, err := strconv.Atoi(weight); err != nil {
			h.left = append(h.left, fmt.Sprintf("%s has the weight %q, which is no number: 0 is taken", name, weight))
			weight = "0"
		}
		notes[annotationWeight] = weight
	}
	return true
}
