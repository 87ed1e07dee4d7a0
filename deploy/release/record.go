package release

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"
	helm "helm.sh/helm/v4/pkg/release/v1"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/manifest"
)

// labelRevision is the number of the record that it is on. Helm copies the labels of the revision before to the one that it
// writes itself, and is so found out: only on a record of Slipway's own are the two numbers equal.
const labelRevision = "slipway.dev/revision"

// describe makes the record of a release, without a revision.
func describe(req Request, c *manifest.Chart) (*helm.Release, error) {
	metadata := &chart.Metadata{}
	data, err := json.Marshal(c.Metadata)
	if err == nil {
		err = json.Unmarshal(data, metadata)
	}
	if err != nil {
		return nil, fmt.Errorf("read the description of the chart: %w", err)
	}
	documents, err := manifest.Documents(req.Manifests)
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	r := &helm.Release{
		Name: c.Release, Namespace: req.Target.Namespace, Config: c.Values,
		Chart: &chart.Chart{Metadata: metadata, Values: c.Defaults},
		Info:  &helm.Info{Status: common.StatusDeployed}, ApplyMethod: string(helm.ApplyMethodServerSideApply),
	}
	var text strings.Builder
	for _, d := range documents {
		if d.Hook == "" {
			text.WriteString("---\n" + d.Text)
			continue
		}
		r.Hooks = append(r.Hooks, hookOf(d))
	}
	r.Manifest = text.String()
	return r, nil
}

func hookOf(d manifest.Document) *helm.Hook {
	events := []helm.HookEvent{helm.HookPreInstall, helm.HookPreUpgrade}
	if d.Hook == manifest.After {
		events = []helm.HookEvent{helm.HookPostInstall, helm.HookPostUpgrade}
	}
	return &helm.Hook{Name: d.Ref.Name, Kind: d.Ref.Kind, Path: d.Ref.String(), Manifest: d.Text, Events: events, Weight: d.Weight}
}

// follow makes r the revision after last, which may be nil.
func follow(r, last *helm.Release, req Request, back int) *helm.Release {
	now := time.Now()
	next := *r
	next.Version = 1
	next.Info = &helm.Info{Status: common.StatusDeployed, FirstDeployed: now, LastDeployed: now, RollbackRevision: back, Description: sentence(req)}
	if last != nil {
		next.Version = last.Version + 1
		if !last.Info.FirstDeployed.IsZero() {
			next.Info.FirstDeployed = last.Info.FirstDeployed
		}
	}
	next.Labels = owner(req.Target)
	next.Labels[apply.AnnotationFence] = req.Stamp.Fence.String()
	next.Labels[labelRevision] = strconv.Itoa(next.Version)
	return &next
}

func sentence(req Request) string {
	text := "Slipway applied release "
	if req.Back {
		text = "Slipway went back to release "
	}
	text += req.Stamp.Release
	if req.Stamp.Run != "" {
		text += ", run " + req.Stamp.Run
	}
	return text
}

// owner are the labels of every record of a target. The one that objects are found by is not among them: a record is none.
func owner(t apply.Target) map[string]string {
	labels := t.Labels()
	delete(labels, apply.LabelManagedBy)
	return labels
}

// owned reports labels of a record that Slipway wrote for the target.
func owned(labels map[string]string, revision string, target apply.Target) bool {
	for key, value := range owner(target) {
		if labels[key] != value {
			return false
		}
	}
	return labels[labelRevision] == revision
}

// same reports records that tell the same: chart, values and objects.
func same(a, b *helm.Release) bool { return content(a) == content(b) }

// content is compared as it is stored, where a number has one kind.
func content(r *helm.Release) string {
	var plain any
	told := helm.Release{Chart: &chart.Chart{}, Config: r.Config, Manifest: r.Manifest, Hooks: r.Hooks}
	if r.Chart != nil {
		told.Chart.Metadata, told.Chart.Values = r.Chart.Metadata, r.Chart.Values
	}
	data, err := json.Marshal(told)
	if err != nil || json.Unmarshal(data, &plain) != nil {
		return ""
	}
	if data, err = json.Marshal(plain); err != nil {
		return ""
	}
	return string(data)
}
