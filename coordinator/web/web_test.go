package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/coordinator/web"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }

const evil = `<script>alert(1)</script>`

// farm answers one run, whose texts are somebody else's.
type farm struct {
	runs  []*pb.Run
	steps chan *pb.Run // each is committed and shown to watchers
	log   []*pb.TailResponse
	raw   []byte // the log of attempt 2
	gone  int64  // its rest from there on is lost

	artifact []byte
	broken   bool // it ends in the middle
}

func (f *farm) List(context.Context, *pb.ListRequest) (*pb.ListResponse, error) {
	return &pb.ListResponse{Runs: f.runs}, nil
}

func (f *farm) Get(_ context.Context, req *pb.GetRequest) (*pb.GetResponse, error) {
	for _, r := range f.runs {
		if r.GetId() == req.GetRun() {
			return &pb.GetResponse{Run: r}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "run %q is not known", req.GetRun())
}

func (f *farm) Watch(_ *pb.WatchRequest, out grpc.ServerStreamingServer[pb.WatchResponse]) error {
	if err := out.Send(&pb.WatchResponse{}); err != nil {
		return err
	}
	for {
		select {
		case r, more := <-f.steps:
			if !more {
				return nil
			}
			f.runs[0] = r
			if err := out.Send(&pb.WatchResponse{}); err != nil {
				return err
			}
		case <-out.Context().Done():
			return nil
		}
	}
}

// Stat says that raw is the second attempt.
func (f *farm) Stat(_ context.Context, req *pb.StatRequest) (*pb.StatResponse, error) {
	if n := req.GetAttempt(); n != 0 && n != 2 || req.GetTask() != "test/api/unit" {
		return nil, status.Errorf(codes.NotFound, "task %s has no attempt %d", req.GetTask(), n)
	}
	return &pb.StatResponse{Attempt: 2, Size: int64(len(f.raw)), Ended: true}, nil
}

func (f *farm) Tail(req *pb.TailRequest, out grpc.ServerStreamingServer[pb.TailResponse]) error {
	for at := req.GetOffset(); req.GetAttempt() == 2 && at < req.GetOffset()+req.GetBytes(); at += 1000 {
		if f.gone > 0 && at >= f.gone {
			return status.Error(codes.DataLoss, "the rest was dropped")
		}
		if err := out.Send(&pb.TailResponse{Attempt: 2, Offset: at, Data: f.raw[at:min(at+1000, req.GetOffset()+req.GetBytes())]}); err != nil {
			return err
		}
	}
	for _, m := range f.log {
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func sample() *pb.Run {
	attempt := func(worker string, leased, finished time.Duration) []*pb.Attempt {
		a := &pb.Attempt{Number: 1, Worker: worker, LeasedAt: before(leased)}
		if finished > 0 {
			a.FinishedAt = before(finished)
		}
		return []*pb.Attempt{a}
	}
	return &pb.Run{
		Id: "shop-7-abcd", Project: "shop", Ref: "main", Commit: "0123456789abcdef", State: pb.RunState_RUN_STATE_FAILED, SubmittedBy: "anna",
		Message: "test/api/unit: 1 of 3 tests failed " + evil, PlanHash: "sha256:0123456789abcdef", TraceId: "4bf92f3577b34da6a3ce929d0e0e4736",
		AcceptedAt: before(2 * time.Minute), FinishedAt: before(10 * time.Second),
		Services: []*pb.Service{{Name: "api", Digest: "sha256:abcdef0123456789", Affected: true, Reason: "services/api changed " + evil}},
		Tasks: []*pb.Task{
			{Id: "checkout", Kind: "checkout", State: pb.TaskState_TASK_STATE_SUCCEEDED},
			{Id: "build/api", Kind: "build", Service: "api", Needs: []string{"checkout"}, State: pb.TaskState_TASK_STATE_SUCCEEDED, ReadyAt: before(2 * time.Minute), Attempts: attempt("w1", 110*time.Second, 60*time.Second), Result: &pb.Result{Image: "r/shop/api@sha256:aaaabbbbccccdddd"}},
			{
				Id: "test/api/unit", Kind: "test", Service: "api", Needs: []string{"checkout", "build/api"}, State: pb.TaskState_TASK_STATE_FAILED, ReadyAt: before(60 * time.Second),
				Attempts: attempt("w1", 50*time.Second, 10*time.Second), Message: "1 of 3 tests failed",
				Result: &pb.Result{Tests: &pb.TestSummary{Total: 3, Passed: 2, Failed: 1, Failures: []*pb.TestCase{{Suite: "api", Name: "TestPrice", Output: "got 3, want 4 " + evil}}},
					Coverage:  &pb.Coverage{Covered: 2, Total: 3, Before: &pb.CoverageBefore{Covered: 1, Total: 2}},
					Artifacts: []*pb.Artifact{{Name: "shots", Digest: "sha256:ab", Size: 3 << 19, Files: 2}}},
			},
			{Id: "apply/api@prod/eu", Kind: "apply", Service: "api", Environment: "prod", Cluster: "eu", Needs: []string{"test/api/unit"}, State: pb.TaskState_TASK_STATE_SKIPPED},
		},
	}
}

// browser is signed in, unless token is empty.
func browser(t *testing.T, f *farm, token string) (*http.Client, string) {
	t.Helper()
	tokens, err := rpc.NewTokens([]rpc.Token{
		{Name: "anna", Hash: rpc.HashToken("looker"), Role: pb.Role_ROLE_VIEW},
		{Name: "w", Hash: rpc.HashToken("worker"), Role: pb.Role_ROLE_WORKER},
	})
	if err != nil {
		t.Fatal(err)
	}
	site, err := web.New(web.Config{Runs: f, Logs: f, Tokens: tokens, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	if err := site.Routes(mux); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	if token != "" {
		if code, _, _ := login(t, c, srv.URL, token); code != http.StatusOK {
			t.Fatalf("sign in: %d", code)
		}
	}
	return c, srv.URL
}

func login(t *testing.T, c *http.Client, site, token string) (code, cookies int, body string) {
	t.Helper()
	form := strings.NewReader(url.Values{"token": {token}}.Encode())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, site+"/login", form)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, len(resp.Cookies()), string(data)
}

func get(t *testing.T, c *http.Client, address string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("%s: Content-Security-Policy %q", address, csp)
	}
	return resp.StatusCode, string(body)
}

func TestNothingIsShownWithoutSigningIn(t *testing.T) {
	c, site := browser(t, &farm{runs: []*pb.Run{sample()}}, "")
	for _, path := range []string{"/", "/runs/shop-7-abcd", "/runs/none", "/services", "/runs/shop-7-abcd/log?task=build/api", "/events/runs", "/events/runs/shop-7-abcd", "/anything"} {
		code, body := get(t, c, site+path)
		if code != http.StatusOK || !strings.Contains(body, "Sign in") || strings.Contains(body, "shop-7") {
			t.Errorf("%s: %d\n%s", path, code, body)
		}
	}
	for token, want := range map[string]struct {
		code int
		says string
	}{"": {401, "not known here"}, "wrong": {401, "not known here"}, "worker": {403, "has the role worker; the dashboard needs view"}} {
		if code, cookies, body := login(t, c, site, token); code != want.code || cookies > 0 || !strings.Contains(body, want.says) {
			t.Errorf("token %q: %d, %d cookies, want %d and %q:\n%s", token, code, cookies, want.code, want.says, body)
		}
	}
}

func TestPages(t *testing.T) {
	f := &farm{runs: []*pb.Run{sample()}}
	c, site := browser(t, f, "looker")
	for path, want := range map[string][]string{
		"/":                                    {"shop-7-abcd", "failed", "0123456789ab", "anna", "2 min ago", "2026-11-20 11:58:00 UTC", "1 min 50 s"},
		"/runs/shop-7-abcd":                    {"TestPrice", "got 3, want 4", "services/api changed", "aaaabbbbcccc", "2 passed, 1 failed", "4bf92f3577b34da6a3ce929d0e0e4736", "10 s", "apply/api@prod/eu"},
		"/services":                            {"Nothing was rolled out yet"},
		"/runs/shop-7-abcd/log?task=build/api": {"data-log=", "build/api"},
	} {
		code, body := get(t, c, site+path)
		if code != http.StatusOK {
			t.Errorf("%s: %d\n%s", path, code, body)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s lacks %q", path, w)
			}
		}
		if strings.Contains(body, evil) {
			t.Errorf("%s has a script of somebody else", path)
		}
	}
	// The line from checkout to the test is implied by the one through the build.
	_, body := get(t, c, site+"/runs/shop-7-abcd")
	if n := strings.Count(body, "<path d="); n != 3 {
		t.Errorf("%d lines in the plan, want 3", n)
	}
	if code, body := get(t, c, site+"/runs/other"); code != http.StatusNotFound || !strings.Contains(body, "There is no such run") {
		t.Errorf("an unknown run: %d\n%s", code, body)
	}
	if code, body := get(t, c, site+"/nowhere"); code != http.StatusNotFound || !strings.Contains(body, "There is no such page") {
		t.Errorf("an unknown page: %d\n%s", code, body)
	}
	f.runs = nil
	if _, body := get(t, c, site+"/"); !strings.Contains(body, "No runs yet") || !strings.Contains(body, "slipway run") {
		t.Errorf("no runs:\n%s", body)
	}
}

func TestServicesByPlace(t *testing.T) {
	apply := func(cluster, state string, s pb.TaskState) *pb.Task {
		return &pb.Task{
			Id: "apply/api@prod/" + cluster, Kind: "apply", Service: "api", Environment: "prod", Cluster: cluster, State: s, Message: "pod api-1: CrashLoopBackOff",
			Attempts: []*pb.Attempt{{Number: 1, Worker: "d", LeasedAt: before(time.Minute)}}, FinishedAt: before(time.Minute), Result: &pb.Result{Deploy: &pb.Deployed{State: state}},
		}
	}
	build := &pb.Task{Id: "build/api", Kind: "build", Service: "api", Result: &pb.Result{Image: "r/api@sha256:111111111111ff"}}
	undone := apply("eu", "rolled_back", pb.TaskState_TASK_STATE_SUCCEEDED)
	undone.Kind, undone.Id = "rollback", "rollback/api@prod/eu"
	c, site := browser(t, &farm{runs: []*pb.Run{
		{Id: "shop-2", Project: "shop", Tasks: []*pb.Task{build, apply("eu", "", pb.TaskState_TASK_STATE_FAILED), undone}},
		{Id: "shop-1", Project: "shop", Tasks: []*pb.Task{build, apply("eu", "healthy", pb.TaskState_TASK_STATE_SUCCEEDED), apply("us", "healthy", pb.TaskState_TASK_STATE_SUCCEEDED)}},
	}}, "looker")
	_, body := get(t, c, site+"/services")
	us := strings.Index(body, "healthy")
	eu := strings.Index(body, "rolled back")
	if eu < 0 || us < eu || strings.Count(body, "healthy") != 1 || strings.Count(body, "111111111111") != 1 {
		t.Errorf("eu should be rolled back by shop-2, us healthy by shop-1:\n%s", body)
	}
}

// TestServicesInACanary: while a run goes on, its step is the newest word about a place.
func TestServicesInACanary(t *testing.T) {
	task := func(kind, cluster string) *pb.Task {
		return &pb.Task{
			Id: kind + cluster, Kind: kind, Service: "api", Environment: "prod", Cluster: cluster, Weight: 25, State: pb.TaskState_TASK_STATE_SUCCEEDED,
			Attempts: []*pb.Attempt{{Number: 1, Worker: "d", LeasedAt: before(time.Minute)}}, FinishedAt: before(time.Minute), Result: &pb.Result{Deploy: &pb.Deployed{State: "canary"}},
		}
	}
	good := task("apply", "eu")
	good.Result.Deploy.State = "healthy"
	f := &farm{runs: []*pb.Run{
		{Id: "shop-2", Project: "shop", Tasks: []*pb.Task{task("shift", "eu"), task("analyze", "eu")}},
		{Id: "shop-1", Project: "shop", Tasks: []*pb.Task{good}, FinishedAt: before(time.Hour)},
	}}
	c, site := browser(t, f, "looker")
	if _, body := get(t, c, site+"/services"); !strings.Contains(body, "canary, 25 %") || strings.Contains(body, "healthy") {
		t.Errorf("eu should be in a canary of shop-2:\n%s", body)
	}
	f.runs[0].FinishedAt = before(time.Second)
	if _, body := get(t, c, site+"/services"); strings.Contains(body, "canary, 25 %") || !strings.Contains(body, "healthy") {
		t.Errorf("shop-2 has ended, and eu should be healthy by shop-1:\n%s", body)
	}
}

// events reads a stream until it ends or the caller has seen enough.
func events(t *testing.T, c *http.Client, address string, each func(event, data string) (more bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	event := ""
	for lines.Scan() {
		if e, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = e
		}
		if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var text string
			if json.Unmarshal([]byte(d), &text) != nil {
				text = d
			}
			if !each(event, text) {
				return
			}
		}
	}
}

func TestARunIsFollowedToItsEnd(t *testing.T) {
	first := sample()
	first.State, first.FinishedAt = pb.RunState_RUN_STATE_RUNNING, nil
	f := &farm{runs: []*pb.Run{first}, steps: make(chan *pb.Run)}
	c, site := browser(t, f, "looker")
	var seen []string
	events(t, c, site+"/events/runs/shop-7-abcd", func(event, data string) bool {
		switch {
		case event == "page" && strings.Contains(data, "running") && len(seen) == 0:
			f.steps <- sample()
			close(f.steps)
			seen = append(seen, "running")
		case event == "page" && strings.Contains(data, "TestPrice") && !strings.Contains(data, evil):
			seen = append(seen, "page")
		case event == "end":
			seen = append(seen, "end")
		default:
			t.Errorf("event %s: %s", event, data)
		}
		return true
	})
	if len(seen) < 3 || seen[0] != "running" || seen[len(seen)-1] != "end" {
		t.Errorf("seen %q", seen)
	}
}

func TestALogIsText(t *testing.T) {
	euro := []byte("1 €\n")
	f := &farm{runs: []*pb.Run{sample()}, log: []*pb.TailResponse{
		{Attempt: 1, Data: []byte("\x1b[31mred\x1b[0m " + evil + "\n")}, {Attempt: 1, Data: euro[:3]}, {Attempt: 1, Data: euro[3:]}, {Attempt: 2, Data: []byte("again")},
	}}
	c, site := browser(t, f, "looker")
	text, attempts := "", ""
	events(t, c, site+"/events/runs/shop-7-abcd/log?task=test/api/unit", func(event, data string) bool {
		if event != "log" {
			return event != "end"
		}
		var part struct {
			Attempt int
			Text    string
		}
		if err := json.Unmarshal([]byte(data), &part); err != nil {
			t.Fatal(err)
		}
		text += part.Text
		attempts += string(rune('0' + part.Attempt))
		return true
	})
	if text != "red "+evil+"\n1 €\nagain" || attempts[len(attempts)-1] != '2' {
		t.Errorf("log %q of attempts %s", text, attempts)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	c, site := browser(t, &farm{runs: []*pb.Run{sample()}}, "looker")
	last := ""
	for i := range 257 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site+"/events/runs", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if resp.StatusCode == http.StatusOK && i < 256 {
			continue
		}
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		last = resp.Status + " " + string(data)
	}
	if !strings.Contains(last, "503") || !strings.Contains(last, "too many pages are being followed") {
		t.Errorf("the 257th: %s", last)
	}
}
