// Package web is the dashboard: pages about runs, one run, its logs, and what serves
// where. Pages are made on the server and kept up to date by server-sent events.
//
// It reads through the same services as the API and changes nothing. It decides nothing
// about runs; who may look is decided here, because a browser has a cookie and no token.
package web

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Runs is what pages are made of.
type Runs interface {
	Get(ctx context.Context, req *pb.GetRequest) (*pb.GetResponse, error)
	List(ctx context.Context, req *pb.ListRequest) (*pb.ListResponse, error)
	Watch(req *pb.WatchRequest, out grpc.ServerStreamingServer[pb.WatchResponse]) error
	Download(req *pb.DownloadRequest, out grpc.ServerStreamingServer[pb.DownloadResponse]) error
}

// Logs are what attempts wrote.
type Logs interface {
	Tail(req *pb.TailRequest, out grpc.ServerStreamingServer[pb.TailResponse]) error
	Stat(ctx context.Context, req *pb.StatRequest) (*pb.StatResponse, error)
}

// Config of the dashboard.
type Config struct {
	Runs   Runs
	Logs   Logs
	Tokens *rpc.Tokens
	Secure bool // served with TLS
	Log    *slog.Logger
	Now    func() time.Time
}

// maxFollowers bounds the open event streams: each keeps a run or a log in view.
const maxFollowers = 256

//go:embed templates/*.html
var pages embed.FS

//go:embed assets
var files embed.FS

// Web serves the dashboard.
type Web struct {
	cfg       Config
	templates *template.Template
	sessions  *sessions
	followers atomic.Int64
}

// New makes the dashboard.
func New(cfg Config) (*Web, error) {
	t, err := template.New("").ParseFS(pages, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the dashboard's templates: %w", err)
	}
	return &Web{cfg: cfg, templates: t, sessions: newSessions(cfg.Now)}, nil
}

// Routes adds the pages to a mux.
func (w *Web) Routes(mux *http.ServeMux) error {
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		return fmt.Errorf("read the dashboard's files: %w", err)
	}
	mux.Handle("GET /assets/", guarded(http.StripPrefix("/assets/", http.FileServerFS(assets))))
	mux.Handle("GET /login", guarded(http.HandlerFunc(w.loginPage)))
	mux.Handle("POST /login", guarded(http.HandlerFunc(w.login)))
	mux.Handle("POST /logout", guarded(http.HandlerFunc(w.logout)))
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /{$}":                                w.listPage,
		"GET /runs/{run}":                         w.runPage,
		"GET /runs/{run}/log":                     w.logPage,
		"GET /runs/{run}/log/raw":                 w.rawLog,
		"GET /runs/{run}/artifacts/{artifact...}": w.artifact,

		"GET /services":              w.fleetPage,
		"GET /events/runs":           w.listEvents,
		"GET /events/runs/{run}":     w.runEvents,
		"GET /events/runs/{run}/log": w.logEvents,
		"GET /{anything...}":         w.nothing,
	} {
		mux.Handle(pattern, guarded(w.signedIn(h)))
	}
	return nil
}

// guarded sets what every answer carries: nothing from elsewhere is loaded, nothing
// inline is run, and no other page may frame this one.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		h := out.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(out, r)
	})
}

// page is what every template gets.
type page struct {
	Title string
	Tab   string // runs, services
	User  string
	Body  any
}

func (w *Web) render(out http.ResponseWriter, r *http.Request, code int, name string, p page) {
	if who, ok := rpc.IdentityFrom(r.Context()); ok {
		p.User = who.Name
	}
	var b bytes.Buffer
	if err := w.templates.ExecuteTemplate(&b, name, p); err != nil {
		w.cfg.Log.ErrorContext(r.Context(), "dashboard page", "template", name, "err", err)
		http.Error(out, "this page cannot be shown: see the coordinator's log", http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Type", "text/html; charset=utf-8")
	out.WriteHeader(code)
	_, _ = out.Write(b.Bytes())
}

// fragment is a part of a page, for an event.
func (w *Web) fragment(name string, body any) (string, error) {
	var b bytes.Buffer
	if err := w.templates.ExecuteTemplate(&b, name, body); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	return b.String(), nil
}

type problem struct{ Heading, Text string }

// failed answers an error of the services.
func (w *Web) failed(out http.ResponseWriter, r *http.Request, err error) {
	code, heading := http.StatusInternalServerError, "The coordinator could not answer"
	switch status.Code(err) {
	case codes.NotFound:
		code, heading = http.StatusNotFound, "There is no such run or task"
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		code, heading = http.StatusServiceUnavailable, "The coordinator is busy or starting; try again"
	default:
	}
	w.render(out, r, code, "problem.html", page{Title: heading, Body: problem{heading, status.Convert(err).Message()}})
}

func (w *Web) nothing(out http.ResponseWriter, r *http.Request) {
	w.render(out, r, http.StatusNotFound, "problem.html", page{Title: "No such page", Body: problem{"There is no such page", "Runs are at /, what serves where at /services."}})
}
