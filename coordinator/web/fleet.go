package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// lookedAt is how many runs the page of services is made of.
const lookedAt = 40

// fleet is what was rolled out where, by the newest runs.
type fleet struct {
	Projects []fleetProject
	Runs     int // that were looked at
}

type fleetProject struct {
	Name     string
	Places   []place
	Services []fleetService
}

type place struct{ Environment, Cluster string }

type fleetService struct {
	Name  string
	Cells []cell // by place
}

// cell is one service in one place.
type cell struct {
	Known     bool
	Mark      mark
	Image     string
	Run       string
	Commit    string
	Since     moment
	Note      string
	Simulated bool
}

// makeFleet takes the newest word about each service in each place; runs are newest first.
func makeFleet(runs []*pb.Run, now time.Time) fleet {
	type key struct {
		service string
		place   place
	}
	out := fleet{Runs: len(runs)}
	cells := map[string]map[key]cell{}
	for _, r := range runs {
		images := map[string]string{}
		for _, t := range r.GetTasks() {
			if image := t.GetResult().GetImage(); image != "" {
				images[t.GetService()] = digest(image)
			}
		}
		for _, t := range slices.Backward(r.GetTasks()) { // a rollback stands behind its apply
			kind := t.GetKind()
			step := (kind == "shift" || kind == "analyze") && r.GetFinishedAt() == nil // of a run that has ended nothing is left of it
			if !step && kind != "apply" && kind != "rollback" && kind != "catchup" || len(t.GetAttempts()) == 0 {
				continue
			}
			if cells[r.GetProject()] == nil {
				cells[r.GetProject()] = map[key]cell{}
			}
			k := key{t.GetService(), place{t.GetEnvironment(), t.GetCluster()}}
			if _, ok := cells[r.GetProject()][k]; ok {
				continue
			}
			c := cell{Known: true, Mark: taskMark(t.GetState()), Run: r.GetId(), Commit: short(r.GetCommit(), 12), Image: images[t.GetService()]}
			c.Since = momentOf(cmp.Or(t.GetFinishedAt(), last(t).GetLeasedAt()), now)
			d := t.GetResult().GetDeploy()
			c.Simulated = d.GetSimulated()
			switch {
			case step && c.Mark.Class != "bad":
				c.Mark = mark{stepWord(t), c.Mark.Sign, "busy"}
				c.Image = ""
			case d.GetState() == "healthy":
				c.Mark = mark{"healthy", "✓", "good"}
			case d.GetState() != "":
				c.Mark.Word = map[string]string{"rolled_back": "rolled back", "removed": "taken away", "superseded": "overtaken"}[d.GetState()]
				c.Mark.Word = cmp.Or(c.Mark.Word, d.GetState())
				c.Image = ""
			case kind == "catchup" && c.Mark.Class == "busy":
				c.Mark.Word = "catches up"
			case kind == "apply" && c.Mark.Class == "busy":
				c.Mark.Word = "rolling out"
			}
			if c.Mark.Class == "bad" {
				c.Note = firstLine(t.GetMessage())
			}
			cells[r.GetProject()][k] = c
		}
	}
	for name, known := range cells {
		p := fleetProject{Name: name}
		services := map[string]bool{}
		for k := range known {
			services[k.service] = true
			if !slices.Contains(p.Places, k.place) {
				p.Places = append(p.Places, k.place)
			}
		}
		slices.SortFunc(p.Places, func(a, b place) int {
			return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Cluster, b.Cluster))
		})
		for service := range services {
			row := fleetService{Name: service}
			for _, at := range p.Places {
				row.Cells = append(row.Cells, known[key{service, at}])
			}
			p.Services = append(p.Services, row)
		}
		slices.SortFunc(p.Services, func(a, b fleetService) int { return cmp.Compare(a.Name, b.Name) })
		out.Projects = append(out.Projects, p)
	}
	slices.SortFunc(out.Projects, func(a, b fleetProject) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (w *Web) fleetPage(out http.ResponseWriter, r *http.Request) {
	resp, err := w.cfg.Runs.List(r.Context(), &pb.ListRequest{Limit: lookedAt})
	if err != nil {
		w.failed(out, r, err)
		return
	}
	var runs []*pb.Run
	for _, row := range resp.GetRuns() {
		full, err := w.cfg.Runs.Get(r.Context(), &pb.GetRequest{Run: row.GetId()})
		if err != nil {
			w.failed(out, r, err)
			return
		}
		runs = append(runs, full.GetRun())
	}
	w.render(out, r, http.StatusOK, "fleet.html", page{Title: "Services", Tab: "services", Body: makeFleet(runs, w.cfg.Now())})
}

// stepWord says where a candidate is.
func stepWord(t *pb.Task) string {
	switch {
	case t.GetRouter() == plan.RouterService && t.GetWeight() == 0:
		return "candidate beside"
	case t.GetRouter() == plan.RouterFlag:
		return fmt.Sprintf("flag, %d %%", t.GetWeight())
	case t.GetRouter() == plan.RouterService:
		return "switched to candidate"
	default:
		return fmt.Sprintf("canary, %d %%", t.GetWeight())
	}
}
