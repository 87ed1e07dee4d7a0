package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// RunState is the state of a run as a word.
func RunState(s pb.RunState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATE_"))
}

// TaskState is the state of a task as a word.
func TaskState(s pb.TaskState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TASK_STATE_"))
}

// RunColor goes with RunState.
func RunColor(s pb.RunState) Color {
	switch s {
	case pb.RunState_RUN_STATE_SUCCEEDED:
		return Green
	case pb.RunState_RUN_STATE_FAILED:
		return Red
	case pb.RunState_RUN_STATE_CANCELED, pb.RunState_RUN_STATE_STOPPING:
		return Yellow
	case pb.RunState_RUN_STATE_RUNNING:
		return Blue
	case pb.RunState_RUN_STATE_UNSPECIFIED:
	}
	return ""
}

// TaskColor goes with TaskState.
func TaskColor(s pb.TaskState) Color {
	switch s {
	case pb.TaskState_TASK_STATE_SUCCEEDED:
		return Green
	case pb.TaskState_TASK_STATE_FAILED, pb.TaskState_TASK_STATE_ERRORED:
		return Red
	case pb.TaskState_TASK_STATE_CANCELED, pb.TaskState_TASK_STATE_UNREACHABLE:
		return Yellow
	case pb.TaskState_TASK_STATE_LEASED, pb.TaskState_TASK_STATE_RUNNING:
		return Blue
	case pb.TaskState_TASK_STATE_REUSED, pb.TaskState_TASK_STATE_SKIPPED, pb.TaskState_TASK_STATE_PENDING, pb.TaskState_TASK_STATE_READY:
		return Dim
	case pb.TaskState_TASK_STATE_UNSPECIFIED:
	}
	return ""
}

// Ended says that a task will not change any more.
func Ended(s pb.TaskState) bool { return s >= pb.TaskState_TASK_STATE_SUCCEEDED }

// RunEnded says that a run will not change any more.
func RunEnded(s pb.RunState) bool { return s >= pb.RunState_RUN_STATE_SUCCEEDED }

// Took is how long a task was worked at: from the first lease, or zero.
func Took(t *pb.Task, now time.Time) time.Duration {
	a := t.GetAttempts()
	if len(a) == 0 || a[0].GetLeasedAt() == nil {
		return 0
	}
	end := now
	if Ended(t.GetState()) && t.GetFinishedAt() != nil {
		end = t.GetFinishedAt().AsTime()
	}
	return max(0, end.Sub(a[0].GetLeasedAt().AsTime()))
}

// RunTook is how long a run has taken.
func RunTook(r *pb.Run, now time.Time) time.Duration {
	end := now
	if r.GetFinishedAt() != nil {
		end = r.GetFinishedAt().AsTime()
	}
	return max(0, end.Sub(r.GetAcceptedAt().AsTime()))
}

// What came of a task, on one line.
func What(t *pb.Task) string {
	res := t.GetResult()
	switch t.GetState() {
	case pb.TaskState_TASK_STATE_SUCCEEDED:
		switch {
		case t.GetFailureClass() == pb.FailureClass_FAILURE_CLASS_FLAKY:
			return "flaky: " + Line(t.GetMessage())
		case res.GetTests() != nil && res.GetTests().GetTotal() > 0:
			return join(Tests(res.GetTests()), Coverage(res.GetCoverage()))
		case res.GetCoverage() != nil:
			return join(Line(t.GetMessage()), Coverage(res.GetCoverage()))
		case res.GetManifests() != "":
			return "manifests " + Short(res.GetManifests())
		case res.GetImage() != "":
			_, digest, _ := strings.Cut(res.GetImage(), "@")
			return "image " + Short(digest)
		case res.GetDeploy() != nil:
			return Deployed(res.GetDeploy())
		case res.GetRelease() != "":
			return "release " + Short(res.GetRelease())
		}
		return Line(t.GetMessage())
	case pb.TaskState_TASK_STATE_REUSED, pb.TaskState_TASK_STATE_SKIPPED:
		return join(Line(cmp.Or(t.GetMessage(), t.GetReason())), Coverage(res.GetCoverage()))
	case pb.TaskState_TASK_STATE_FAILED, pb.TaskState_TASK_STATE_ERRORED, pb.TaskState_TASK_STATE_CANCELED, pb.TaskState_TASK_STATE_UNREACHABLE:
		return Line(t.GetMessage())
	case pb.TaskState_TASK_STATE_UNSPECIFIED, pb.TaskState_TASK_STATE_PENDING, pb.TaskState_TASK_STATE_READY, pb.TaskState_TASK_STATE_LEASED, pb.TaskState_TASK_STATE_RUNNING:
	}
	return ""
}

// Tests counts.
func Tests(t *pb.TestSummary) string {
	parts := []string{fmt.Sprintf("%d passed", t.GetPassed())}
	if n := t.GetFailed(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", n))
	}
	if n := t.GetSkipped(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", n))
	}
	return strings.Join(parts, ", ")
}

// Coverage is how many lines a test covers, and how many more or fewer than before: "81.3 % covered (+0.4)"; empty: that
// is not known.
func Coverage(c *pb.Coverage) string {
	if c.GetTotal() == 0 {
		return ""
	}
	percent := func(covered, total int64) float64 { return float64(covered*1000/total) / 10 }
	out := fmt.Sprintf("%.1f %% covered", percent(c.GetCovered(), c.GetTotal()))
	if b := c.GetBefore(); b.GetTotal() > 0 {
		out += fmt.Sprintf(" (%+.1f)", percent(c.GetCovered(), c.GetTotal())-percent(b.GetCovered(), b.GetTotal()))
	}
	return out
}

// join joins what is not empty.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// Deployed is the state of a service on a target.
func Deployed(d *pb.Deployed) string {
	out := strings.ReplaceAll(Line(d.GetState()), "_", " ")
	var more []string
	if d.GetReplicas() > 0 {
		more = append(more, fmt.Sprintf("%d ready", d.GetReplicas()))
	}
	if d.GetSimulated() {
		more = append(more, "simulated")
	}
	if d.GetHttp() > 0 {
		more = append(more, fmt.Sprintf("HTTP %d", d.GetHttp()))
	}
	if len(more) > 0 {
		out += " (" + strings.Join(more, ", ") + ")"
	}
	return out
}

// Runs is the table of `slipway list`.
func (s Style) Runs(runs []*pb.Run, now time.Time) string {
	rows := make([][]Cell, 0, len(runs))
	for _, r := range runs {
		rows = append(rows, []Cell{
			{Text: r.GetId()}, {RunState(r.GetState()), RunColor(r.GetState())}, {Text: commitOf(r)}, {Text: r.GetSubmittedBy()},
			{Text: Duration(now.Sub(r.GetAcceptedAt().AsTime())) + " ago"}, {Text: Duration(RunTook(r, now))}, {Text: Line(r.GetMessage())},
		})
	}
	return s.Table([]string{"RUN", "STATE", "COMMIT", "BY", "STARTED", "TOOK", "MESSAGE"}, rows)
}

func commitOf(r *pb.Run) string {
	out := Short(r.GetCommit())
	if r.GetRef() != "" && r.GetRef() != r.GetCommit() {
		out += " " + Line(r.GetRef())
	}
	if r.GetDirty() {
		out += " +changes"
	}
	return out
}

// Tasks is the table of `slipway get RUN`.
func (s Style) Tasks(r *pb.Run, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s", s.Paint(Bold, Line(r.GetId())), s.Paint(RunColor(r.GetState()), RunState(r.GetState())), Duration(RunTook(r, now)))
	if r.GetMessage() != "" {
		b.WriteString("  " + Line(r.GetMessage()))
	}
	fmt.Fprintf(&b, "\nrepository  %s\ncommit      %s\nplan        %s\ntrace       %s\n", Line(r.GetRepository()), commitOf(r), Short(r.GetPlanHash()), Line(r.GetTraceId()))
	if r.GetRelease() != "" {
		fmt.Fprintf(&b, "release     %s\n", Short(r.GetRelease()))
	}
	if r.GetBack() != "" {
		fmt.Fprintf(&b, "back to     the release of run %s\n", Line(r.GetBack()))
	}
	if r.GetClass() != "" {
		fmt.Fprintf(&b, "class       %s\n", Line(r.GetClass()))
	}
	rows := make([][]Cell, 0, len(r.GetTasks()))
	for _, t := range r.GetTasks() {
		took := ""
		if len(t.GetAttempts()) > 0 {
			took = Duration(Took(t, now))
		}
		worker := ""
		if n := len(t.GetAttempts()); n > 0 {
			worker = t.GetAttempts()[n-1].GetWorker()
			if n > 1 {
				worker += fmt.Sprintf(" (attempt %d)", n)
			}
		}
		rows = append(rows, []Cell{{Text: t.GetId()}, {TaskState(t.GetState()), TaskColor(t.GetState())}, {Text: took}, {Text: worker}, {Text: cmp.Or(What(t), Line(t.GetReason()))}})
	}
	b.WriteString("\n" + s.Table([]string{"TASK", "STATE", "TOOK", "WORKER", "RESULT"}, rows))
	return b.String()
}

// Summary is the end of `slipway run`: what became of each service, then what failed,
// then one line about the run.
func (s Style) Summary(r *pb.Run, now time.Time) string {
	var b strings.Builder
	if diff := s.Diff(r); diff != "" {
		b.WriteString(diff + "\n")
	} else if len(r.GetServices()) > 0 {
		b.WriteString(s.services(r) + "\n")
	}
	if flaky := s.Flaky(r); flaky != "" {
		b.WriteString(flaky + "\n")
	}
	if failures := s.Failures(r); failures != "" {
		b.WriteString(failures + "\n")
	}
	fmt.Fprintf(&b, "%s %s in %s", s.Paint(Bold, "run "+Line(r.GetId())), s.Paint(RunColor(r.GetState()), RunState(r.GetState())), Duration(RunTook(r, now)))
	if r.GetMessage() != "" && r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		b.WriteString(": " + Line(r.GetMessage()))
	}
	fmt.Fprintf(&b, "\n%s\n", s.Paint(Dim, fmt.Sprintf("where the time went: slipway trace %s   trace id %s", Line(r.GetId()), Line(r.GetTraceId()))))
	return b.String()
}

func (s Style) services(r *pb.Run) string {
	of := map[string][]*pb.Task{}
	for _, t := range r.GetTasks() {
		of[t.GetService()] = append(of[t.GetService()], t)
	}
	rows := make([][]Cell, 0, len(r.GetServices()))
	for _, svc := range r.GetServices() {
		tasks := of[svc.GetName()]
		action, color := actionOf(tasks)
		tests, testColor := testsOf(tasks)
		targets, targetColor := targetsOf(tasks)
		rows = append(rows, []Cell{{Text: svc.GetName()}, {Text: Short(svc.GetDigest())}, {action, color}, {tests, testColor}, {targets, targetColor}, {Line(svc.GetReason()), Dim}})
	}
	return s.Table([]string{"SERVICE", "DIGEST", "IMAGE", "TESTS", "TARGETS", "WHY"}, rows)
}

func actionOf(tasks []*pb.Task) (string, Color) {
	for _, t := range tasks {
		if t.GetKind() != "build" {
			continue
		}
		if t.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED {
			return "built", Green
		}
		return TaskState(t.GetState()), TaskColor(t.GetState())
	}
	return "none", Dim
}

func testsOf(tasks []*pb.Task) (string, Color) {
	all, worst, n, reused := &pb.TestSummary{}, pb.TaskState_TASK_STATE_UNSPECIFIED, 0, 0
	for _, t := range tasks {
		// What gathers shards says what they said, and stands for them where it is reused.
		if t.GetKind() != "test" && (t.GetKind() != "gather" || t.GetState() != pb.TaskState_TASK_STATE_REUSED) {
			continue
		}
		n++
		c := t.GetResult().GetTests()
		all.Passed += c.GetPassed()
		all.Failed += c.GetFailed()
		all.Skipped += c.GetSkipped()
		all.Total += c.GetTotal()
		if t.GetState() == pb.TaskState_TASK_STATE_REUSED {
			reused++
		} else if t.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED && (worst == 0 || t.GetState() == pb.TaskState_TASK_STATE_FAILED) {
			worst = t.GetState()
		}
	}
	switch {
	case n == 0:
		return "none", Dim
	case worst != 0 && all.GetTotal() == 0:
		return TaskState(worst), TaskColor(worst)
	case worst != 0:
		return Tests(all), TaskColor(worst)
	case all.GetTotal() == 0 && reused == n:
		return "reused", Dim
	case all.GetTotal() == 0:
		return "passed", Green
	case reused == n:
		return Tests(all) + " (reused)", Dim
	}
	return Tests(all), Green
}

// targetsOf has one line per target; a rollback says more than the apply that it undid.
func targetsOf(tasks []*pb.Task) (string, Color) {
	last, order := map[string]*pb.Task{}, []string{}
	for _, t := range tasks {
		if t.GetKind() != "apply" && t.GetKind() != "rollback" {
			continue
		}
		at := t.GetEnvironment() + "/" + t.GetCluster()
		if last[at] == nil {
			order = append(order, at)
		}
		if last[at] == nil || t.GetKind() == "rollback" {
			last[at] = t
		}
	}
	color := Green
	lines := make([]string, 0, len(order))
	for _, at := range order {
		t := last[at]
		state := TaskState(t.GetState())
		if d := t.GetResult().GetDeploy(); d != nil {
			state = Deployed(d)
		} else if t.GetKind() == "rollback" {
			state = "rollback " + state
		}
		if t.GetKind() == "rollback" || t.GetState() == pb.TaskState_TASK_STATE_FAILED || t.GetState() == pb.TaskState_TASK_STATE_ERRORED {
			color = Red
		} else if t.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED && t.GetState() != pb.TaskState_TASK_STATE_REUSED && color == Green {
			color = Dim
		}
		lines = append(lines, at+" "+state)
	}
	if len(lines) == 0 {
		return "none", Dim
	}
	return strings.Join(lines, "\n"), color
}

// Failures shows every failed task with all that is known, the first failure first.
func (s Style) Failures(r *pb.Run) string {
	var failed []*pb.Task
	for _, t := range r.GetTasks() {
		if t.GetState() == pb.TaskState_TASK_STATE_FAILED || t.GetState() == pb.TaskState_TASK_STATE_ERRORED {
			failed = append(failed, t)
		}
	}
	slices.SortStableFunc(failed, func(a, b *pb.Task) int {
		return a.GetFinishedAt().AsTime().Compare(b.GetFinishedAt().AsTime())
	})
	var b strings.Builder
	for _, t := range failed {
		head := t.GetId() + " " + TaskState(t.GetState())
		if why := classWords(t.GetFailureClass()); why != "" {
			head += ": " + why
		}
		b.WriteString(s.Paint(Red, "✗ "+Line(head)) + "\n")
		if m := strings.TrimSpace(Clean(t.GetMessage())); m != "" {
			b.WriteString(Indent(m, "  ") + "\n")
		}
		for _, c := range t.GetResult().GetTests().GetFailures() {
			name := Line(c.GetName())
			if c.GetSuite() != "" {
				name = Line(c.GetSuite()) + " " + name
			}
			fmt.Fprintf(&b, "  %s (%s)\n", s.Paint(Bold, name), Duration(time.Duration(c.GetMillis())*time.Millisecond))
			if out := strings.Trim(Clean(c.GetOutput()), "\n"); out != "" {
				b.WriteString(Indent(out, "    ") + "\n")
			}
		}
		if len(t.GetAttempts()) > 0 {
			b.WriteString(s.Paint(Dim, fmt.Sprintf("  its log: slipway logs %s %s", Line(r.GetId()), Line(t.GetId()))) + "\n")
		}
	}
	return b.String()
}

// Flaky names the tests that failed before they passed, each with how it failed.
func (s Style) Flaky(r *pb.Run) string {
	var b strings.Builder
	for _, t := range r.GetTasks() {
		if t.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED && t.GetFailureClass() == pb.FailureClass_FAILURE_CLASS_FLAKY {
			b.WriteString(s.Paint(Yellow, "! "+Line(t.GetId())+" is flaky") + "\n" + Indent(strings.TrimSpace(Clean(t.GetMessage())), "  ") + "\n")
		}
	}
	return b.String()
}

func classWords(c pb.FailureClass) string {
	switch c {
	case pb.FailureClass_FAILURE_CLASS_INFRA:
		return "the farm broke, not your code"
	case pb.FailureClass_FAILURE_CLASS_FLAKY:
		return "it fails now and then"
	case pb.FailureClass_FAILURE_CLASS_TIMEOUT:
		return "it took longer than allowed"
	case pb.FailureClass_FAILURE_CLASS_OOM:
		return "out of memory"
	case pb.FailureClass_FAILURE_CLASS_USER, pb.FailureClass_FAILURE_CLASS_UNSPECIFIED:
	}
	return ""
}

// Problems shows mistakes in files, each with its line and a caret.
func (s Style) Problems(list []*pb.Problem) string {
	var b strings.Builder
	for _, p := range list {
		at := Line(p.GetPath())
		if p.GetLine() > 0 {
			at = fmt.Sprintf("%s:%d:%d", at, p.GetLine(), p.GetColumn())
		}
		text := Line(p.GetMessage())
		if p.GetSuggestion() != "" {
			text += "; " + Line(p.GetSuggestion())
		}
		b.WriteString(s.Paint(Bold, at+":") + " " + text + "\n")
		if e := strings.Trim(Clean(p.GetExcerpt()), "\n"); e != "" {
			b.WriteString(s.Paint(Dim, e) + "\n")
		}
	}
	return b.String()
}
