package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	// calm is how long changes are gathered before a page is made again.
	calm = 400 * time.Millisecond
	// beat is how often a silent stream says that it is still there.
	beat = 15 * time.Second
	// listEvery is how often the list of runs is looked at while somebody looks at it.
	listEvery = 2 * time.Second
	// maxLog is how much of one log a page shows.
	maxLog = 8 << 20
)

// stream is one browser that follows.
type stream struct {
	out http.ResponseWriter
	to  *http.ResponseController
}

// follow begins a stream of events and ends it with the request or the program.
func (w *Web) follow(out http.ResponseWriter, r *http.Request, do func(ctx context.Context, s stream) error) {
	if w.followers.Add(1) > maxFollowers {
		w.followers.Add(-1)
		http.Error(out, "too many pages are being followed; try again later", http.StatusServiceUnavailable)
		return
	}
	defer w.followers.Add(-1)
	ctx, cancel := context.WithCancel(r.Context()) // what follows for this page ends with it
	defer cancel()
	s := stream{out, http.NewResponseController(out)}
	out.Header().Set("Content-Type", "text/event-stream")
	if err := s.flush(); err != nil {
		return
	}
	if err := do(ctx, s); err != nil && ctx.Err() == nil {
		_ = s.send("problem", err.Error())
	}
}

// flush gives a slow browser as long as a beat, and no longer.
func (s stream) flush() error {
	if err := s.to.SetWriteDeadline(time.Now().Add(beat)); err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	if err := s.to.Flush(); err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	return nil
}

func (s stream) send(event string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode %s: %w", event, err)
	}
	if _, err := fmt.Fprintf(s.out, "event: %s\ndata: %s\n\n", event, text); err != nil {
		return fmt.Errorf("send %s: %w", event, err)
	}
	return s.flush()
}

func (s stream) alive() error {
	if _, err := fmt.Fprint(s.out, ": alive\n\n"); err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	return s.flush()
}

func (w *Web) listEvents(out http.ResponseWriter, r *http.Request) {
	w.follow(out, r, func(ctx context.Context, s stream) error {
		tick := time.NewTicker(listEvery)
		defer tick.Stop()
		shown, said := "", w.cfg.Now()
		for {
			l, err := w.list(r.WithContext(ctx))
			if err != nil {
				return err
			}
			html, err := w.fragment("runs", l)
			if err != nil {
				return err
			}
			switch now := w.cfg.Now(); {
			case html != shown:
				err = s.send("page", html)
				shown, said = html, now
			case now.Sub(said) >= beat:
				err = s.alive()
				said = now
			}
			if err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// changes is a watcher of a run that only notes that something changed.
type changes struct {
	grpc.ServerStream
	ctx  context.Context //nolint:containedctx // it is what a stream answers
	some chan struct{}
}

func (c *changes) Context() context.Context { return c.ctx }

func (c *changes) Send(*pb.WatchResponse) error {
	select {
	case c.some <- struct{}{}:
	default:
	}
	return nil
}

func (w *Web) runEvents(out http.ResponseWriter, r *http.Request) {
	w.follow(out, r, func(ctx context.Context, s stream) error {
		c := &changes{ctx: ctx, some: make(chan struct{}, 1)}
		ended := make(chan error, 1)
		go func() { ended <- w.cfg.Runs.Watch(&pb.WatchRequest{Run: r.PathValue("run")}, c) }() // ends with ctx
		alive := time.NewTicker(beat)
		defer alive.Stop()
		pause := calm
		for {
			over := false
			select {
			case <-c.some:
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			case err := <-ended:
				if err != nil {
					return err
				}
				over = true
			case <-alive.C:
				if err := s.alive(); err != nil {
					return err
				}
				continue
			case <-ctx.Done():
				<-ended
				return nil
			}
			began := time.Now()
			run, err := w.run(r)
			if err != nil {
				return err
			}
			html, err := w.fragment("run", makeRun(run, w.cfg.Now()))
			if err != nil {
				return err
			}
			if err := s.send("page", html); err != nil {
				return err
			}
			if over {
				return s.send("end", "")
			}
			// A run of thousands of tasks is a large page: looking at it takes a tenth of one core at most.
			pause = max(calm, 10*time.Since(began))
		}
	})
}

type logView struct {
	Run, Task, Path string
	Mark            mark
	Message         string
	Raw             []rawLink
}

func (w *Web) logPage(out http.ResponseWriter, r *http.Request) {
	run, err := w.run(r)
	if err != nil {
		w.failed(out, r, err)
		return
	}
	for _, t := range run.GetTasks() {
		if t.GetId() == r.URL.Query().Get("task") {
			v := logView{Run: run.GetId(), Task: t.GetId(), Mark: taskMark(t.GetState()), Message: t.GetMessage(), Raw: rawLinks(run.GetId(), t)}
			v.Path = "/events/runs/" + run.GetId() + "/log?task=" + queryEscape(t.GetId())
			w.render(out, r, http.StatusOK, "log.html", page{Title: t.GetId(), Tab: "runs", Body: v})
			return
		}
	}
	w.render(out, r, http.StatusNotFound, "problem.html", page{Title: "No such task", Body: problem{"There is no such task", "Run " + run.GetId() + " has no task " + r.URL.Query().Get("task") + "."}})
}

// tail writes what a log answers as text.
type tail struct {
	grpc.ServerStream
	ctx     context.Context //nolint:containedctx // it is what a stream answers
	s       stream
	attempt int32
	sent    int
	rest    []byte // of a character that was cut
}

func (t *tail) Context() context.Context { return t.ctx }

type logPart struct {
	Attempt int32  `json:"attempt"`
	Text    string `json:"text"`
}

func (t *tail) Send(m *pb.TailResponse) error {
	if t.sent > maxLog {
		return nil
	}
	if m.GetAttempt() != t.attempt {
		t.attempt, t.rest = m.GetAttempt(), nil
	}
	data := slices.Concat(t.rest, m.GetData())
	cut := whole(data)
	t.rest = append([]byte(nil), data[cut:]...)
	t.sent += cut
	text := plain(data[:cut])
	if t.sent > maxLog {
		text += "\n… the page shows no more of this log: the raw log and slipway logs have the rest\n"
	}
	return t.s.send("log", logPart{t.attempt, text})
}

// whole is how many bytes end with a whole character.
func whole(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if b := data[len(data)-n]; utf8.RuneStart(b) {
			if b >= utf8.RuneSelf && !utf8.FullRune(data[len(data)-n:]) {
				return len(data) - n
			}
			break
		}
	}
	return len(data)
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07]*\x07|\x1b.")

// plain takes colors and cursor movements out: the page shows text.
func plain(data []byte) string { return string(escapes.ReplaceAll(data, nil)) }

func (w *Web) logEvents(out http.ResponseWriter, r *http.Request) {
	w.follow(out, r, func(ctx context.Context, s stream) error {
		err := w.cfg.Logs.Tail(&pb.TailRequest{Run: r.PathValue("run"), Task: r.URL.Query().Get("task"), Follow: true}, &tail{ctx: ctx, s: s})
		if err != nil {
			return err //nolint:wrapcheck // said on the page as it is
		}
		return s.send("end", "")
	})
}
