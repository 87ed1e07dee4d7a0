package planner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
)

// Tree shows a plan to people: what is built and tested and why, then where it goes
// in which order. It ends with a newline.
func Tree(p plan.Plan) string {
	t := tree{}
	hash, err := plan.Hash(p)
	if err != nil {
		hash = err.Error()
	}
	t.line("%s at %s%s", p.Project, short(p.Commit), from(p))
	t.line("plan %s: %s", hash[:min(len(hash), 19)], count(p))
	t.line("")
	t.line("checkout")
	for i := range p.Services {
		t.service(p, &p.Services[i], i == len(p.Services)-1)
	}
	if release, ok := p.Find(plan.ReleaseID); ok {
		t.line("")
		t.line("release  %s", release.Reason)
		t.environments(p)
	}
	t.diffs(p)
	return t.b.String()
}

// diffs says with which targets services are compared.
func (t *tree) diffs(p plan.Plan) {
	var lines []string
	for i := range p.Tasks {
		if d := &p.Tasks[i]; d.Kind == plan.KindDiff {
			lines = append(lines, fmt.Sprintf("%s, namespace %s  %s", d.Target, d.Target.Namespace, d.Service))
		}
	}
	if len(lines) == 0 {
		return
	}
	slices.Sort(lines)
	t.line("")
	t.line("diff  what a release would change, where nothing is changed")
	for i, line := range lines {
		first, _ := branch(i == len(lines)-1)
		t.line("%s%s", first, line)
	}
}

type tree struct{ b strings.Builder }

func (t *tree) line(format string, args ...any) {
	t.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func short(commit string) string { return commit[:min(len(commit), 12)] }

func from(p plan.Plan) string {
	var out string
	if p.Ref != "" && p.Ref != p.Commit {
		out += " (" + p.Ref + ")"
	}
	if p.Dirty {
		out += ", with changes that are not committed"
	}
	if p.Base != "" {
		out += ", since " + short(p.Base)
	}
	return out
}

func count(p plan.Plan) string {
	reused := 0
	for i := range p.Tasks {
		if p.Tasks[i].Reuse != nil {
			reused++
		}
	}
	out := fmt.Sprintf("%d tasks", len(p.Tasks))
	if reused > 0 {
		out += fmt.Sprintf(", %d of them reused", reused)
	}
	return out
}

// branch draws the lines in front of item i of n.
func branch(last bool) (first, next string) {
	if last {
		return "└─ ", "   "
	}
	return "├─ ", "│  "
}

func (t *tree) service(p plan.Plan, s *plan.Service, last bool) {
	first, next := branch(last)
	t.line("%s%s  %s", first, s.Name, s.Reason)
	var tasks []*plan.Task
	for i := range p.Tasks {
		if k := p.Tasks[i].Kind; p.Tasks[i].Service == s.Name && slices.Contains([]plan.Kind{plan.KindBuild, plan.KindTest, plan.KindGather, plan.KindScan, plan.KindFindings, plan.KindSign}, k) {
			tasks = append(tasks, &p.Tasks[i])
		}
	}
	slices.SortStableFunc(tasks, func(a, b *plan.Task) int { return strings.Compare(a.ID, b.ID) })
	for i, task := range tasks {
		first, _ := branch(i == len(tasks)-1)
		t.line("%s%s%s  %s", next, first, task.ID, t.what(task))
	}
}

// what becomes of a task.
func (t *tree) what(task *plan.Task) string {
	if task.Reuse != nil {
		return "reused from " + task.Reuse.Run
	}
	var builds []string
	for _, need := range task.Needs {
		if strings.HasPrefix(need, "build/") {
			builds = append(builds, need)
		}
	}
	if len(builds) > 0 {
		return "runs after " + strings.Join(builds, ", ")
	}
	return "runs"
}

func (t *tree) environments(p plan.Plan) {
	var begins []*plan.Task
	for i := range p.Tasks {
		if p.Tasks[i].Kind == plan.KindRollout {
			begins = append(begins, &p.Tasks[i])
		}
	}
	for i, begin := range begins {
		first, next := branch(i == len(begins)-1)
		env := begin.Target.Environment
		t.line("%s%s  %s%s", first, env, begin.Reason, strategy(p, env))
		var applies []*plan.Task
		for j := range p.Tasks {
			if p.Tasks[j].Kind == plan.KindApply && p.Tasks[j].Target.Environment == env {
				applies = append(applies, &p.Tasks[j])
			}
		}
		slices.SortStableFunc(applies, func(a, b *plan.Task) int { return strings.Compare(a.Target.Cluster, b.Target.Cluster) })
		t.clusters(p, next, applies)
	}
}

// strategy says in which steps the services of an environment get there; empty: at once.
func strategy(p plan.Plan, env string) string {
	var steps []int
	pauses, router, flag := map[int]time.Duration{}, "", ""
	for _, t := range p.Tasks {
		if t.Kind == plan.KindAnalyze && t.Target.Environment == env && !slices.Contains(steps, t.Analyze.Weight) {
			steps, router, flag = append(steps, t.Analyze.Weight), t.Analyze.Router, t.Analyze.Flag
			pauses[t.Analyze.Weight] = time.Duration(t.Analyze.Pause) * time.Second
		}
	}
	if len(steps) == 0 {
		return ""
	}
	if router == plan.RouterService {
		return fmt.Sprintf("; blue-green: watched for %s beside what serves, switched to, watched for %s", pauses[0], pauses[100])
	}
	slices.Sort(steps)
	text := "; in steps:"
	if router == plan.RouterFlag {
		text = fmt.Sprintf("; flag %s in steps:", flag)
	}
	for _, step := range steps {
		text += fmt.Sprintf(" %d %%,", step)
	}
	return fmt.Sprintf("%s all, %s each", text, pauses[steps[0]])
}

// clusters shows the applies of one environment, sorted by cluster and within it in
// the order of the plan.
func (t *tree) clusters(p plan.Plan, indent string, applies []*plan.Task) {
	for len(applies) > 0 {
		target := *applies[0].Target
		n := 0
		for n < len(applies) && applies[n].Target.Cluster == target.Cluster {
			n++
		}
		first, next := branch(n == len(applies))
		t.line("%s%s%s, namespace %s", indent, first, target.Cluster, target.Namespace)
		for i, apply := range applies[:n] {
			first, _ := branch(i == n-1)
			t.line("%s%s%s%s  %s", indent, next, first, apply.Service, strings.Join(slices.Concat(after(apply), jobs(p, apply)), ", "))
		}
		applies = applies[n:]
	}
}

func after(apply *plan.Task) []string {
	var others []string
	for _, need := range apply.Needs {
		if rest, ok := strings.CutPrefix(need, "apply/"); ok {
			service, _, _ := strings.Cut(rest, "@")
			others = append(others, service)
		}
	}
	if len(others) == 0 {
		return nil
	}
	return []string{"after " + strings.Join(others, ", ")}
}

// jobs are what is carried out before an apply and once it works.
func jobs(p plan.Plan, apply *plan.Task) []string {
	render, ok := p.Find(plan.RenderID(apply.Service, *apply.Target))
	if !ok || render.Render == nil {
		return nil
	}
	var out []string
	for _, job := range render.Render.Jobs {
		if job.Phase == plan.PhaseBefore {
			out = append(out, job.Name+" first")
		} else {
			out = append(out, "then test "+job.Name)
		}
	}
	return out
}
