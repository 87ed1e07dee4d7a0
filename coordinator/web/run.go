package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// runView is the page of one run.
type runView struct {
	Row      runRow
	Title    string
	Message  string
	Plan     string
	Trace    string
	Release  string
	Ended    bool
	Path     string // of its events
	Failures []failure
	Services []serviceRow
	Tasks    []taskRow
	Graph    graph
	Fall     waterfall
}

// failure is what somebody who looks at a red run wants to read first.
type failure struct {
	Task    string
	Mark    mark
	Message string
	Tests   []*pb.TestCase
	Log     string

	Artifacts []artifactLink
}

type serviceRow struct {
	Name, Digest, Reason string
	Affected             bool
}

type taskRow struct {
	ID, Reason, Message, Worker, Image, Tests string
	Mark                                      mark
	Waited, Took                              string
	Attempts                                  int
	Log                                       string // address of its log; empty: it has none
	Coverage                                  string
	Artifacts                                 []artifactLink
}

func makeRun(r *pb.Run, now time.Time) runView {
	v := runView{
		Row:     makeList(&pb.ListResponse{Runs: []*pb.Run{r}}, "", now).Rows[0],
		Message: r.GetMessage(), Plan: short(r.GetPlanHash(), 19), Trace: r.GetTraceId(), Release: short(r.GetRelease(), 19), Ended: r.GetFinishedAt() != nil,
		Path: "/events/runs/" + url.PathEscape(r.GetId()), Graph: makeGraph(r.GetTasks()), Fall: makeWaterfall(r, now),
	}
	v.Title = r.GetId()
	for _, s := range r.GetServices() {
		v.Services = append(v.Services, serviceRow{s.GetName(), digest(s.GetDigest()), s.GetReason(), s.GetAffected()})
	}
	for _, t := range r.GetTasks() {
		v.Tasks = append(v.Tasks, makeTask(r.GetId(), t, now))
		if s := t.GetState(); s == pb.TaskState_TASK_STATE_FAILED || s == pb.TaskState_TASK_STATE_ERRORED {
			v.Failures = append(v.Failures, failure{t.GetId(), taskMark(s), t.GetMessage(), t.GetResult().GetTests().GetFailures(), logPath(r.GetId(), t), artifactLinks(r.GetId(), t)})
		}
	}
	return v
}

func makeTask(run string, t *pb.Task, now time.Time) taskRow {
	row := taskRow{
		ID: t.GetId(), Reason: t.GetReason(), Message: firstLine(t.GetMessage()), Mark: taskMark(t.GetState()),
		Image: digest(t.GetResult().GetImage()), Attempts: len(t.GetAttempts()), Log: logPath(run, t), Artifacts: artifactLinks(run, t),
	}
	if row.Image != "" && row.Mark.Class == "good" {
		row.Message = "" // it says the image at length
	}
	if n := t.GetResult().GetTests(); n.GetTotal() > 0 {
		row.Tests = plural(int(n.GetPassed()), "passed", "passed")
		if n.GetFailed() > 0 {
			row.Tests += ", " + plural(int(n.GetFailed()), "failed", "failed")
		}
	}
	if c := t.GetResult().GetCoverage(); c.GetTotal() > 0 {
		row.Coverage = fmt.Sprintf("%.1f %% covered", float64(c.GetCovered()*1000/c.GetTotal())/10)
		if b := c.GetBefore(); b.GetTotal() > 0 {
			row.Coverage += fmt.Sprintf(", %.1f %% before", float64(b.GetCovered()*1000/b.GetTotal())/10)
		}
	}
	if a := last(t); a != nil {
		row.Worker = a.GetWorker()
		row.Waited = span(t.GetReadyAt(), t.GetAttempts()[0].GetLeasedAt(), now)
		row.Took = span(a.GetLeasedAt(), a.GetFinishedAt(), now)
	} else if t.GetState() == pb.TaskState_TASK_STATE_READY {
		row.Waited = span(t.GetReadyAt(), nil, now)
	}
	return row
}

func last(t *pb.Task) *pb.Attempt {
	if n := len(t.GetAttempts()); n > 0 {
		return t.GetAttempts()[n-1]
	}
	return nil
}

// logPath is where the log of a task is; tasks that nobody leases have none.
func logPath(run string, t *pb.Task) string {
	if len(t.GetAttempts()) == 0 || last(t).GetWorker() == "" {
		return ""
	}
	return "/runs/" + url.PathEscape(run) + "/log?task=" + queryEscape(t.GetId())
}

func queryEscape(s string) string { return url.QueryEscape(s) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// waterfall is when each task waited and worked, in a picture of fixed width.
type waterfall struct {
	Width, Height int
	Bars          []bar
	Marks         []tick
	Hidden        int // tasks beyond the limit
}

type bar struct {
	Task         string
	Class        string
	Y            int
	WaitX, WaitW float64
	WorkX, WorkW float64
	LabelX       float64
	LabelClass   string // end: it ends at LabelX; in: it stands on the bar; empty: it begins there
	Title        string
	Log          string
	Label        string
}

type tick struct {
	X    float64
	Text string
	End  bool // the text ends at X
}

const (
	fallWidth  = 1000
	fallRow    = 18
	fallTop    = 22
	maxPicture = 200 // tasks in a picture
)

func makeWaterfall(r *pb.Run, now time.Time) waterfall {
	begin := r.GetAcceptedAt().AsTime()
	end := now
	if r.GetFinishedAt() != nil {
		end = r.GetFinishedAt().AsTime()
	}
	whole := max(end.Sub(begin), time.Second)
	at := func(t *timestamppb.Timestamp, or time.Time) float64 {
		if t != nil {
			or = t.AsTime()
		}
		return fallWidth * min(1, max(0, float64(or.Sub(begin))/float64(whole)))
	}
	f := waterfall{Width: fallWidth}
	for _, t := range byBegin(r.GetTasks()) {
		a := last(t)
		if len(f.Bars) == maxPicture {
			f.Hidden++
			continue
		}
		first := t.GetAttempts()[0].GetLeasedAt()
		b := bar{
			Task: t.GetId(), Class: taskMark(t.GetState()).Class, Y: fallTop + len(f.Bars)*fallRow, Log: logPath(r.GetId(), t),
			WaitX: at(t.GetReadyAt(), begin), WorkX: at(first, begin),
		}
		b.WaitW = max(0, b.WorkX-b.WaitX)
		b.WorkW = max(2, at(a.GetFinishedAt(), end)-b.WorkX)
		b.Label = t.GetId() + " " + span(first, a.GetFinishedAt(), now)
		b.LabelX, b.LabelClass = label(b)
		b.Title = t.GetId() + ": " + taskMark(t.GetState()).Word + ", waited " + span(t.GetReadyAt(), first, now) + ", worked " + span(first, a.GetFinishedAt(), now)
		f.Bars = append(f.Bars, b)
	}
	f.Height = fallTop + len(f.Bars)*fallRow + 4
	for i := range 5 {
		part := time.Duration(i) * whole / 4
		f.Marks = append(f.Marks, tick{float64(i) * fallWidth / 4, length(part), i == 4})
	}
	return f
}

// label finds room for the words of a bar: behind it, in front of it, or on it.
func label(b bar) (x float64, class string) {
	const room = 260
	end := b.WorkX + b.WorkW
	switch {
	case end < fallWidth-room:
		return end + 6, ""
	case b.WaitX > room:
		return b.WaitX - 6, "end"
	case b.WorkX-b.WaitX > room:
		return b.WaitX + 6, ""
	default:
		return b.WorkX + 6, "in"
	}
}

// byBegin puts tasks in the order in which they were begun.
func byBegin(tasks []*pb.Task) []*pb.Task {
	out := slices.DeleteFunc(slices.Clone(tasks), func(t *pb.Task) bool { return last(t).GetLeasedAt() == nil })
	slices.SortStableFunc(out, func(a, b *pb.Task) int {
		return a.GetAttempts()[0].GetLeasedAt().AsTime().Compare(b.GetAttempts()[0].GetLeasedAt().AsTime())
	})
	return out
}

func (w *Web) run(r *http.Request) (*pb.Run, error) {
	resp, err := w.cfg.Runs.Get(r.Context(), &pb.GetRequest{Run: r.PathValue("run")})
	if err != nil {
		return nil, err //nolint:wrapcheck // a status, answered as it is
	}
	return resp.GetRun(), nil
}

func (w *Web) runPage(out http.ResponseWriter, r *http.Request) {
	run, err := w.run(r)
	if err != nil {
		w.failed(out, r, err)
		return
	}
	w.render(out, r, http.StatusOK, "run.html", page{Title: run.GetId(), Tab: "runs", Body: makeRun(run, w.cfg.Now())})
}
