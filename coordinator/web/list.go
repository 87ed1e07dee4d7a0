package web

import (
	"net/http"
	"time"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const listed = 50

// runRow is one run in the list.
type runRow struct {
	ID, Project, Ref, Commit, By, Message string
	Mark                                  mark
	Dirty                                 bool
	Since                                 moment
	Took                                  string
}

type list struct {
	Project  string
	Projects []string
	Rows     []runRow
	Path     string // of its events
	AsOf     string // when it comes from the read model, and may lag
}

// makeList is the page of runs. chosen is a project, empty for all.
func makeList(resp *pb.ListResponse, chosen string, now time.Time) list {
	out := list{Project: chosen, Path: "/events/runs"}
	seen := map[string]bool{}
	for _, r := range resp.GetRuns() {
		if !seen[r.GetProject()] {
			seen[r.GetProject()] = true
			out.Projects = append(out.Projects, r.GetProject())
		}
		out.Rows = append(out.Rows, runRow{
			ID: r.GetId(), Project: r.GetProject(), Ref: r.GetRef(), Commit: short(r.GetCommit(), 12), By: r.GetSubmittedBy(),
			Message: firstLine(r.GetMessage()), Mark: runMark(r.GetState()), Dirty: r.GetDirty(),
			Since: momentOf(r.GetAcceptedAt(), now), Took: span(r.GetAcceptedAt(), r.GetFinishedAt(), now),
		})
	}
	if chosen != "" {
		out.Path += "?project=" + queryEscape(chosen)
	}
	if resp.GetStale() && now.Sub(resp.GetAsOf().AsTime()) > 10*time.Second {
		out.AsOf = momentOf(resp.GetAsOf(), now).Age
	}
	return out
}

func (w *Web) list(r *http.Request) (list, error) {
	project := r.URL.Query().Get("project")
	if len(project) > 200 {
		project = ""
	}
	resp, err := w.cfg.Runs.List(r.Context(), &pb.ListRequest{Project: project, Limit: listed})
	if err != nil {
		return list{}, err //nolint:wrapcheck // a status, answered as it is
	}
	return makeList(resp, project, w.cfg.Now()), nil
}

func (w *Web) listPage(out http.ResponseWriter, r *http.Request) {
	l, err := w.list(r)
	if err != nil {
		w.failed(out, r, err)
		return
	}
	w.render(out, r, http.StatusOK, "list.html", page{Title: "Runs", Tab: "runs", Body: l})
}
