package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// whole is the column of the applies, behind all steps: percent.
const whole = 1000

// heading of a column.
func heading(percent int32, router string) string {
	switch {
	case percent == whole:
		return "ALL"
	case router == "service" && percent == 0:
		return "BESIDE"
	case router == "service":
		return "SWITCHED"
	default:
		return fmt.Sprintf("%d %%", percent)
	}
}

// stage is one column of a rollout: a step of a strategy, or all of it.
type stage struct {
	all, done, busy, stopped, away int
	failed                         []string // services
}

func (s *stage) add(t *pb.Task) {
	ends := t.GetKind() != "shift" // its analysis ends the step
	if ends {
		s.all++
	}
	switch t.GetState() {
	case pb.TaskState_TASK_STATE_SUCCEEDED, pb.TaskState_TASK_STATE_REUSED:
		if ends {
			s.done++
		} else {
			s.busy++
		}
	case pb.TaskState_TASK_STATE_FAILED, pb.TaskState_TASK_STATE_ERRORED:
		s.failed = append(s.failed, t.GetService())
	case pb.TaskState_TASK_STATE_LEASED, pb.TaskState_TASK_STATE_RUNNING:
		s.busy++
	case pb.TaskState_TASK_STATE_CANCELED, pb.TaskState_TASK_STATE_SKIPPED:
		s.stopped++
	case pb.TaskState_TASK_STATE_UNREACHABLE:
		if ends {
			s.away++
		}
	default:
	}
}

func (s *stage) cell() Cell {
	switch {
	case s.all == 0:
		return Cell{"·", Dim}
	case len(s.failed) > 0:
		return Cell{"✗ " + Line(strings.Join(slices.Compact(slices.Sorted(slices.Values(s.failed))), ", ")), Red}
	case s.done == s.all:
		return Cell{"✓", Green}
	case s.away > 0 && s.away+s.done == s.all:
		return Cell{"⚠ away", Yellow}
	case s.stopped > 0 && s.done+s.stopped >= s.all:
		return Cell{"–", Dim}
	case s.done > 0 || s.busy > 0:
		return Cell{fmt.Sprintf("● %d of %d", s.done, s.all), Blue}
	default:
		return Cell{"·", Dim}
	}
}

// targets is a rollout to one environment: its clusters, and what each column of them is.
type targets struct {
	clusters []string // in the order of the plan
	steps    []int32  // percent; whole is the last
	router   string   // of the steps
	at       map[string]map[int32]*stage
	back     map[string]*stage // rollbacks, by cluster
	later    map[string]*stage // what catches up, by cluster
	state    Cell
}

func (e *targets) add(t *pb.Task) {
	percent := t.GetWeight()
	switch t.GetKind() {
	case "apply":
		percent = whole
	case "shift", "analyze":
		e.router = t.GetRouter()
	case "rollback", "catchup":
		of := e.back
		if t.GetKind() == "catchup" {
			of = e.later
		}
		if of[t.GetCluster()] == nil {
			of[t.GetCluster()] = &stage{}
		}
		of[t.GetCluster()].add(t)
		return
	default:
		return
	}
	if !slices.Contains(e.clusters, t.GetCluster()) {
		e.clusters = append(e.clusters, t.GetCluster())
		e.at[t.GetCluster()] = map[int32]*stage{}
	}
	if !slices.Contains(e.steps, percent) {
		e.steps = append(e.steps, percent)
	}
	if e.at[t.GetCluster()][percent] == nil {
		e.at[t.GetCluster()][percent] = &stage{}
	}
	e.at[t.GetCluster()][percent].add(t)
}

// row is one cluster.
func (e *targets) row(cluster string) []Cell {
	row := []Cell{{Text: Line(cluster)}}
	for _, percent := range e.steps {
		s := e.at[cluster][percent]
		if s == nil {
			s = &stage{}
		}
		row = append(row, s.cell())
	}
	all := e.at[cluster][whole]
	switch back, later := e.back[cluster], e.later[cluster]; {
	case back != nil && back.done == back.all:
		return append(row, Cell{"rolled back", Yellow})
	case back != nil && len(back.failed) > 0:
		return append(row, Cell{"rollback failed: " + Line(strings.Join(back.failed, ", ")), Red})
	case back != nil:
		return append(row, Cell{fmt.Sprintf("rolling back, %d of %d", back.done, back.all), Yellow})
	case later != nil && later.done == later.all:
		return append(row, Cell{"caught up", Green})
	case later != nil && len(later.failed) > 0:
		return append(row, Cell{"not caught up: " + Line(strings.Join(later.failed, ", ")), Red})
	case later != nil && later.stopped == later.all:
		return append(row, Cell{"left behind", Yellow})
	case later != nil:
		return append(row, Cell{fmt.Sprintf("unreachable, catches up, %d of %d", later.done, later.all), Yellow})
	case all != nil && all.away > 0:
		return append(row, Cell{"unreachable", Yellow})
	case all != nil && all.done == all.all:
		return append(row, Cell{"healthy", Green})
	default:
		return append(row, Cell{})
	}
}

// Rollouts is the table of `slipway rollout watch`: clusters and steps of each environment that a run rolls out to.
func (s Style) Rollouts(r *pb.Run) string {
	var order []string
	envs := map[string]*targets{}
	for _, t := range r.GetTasks() {
		name := t.GetEnvironment()
		if name == "" {
			continue
		}
		e := envs[name]
		if e == nil {
			e = &targets{at: map[string]map[int32]*stage{}, back: map[string]*stage{}, later: map[string]*stage{}, state: Cell{"waits", Dim}}
			envs[name] = e
			order = append(order, name)
		}
		switch {
		case t.GetKind() == "rollout" && t.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED:
			e.state = Cell{"progressing", Blue}
		case t.GetKind() == "rollout" && Ended(t.GetState()), t.GetKind() == "verified" && Ended(t.GetState()) && t.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED:
			e.state = Cell{TaskState(t.GetState()), Yellow}
			if t.GetKind() == "verified" && e.begun() {
				e.state = Cell{"aborted", Red}
			}
		case t.GetKind() == "verified" && t.GetState() == pb.TaskState_TASK_STATE_SUCCEEDED:
			e.state = Cell{"healthy", Green}
		}
		e.add(t)
	}
	var b strings.Builder
	for i, name := range order {
		e := envs[name]
		if len(e.clusters) == 0 {
			continue
		}
		if i > 0 {
			b.WriteString("\n")
		}
		slices.Sort(e.steps)
		head := []string{Line(name)}
		for _, percent := range e.steps {
			head = append(head, heading(percent, e.router))
		}
		rows := make([][]Cell, 0, len(e.clusters))
		for _, cluster := range e.clusters {
			rows = append(rows, e.row(cluster))
		}
		b.WriteString(s.Table(append(head, ""), rows))
		b.WriteString(s.Paint(e.state.Color, e.state.Text) + "\n")
	}
	return b.String()
}

// begun says that something was done in a cluster.
func (e *targets) begun() bool {
	for _, cluster := range e.clusters {
		for _, s := range e.at[cluster] {
			if s.done+s.busy+len(s.failed) > 0 {
				return true
			}
		}
	}
	return false
}

// Environments is the table of `slipway rollout`.
func (s Style) Environments(list []*pb.Environment, now time.Time) string {
	rows := make([][]Cell, 0, len(list))
	for _, e := range list {
		state, why := Cell{"free", Green}, ""
		if e.GetRun() != "" {
			state = Cell{"run " + Line(e.GetRun()), Blue}
		}
		if h := e.GetHold(); h != nil {
			state = Cell{"held", Yellow}
			if h.GetPause() {
				state.Text = "paused"
			}
			if e.GetRun() != "" {
				state.Text += ", run " + Line(e.GetRun())
			}
			who := "by " + Line(h.GetBy())
			if h.GetBy() == "" {
				who = "since run " + Line(h.GetRun()) + " failed"
			}
			why = fmt.Sprintf("%s, %s ago", who, Duration(now.Sub(h.GetAt().AsTime())))
			if h.GetReason() != "" {
				why += ": " + Line(h.GetReason())
			}
		}
		if n := len(e.GetDrift().GetObjects()); n > 0 {
			why = strings.TrimPrefix(why+"; drifted: "+fmt.Sprint(n), "; ")
		}
		services, clusters := map[string]bool{}, map[string]bool{}
		for _, v := range e.GetServing() {
			services[v.GetService()], clusters[v.GetCluster()] = true, true
		}
		rows = append(rows, []Cell{{Text: Line(e.GetName())}, state, {Text: fmt.Sprint(len(services))}, {Text: fmt.Sprint(len(clusters))}, {Text: why}})
	}
	return s.Table([]string{"ENVIRONMENT", "STATE", "SERVICES", "CLUSTERS", "WHY"}, rows)
}
