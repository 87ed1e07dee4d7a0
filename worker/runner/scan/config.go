package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

// Limits of one file, of which anchors may make much more than is written.
const (
	maxObjects = 5000
	maxNested  = 4 // lists within lists
)

// config judges what asks for more than it needs: pods by Kubernetes' pod security standards, and
// the Dockerfile.
func config(ctx context.Context, s *sources.Files, work runner.Scan) (found, error) {
	got := found{tool: "slipway-config"}
	if work.Manifests == "" && work.Dockerfile == "" {
		return got, sources.Mistakef("there is nothing to look at: expected a folder with manifests, a Dockerfile, or both")
	}
	if work.Manifests != "" {
		checks, err := checksOf(work.Level)
		if err != nil {
			return got, err
		}
		m := manifests{checks: checks, found: &got}
		files := slices.DeleteFunc(slices.Clone(s.Below(work.Manifests)), func(n string) bool {
			return !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(n))
		})
		if len(files) == 0 {
			return got, sources.Mistakef("%s holds no manifests: expected *.yaml, *.yml or *.json", work.Manifests)
		}
		for _, name := range files {
			if ctx.Err() != nil {
				return got, context.Cause(ctx)
			}
			if chart := template(name, files); chart != "" {
				m.templates++
				continue
			}
			data, err := s.Read(name, sources.MaxFile)
			if err != nil {
				return got, err
			}
			m.file(name, data)
		}
		level := string(api.LevelBaseline)
		if work.Level != "" {
			level = work.Level
		}
		got.note("judged %s below %s by the level %s", count(m.pods, "pod"), work.Manifests, level)
		if m.templates > 0 {
			got.note("not looked at: %s of Helm charts: they are no YAML before they are rendered", count(m.templates, "template"))
		}
	}
	if work.Dockerfile != "" {
		name := path.Clean(work.Dockerfile)
		data, err := s.Read(name, sources.MaxFile)
		if err != nil {
			return got, sources.Mistakef("dockerfile: %v", err)
		}
		if err := dockerfile(ctx, name, data, &got); err != nil {
			return got, err
		}
	}
	return got, nil
}

// template is the chart whose template a file is; empty: it is none.
func template(name string, files []string) string {
	dir := path.Dir(name)
	for dir != "." && dir != "/" {
		parent := path.Dir(dir)
		if path.Base(dir) == "templates" && slices.Contains(files, path.Join(parent, "Chart.yaml")) {
			return parent
		}
		dir = parent
	}
	return ""
}

// check is one of the pod security standards' checks, in its newest version.
type check struct {
	id       string
	severity sarif.Severity
	baseline bool
	partly   bool // it passes over what another check says of the same fields
	pod      policy.CheckPodFn
}

func checksOf(level string) ([]check, error) {
	if level != "" && level != runner.LevelBaseline && level != runner.LevelRestricted {
		return nil, sources.Mistakef("level: %q is not supported: use %s or %s", level, runner.LevelBaseline, runner.LevelRestricted)
	}
	var out []check
	for _, c := range policy.DefaultChecks() {
		newest := c.Versions[len(c.Versions)-1]
		if c.Level == api.LevelBaseline {
			out = append(out, check{id: string(c.ID), severity: sarif.High, baseline: true, pod: newest.CheckPod})
		} else if level == runner.LevelRestricted {
			out = append(out, check{id: string(c.ID), severity: sarif.Medium, pod: newest.CheckPod})
		}
	}
	if level == runner.LevelRestricted { // what breaks baseline too is judged by it, as it is worse
		for i := range out {
			if over := overrides(out[i].id); over != nil {
				out[i].pod, out[i].partly = unless(over, out[i].pod), true
			}
		}
	}
	slices.SortFunc(out, func(a, b check) int { return strings.Compare(a.id, b.id) })
	return out, nil
}

// overrides is the baseline check that a restricted check stands for; nil: none.
func overrides(id string) policy.CheckPodFn {
	all := policy.DefaultChecks()
	for _, c := range all {
		if string(c.ID) != id || c.Level != api.LevelRestricted {
			continue
		}
		for _, over := range c.Versions[len(c.Versions)-1].OverrideCheckIDs {
			if i := slices.IndexFunc(all, func(o policy.Check) bool { return o.ID == over }); i >= 0 {
				return all[i].Versions[len(all[i].Versions)-1].CheckPod
			}
		}
	}
	return nil
}

func unless(first, then policy.CheckPodFn) policy.CheckPodFn {
	return func(m *metav1.ObjectMeta, s *corev1.PodSpec) policy.CheckResult {
		if r := first(m, s); !r.Allowed {
			return policy.CheckResult{Allowed: true}
		}
		return then(m, s)
	}
}

// manifests judges the pods of files.
type manifests struct {
	checks          []check
	found           *found
	pods, templates int
	left            int // objects of the present file that may be looked at
}

// file judges the documents of one file. What is no YAML is said, and no mistake here.
func (m *manifests) file(name string, data []byte) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	m.left = maxObjects
	for {
		var doc yaml.Node
		err := d.Decode(&doc)
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil && bytes.Contains(data, []byte("{{")):
			m.templates++
			return
		case err != nil:
			m.found.note("%s: not looked at, as it is no YAML: %v", name, err)
			return
		}
		if len(doc.Content) > 0 {
			m.object(name, doc.Content[0], 0)
		}
		if m.left < 0 {
			m.found.note("%s: only the first %d objects were looked at: take the file apart", name, maxObjects)
			return
		}
	}
}

// podPath is where a kind has its pod, as keys.
func podPath(kind string) ([]string, bool) {
	switch kind {
	case "Pod":
		return nil, true
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job":
		return []string{"spec", "template"}, true
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template"}, true
	case "PodTemplate":
		return []string{"template"}, true
	}
	return nil, false
}

func (m *manifests) object(name string, o *yaml.Node, depth int) {
	if m.left--; m.left < 0 || depth > maxNested {
		return
	}
	if items := child(o, "items"); items != nil && strings.HasSuffix(value(child(o, "kind")), "List") {
		for _, item := range items.Content {
			m.object(name, item, depth+1)
		}
		return
	}
	keys, ok := podPath(value(child(o, "kind")))
	if !ok {
		return
	}
	at := o
	for _, k := range keys {
		at = child(at, k)
	}
	spec := child(at, "spec")
	if spec == nil {
		return // a patch of something else
	}
	id := value(child(o, "kind")) + " " + value(child(child(o, "metadata"), "name"))
	p := podFile{name: name, object: o, node: spec, id: id, scope: value(child(child(o, "metadata"), "namespace"))}
	if err := p.decode(at); err != nil {
		m.found.note("%s:%d: %s is not looked at, as Kubernetes would not take it: %v", name, o.Line, id, err)
		return
	}
	m.pods++
	for _, c := range m.checks {
		if !c.baseline && p.patch {
			continue // what it leaves out, another file may say
		}
		m.found.findings = append(m.found.findings, p.judge(c)...)
	}
}

// podFile is a pod, and where it is written.
type podFile struct {
	name         string
	object, node *yaml.Node // node: spec of the pod
	id, scope    string
	meta         metav1.ObjectMeta
	spec         corev1.PodSpec
	patch        bool // it says what another file lacks, and is no pod by itself
}

func (p *podFile) decode(at *yaml.Node) error {
	var fields map[string]any
	if err := at.Decode(&fields); err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{"metadata": fields["metadata"], "spec": fields["spec"]})
	if err != nil {
		return err
	}
	var t corev1.PodTemplateSpec
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	p.meta, p.spec = t.ObjectMeta, t.Spec
	p.patch = !slices.ContainsFunc(p.spec.Containers, func(c corev1.Container) bool { return c.Image != "" })
	return nil
}

// judge asks about the pod without containers, and with each alone, so that it can be said which of
// them it is.
func (p *podFile) judge(c check) (out []sarif.Finding) {
	whole := c.pod(&p.meta, &p.spec)
	if whole.Allowed && !c.partly {
		return nil
	}
	bare := *p.spec.DeepCopy()
	bare.Containers, bare.InitContainers, bare.EphemeralContainers = nil, nil, nil
	keys := fieldsOf(c.id)
	if r := c.pod(&p.meta, &bare); !r.Allowed {
		if at := lineOfField(p.node, keys, true); at > 0 || len(p.spec.Containers) == 0 {
			out = append(out, p.finding(c, r, "", at))
		}
	}
	for _, list := range []struct {
		key string
		of  []corev1.Container
	}{{"initContainers", p.spec.InitContainers}, {"containers", p.spec.Containers}} {
		nodes := child(p.node, list.key)
		for i := range list.of {
			one := *bare.DeepCopy()
			one.Containers = []corev1.Container{list.of[i]}
			r := c.pod(&p.meta, &one)
			if r.Allowed || nodes == nil || i >= len(nodes.Content) {
				continue
			}
			at := lineOfField(nodes.Content[i], keys, false)
			if at == 0 && len(out) > 0 && out[0].Fingerprint == p.print(c, "") {
				continue // it is the pod's own
			}
			if at == 0 {
				at = nodes.Content[i].Line
			}
			out = append(out, p.finding(c, r, list.of[i].Name, at))
		}
	}
	if len(out) == 0 && !whole.Allowed { // they are wrong only together
		out = append(out, p.finding(c, whole, "", lineOfField(p.node, keys, false)))
	}
	return out
}

func (p *podFile) print(c check, container string) string {
	return sarif.Fingerprint(c.id, p.name, p.scope, p.id, container)
}

func (p *podFile) finding(c check, r policy.CheckResult, container string, line int) sarif.Finding {
	if line == 0 {
		line = p.object.Line
	}
	text := p.id + ": " + r.ForbiddenReason
	if container != "" && !strings.Contains(r.ForbiddenDetail, `"`+container+`"`) {
		text += fmt.Sprintf(" in container %q", container)
	}
	if r.ForbiddenDetail != "" {
		text += " (" + r.ForbiddenDetail + ")"
	}
	level := runner.LevelRestricted
	if c.baseline {
		level = runner.LevelBaseline
	}
	return sarif.Finding{
		Rule: c.id, Severity: c.severity, Path: p.name, Line: line, Message: text,
		Help: "https://kubernetes.io/docs/concepts/security/pod-security-standards/#" + level, Fingerprint: p.print(c, container),
	}
}

// fieldsOf are the fields that a check is about, the closest first. The checks themselves name none.
func fieldsOf(id string) []string {
	switch id {
	case "privileged":
		return []string{"privileged"}
	case "hostNamespaces":
		return []string{"hostNetwork", "hostPID", "hostIPC"}
	case "hostPathVolumes":
		return []string{"hostPath"}
	case "hostPorts":
		return []string{"hostPort"}
	case "hostProbesAndhostLifecycle":
		return []string{"host"}
	case "capabilities_baseline", "capabilities_restricted":
		return []string{"add", "drop", "capabilities"}
	case "procMount":
		return []string{"procMount"}
	case "procMount_restricted":
		return []string{"procMount"}
	case "seLinuxOptions":
		return []string{"seLinuxOptions"}
	case "seccompProfile_baseline", "seccompProfile_restricted":
		return []string{"seccompProfile"}
	case "appArmorProfile":
		return []string{"appArmorProfile"}
	case "sysctls":
		return []string{"sysctls"}
	case "windowsHostProcess":
		return []string{"hostProcess"}
	case "allowPrivilegeEscalation":
		return []string{"allowPrivilegeEscalation"}
	case "runAsNonRoot":
		return []string{"runAsNonRoot"}
	case "runAsUser":
		return []string{"runAsUser"}
	case "restrictedVolumes":
		return []string{"volumes"}
	}
	return nil
}

// lineOfField is the line of the first of keys below a node; 0: none is there. Of a pod, what is
// within its containers does not count.
func lineOfField(n *yaml.Node, keys []string, pod bool) int {
	for _, k := range keys {
		if at := find(n, k, pod, 0); at > 0 {
			return at
		}
	}
	return 0
}

func find(n *yaml.Node, key string, pod bool, depth int) int {
	if n == nil || depth > 64 {
		return 0
	}
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			if at := find(c, key, pod, depth+1); at > 0 {
				return at
			}
		}
		return 0
	}
	if n.Kind != yaml.MappingNode {
		return 0
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if pod && (k.Value == "containers" || k.Value == "initContainers" || k.Value == "ephemeralContainers") {
			continue
		}
		if k.Value == key && v.Value != "false" {
			return k.Line
		}
		if at := find(v, key, pod, depth+1); at > 0 {
			return at
		}
	}
	return 0
}

// child is the value of a key of a mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			v := n.Content[i+1]
			if v.Kind == yaml.AliasNode {
				v = v.Alias
			}
			return v
		}
	}
	return nil
}

func value(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}
