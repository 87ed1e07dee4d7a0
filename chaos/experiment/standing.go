package experiment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/node"
	"github.com/slipway-build/slipway/internal/e2e/audit"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// standing is what stands in one environment.
type standing struct {
	Deployments map[string]string // by name: which run its pods are of
	Generation  int64             // of the one that serves
	Settings    []string          // names of the ConfigMaps of releases
	Services    []string
	Helm        map[string]string // by name of the record: its status
}

func (l *lane) look(ctx context.Context, env string) (s standing, err error) {
	ns := farm.Namespace(l.Project, env)
	c := l.of.clusters
	s = standing{Deployments: map[string]string{}, Helm: map[string]string{}}
	deployments, err := c.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("look at %s: %w", ns, err)
	}
	for _, d := range deployments.Items {
		s.Deployments[d.Name] = d.Spec.Template.Spec.Containers[0].Env[0].Value
		if d.Name == "api" {
			s.Generation = d.Generation
		}
	}
	configs, err := c.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("look at %s: %w", ns, err)
	}
	for _, m := range configs.Items {
		if m.Name != "kube-root-ca.crt" {
			s.Settings = append(s.Settings, m.Name)
		}
	}
	services, err := c.CoreV1().Services(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("look at %s: %w", ns, err)
	}
	for _, v := range services.Items {
		s.Services = append(s.Services, v.Name)
	}
	records, err := c.CoreV1().Secrets(ns).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm"})
	if err != nil {
		return s, fmt.Errorf("look at %s: %w", ns, err)
	}
	for _, r := range records.Items {
		s.Helm[r.Name] = r.Labels["status"]
	}
	return s, nil
}

// after is what is to stand where the release of a run came to.
func (s standing) after(run string) standing {
	out := standing{
		Deployments: map[string]string{"api": run}, Generation: s.Generation + 1, Settings: []string{node.Settings(run)}, Services: []string{"api"}, Helm: map[string]string{},
	}
	newest := 0
	for name := range s.Helm {
		var n int
		_, _ = fmt.Sscanf(name[strings.LastIndex(name, ".")+1:], "v%d", &n)
		newest = max(newest, n)
		out.Helm[name] = "superseded"
	}
	out.Helm[fmt.Sprintf("sh.helm.release.v1.api.v%d", newest+1)] = "deployed"
	delete(out.Helm, fmt.Sprintf("sh.helm.release.v1.api.v%d", newest-9)) // ten are kept
	return out
}

// compare what stands with what is to stand: each environment has the run's release, written once; where its candidate crashed,
// those from prod on have what they had.
func (l *lane) compare(ctx context.Context, what string, run *pb.Run, crashed bool) error {
	if l.stood == nil {
		l.stood = map[string]standing{}
	}
	for _, env := range farm.Environments() {
		got, err := l.look(ctx, env)
		if err != nil {
			return err
		}
		want := l.stood[env]
		if !crashed || env == "dev" {
			want = want.after(run.GetId())
			l.of.count(l.Project, env)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			l.of.bad("%s: in %s stands something else after run %s (-want +got):\n%s", what, farm.Namespace(l.Project, env), run.GetId(), diff)
		}
		l.stood[env] = got
	}
	for _, t := range run.GetTasks() {
		if t.GetFinishedAt() == nil || t.GetState() < pb.TaskState_TASK_STATE_SUCCEEDED {
			l.of.bad("%s: what became of %s of run %s is not known: %s", what, t.GetId(), run.GetId(), t.GetState())
		}
	}

	return nil
}

// count a release that came to an environment.
func (r *rollouts) count(project int, env string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.releases == nil {
		r.releases = map[string]int{}
	}
	r.releases[farm.Namespace(project, env)]++
}

// audited compares how often Deployments were written, as the API server says, with the releases that came there: each once.
func (r *rollouts) audited(o *Outcome, file string) error {
	all, err := audit.Read(file)
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	got, written := map[string]int{}, 0
	for _, w := range all {
		if w.Resource == "deployments" && w.Name == "api" && strings.HasPrefix(w.Agent, "slipway-deployer") {
			got[w.Namespace]++
		}
	}
	for _, ns := range slices.Sorted(maps.Keys(r.releases)) {
		if got[ns] != r.releases[ns] {
			o.Verdict.Wrong = append(o.Verdict.Wrong, fmt.Sprintf("%d releases came to %s, and Deployment/api was written %d times", r.releases[ns], ns, got[ns]))
		}
		written += got[ns]
	}
	o.Figures["deployments_written"] = written
	return nil
}
