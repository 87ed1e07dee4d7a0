// Package githosttest is a stand-in for the APIs of git hosts over HTTP, for tests: it
// takes statuses of commits and pull requests as GitHub, GitLab, Bitbucket Cloud and Gitea
// publish that they do, refuses everything else, and fails when it is told to.
//
// It serves no other part of the APIs.
package githosttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/coordinator/webhook"
)

// Token that the stand-in takes.
const Token = "token-that-nobody-may-see"

// Status is what a host shows.
type Status struct {
	Repository string
	Commit     string
	Ref        string // GitLab only
	Name       string
	State      string // in the host's own words
	Text       string
	URL        string
}

// Fault answers a request in another way; false: it is answered as usual.
type Fault func(out http.ResponseWriter, in *http.Request) bool

// Host is one stand-in.
type Host struct {
	// API is its address, as a configuration has it.
	API string

	kind webhook.Kind
	mu   sync.Mutex
	all  []Status
	// Pull requests.
	proposed []Proposal
	bad      []string
	next     []Fault
	seen     chan struct{} // closed and replaced at each request
	done     chan struct{}
}

// Start runs a stand-in until the test ends. Requests that the host's schema does not
// have fail the test.
func Start(tb testing.TB, kind webhook.Kind) *Host {
	tb.Helper()
	h := &Host{kind: kind, seen: make(chan struct{}), done: make(chan struct{})}
	s := httptest.NewServer(h)
	h.API = s.URL + map[webhook.Kind]string{webhook.GitHub: "/api/v3", webhook.GitLab: "/api/v4", webhook.Bitbucket: "/2.0", webhook.Gitea: "/api/v1"}[kind]
	tb.Cleanup(func() {
		close(h.done)
		s.Close()
		for _, b := range h.bad {
			tb.Errorf("%s: %s", kind, b)
		}
	})
	return h
}

// Fail answers the next requests with faults, one each.
func (h *Host) Fail(faults ...Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = append(h.next, faults...)
}

// Heal takes back what Fail said.
func (h *Host) Heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = nil
}

// Answer is a fault: this status, with these pairs of headers.
func Answer(status int, header ...string) Fault {
	return func(out http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i < len(header); i += 2 {
			out.Header().Set(header[i], header[i+1])
		}
		out.WriteHeader(status)
		return true
	}
}

// Hang is a fault: no answer until the caller gives up or the test ends.
func (h *Host) Hang(_ http.ResponseWriter, in *http.Request) bool {
	select {
	case <-in.Context().Done():
	case <-h.done:
	}
	return true
}

// Shown is what was taken so far, oldest first, and a channel that is closed when there
// was another request.
func (h *Host) Shown() ([]Status, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all), h.seen
}

// ServeHTTP answers as the host does.
func (h *Host) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return
	}
	if f := h.fault(); f != nil && f(out, in) {
		h.ring()
		return
	}
	defer h.ring()
	p, pull, problem := h.propose(in, body)
	var s Status
	if !pull {
		s, problem = h.read(in, body)
	}
	if problem == "" {
		problem = h.unauthorized(in)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if problem != "" {
		h.bad = append(h.bad, fmt.Sprintf("%s %s %s: %s", in.Method, in.URL.EscapedPath(), body, problem))
		http.Error(out, problem, http.StatusUnprocessableEntity)
		return
	}
	if pull {
		h.opened(out, p)
		return
	}
	if h.kind == webhook.GitLab && !h.moves(s) {
		out.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(out, `{"message":{"status":"Cannot transition status via :run from :%s (Reason(s): Status cannot transition via \"run\")"}}`, s.State)
		return
	}
	h.all = append(h.all, s)
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(http.StatusCreated)
	fmt.Fprint(out, `{"id": 1}`)
}

func (h *Host) fault() Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.next) == 0 {
		return nil
	}
	f := h.next[0]
	h.next = h.next[1:]
	return f
}

func (h *Host) ring() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.seen)
	h.seen = make(chan struct{})
}

// moves is GitLab's state machine: what goes on cannot be told the state that it has, nor
// an earlier one; what has ended begins anew.
func (h *Host) moves(s Status) bool {
	order := []string{"pending", "running"}
	for _, old := range slices.Backward(h.all) {
		if old.Repository != s.Repository || old.Commit != s.Commit || old.Ref != s.Ref || old.Name != s.Name {
			continue
		}
		from, to := slices.Index(order, old.State), slices.Index(order, s.State)
		return from < 0 || to < 0 || to > from
	}
	return true
}

func (h *Host) unauthorized(in *http.Request) string {
	name, want := "Authorization", "Bearer "+Token
	switch h.kind {
	case webhook.GitLab:
		name, want = "PRIVATE-TOKEN", Token
	case webhook.Gitea:
		want = "token " + Token
	case webhook.GitHub, webhook.Bitbucket:
	}
	for n, v := range in.Header {
		if strings.Contains(strings.Join(v, " "), Token) && n != http.CanonicalHeaderKey(name) {
			return "the token is in the header " + n
		}
	}
	switch {
	case in.Header.Get(name) != want:
		return fmt.Sprintf("header %s: %q", name, in.Header.Get(name))
	case !strings.HasPrefix(in.UserAgent(), "slipway/"):
		return fmt.Sprintf("user agent %q", in.UserAgent())
	case in.Header.Get("Content-Type") != "application/json":
		return fmt.Sprintf("content type %q", in.Header.Get("Content-Type"))
	case h.kind == webhook.GitHub && (!strings.HasPrefix(in.Header.Get("Accept"), "application/vnd.github.") || in.Header.Get("X-Github-Api-Version") != "2022-11-28"):
		return "version of the API"
	}
	return ""
}

// field of a body: its name, what it may be, and whether it must be there.
type field struct {
	name     string
	is       *regexp.Regexp
	required bool
	into     func(s *Status) *string
}

// schema is what a host publishes of its one request.
func (h *Host) schema() (path *regexp.Regexp, fields []field) {
	state := func(words string) *regexp.Regexp { return regexp.MustCompile(`^(` + words + `)$`) }
	short, long, link := regexp.MustCompile(`^.{1,140}$`), regexp.MustCompile(`^.{1,255}$`), regexp.MustCompile(`^https?://.{1,240}$`)
	toState, toText := func(s *Status) *string { return &s.State }, func(s *Status) *string { return &s.Text }
	toURL, toName, toRef := func(s *Status) *string { return &s.URL }, func(s *Status) *string { return &s.Name }, func(s *Status) *string { return &s.Ref }
	const sha = `([0-9a-f]{40})$`
	switch h.kind {
	case webhook.GitLab:
		return regexp.MustCompile(`^/api/v4/projects/([^/]+)/statuses/` + sha), []field{
			{"state", state("pending|running|success|failed|canceled|skipped"), true, toState}, {"ref", long, false, toRef},
			{"name", long, false, toName}, {"target_url", link, false, toURL}, {"description", long, false, toText},
		}
	case webhook.Bitbucket:
		return regexp.MustCompile(`^/2\.0/repositories/([^/]+/[^/]+)/commit/([0-9a-f]{7,40})/statuses/build$`), []field{
			{"key", regexp.MustCompile(`^.{1,40}$`), true, toName}, {"state", state("SUCCESSFUL|FAILED|INPROGRESS|STOPPED"), true, toState},
			{"url", link, true, toURL}, {"name", long, false, func(*Status) *string { return new(string) }}, {"description", long, false, toText},
		}
	case webhook.Gitea:
		return regexp.MustCompile(`^/api/v1/repos/([^/]+/[^/]+)/statuses/` + sha), []field{
			{"state", state("pending|success|error|failure|warning"), true, toState}, {"context", long, false, toName},
			{"target_url", link, false, toURL}, {"description", long, false, toText},
		}
	case webhook.GitHub:
	}
	return regexp.MustCompile(`^/api/v3/repos/([^/]+/[^/]+)/statuses/` + sha), []field{
		{"state", state("error|failure|pending|success"), true, toState}, {"context", long, false, toName},
		{"target_url", link, false, toURL}, {"description", short, false, toText},
	}
}

func (h *Host) read(in *http.Request, body []byte) (s Status, problem string) {
	path, fields := h.schema()
	at := path.FindStringSubmatch(in.URL.EscapedPath())
	if in.Method != http.MethodPost || at == nil || in.URL.RawQuery != "" {
		return s, "there is no such request"
	}
	var err error
	if s.Repository, err = url.PathUnescape(at[1]); err != nil {
		return s, err.Error()
	}
	s.Commit = at[2]
	d := json.NewDecoder(bytes.NewReader(body))
	var got map[string]string // every field of each of them is a string
	if err := d.Decode(&got); err != nil || d.More() {
		return s, fmt.Sprintf("the body is no object of strings: %v", err)
	}
	for _, f := range fields {
		v, ok := got[f.name]
		delete(got, f.name)
		switch {
		case !ok && f.required:
			return s, "the body has no " + f.name
		case ok && !f.is.MatchString(v):
			return s, fmt.Sprintf("%s may not be %q", f.name, v)
		case ok:
			*f.into(&s) = v
		}
	}
	for name := range got {
		return s, "the schema has no " + name
	}
	return s, ""
}
