package githost_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/githost"
	"github.com/slipway-build/slipway/coordinator/githost/githosttest"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

const head = "6dcb09b5b57875f334f61aebed695e2e4193db5e"

var now = time.Unix(1_800_000_000, 0)

func host(t *testing.T, kind webhook.Kind, api string) *githost.Host {
	t.Helper()
	h, err := githost.New(githost.Config{Kind: kind, API: api, Token: githosttest.Token, Agent: "slipway/test", Patience: 5 * time.Second, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func commit() check.Commit {
	return check.Commit{Webhook: "shop", Repository: "example/shop", ID: head}
}

func status(s check.State) check.Status {
	return check.Status{State: s, Summary: "3 built", Run: "shop-1", URL: "https://slipway.example.com/runs/shop-1"}
}

func TestEveryHostIsToldInItsOwnWords(t *testing.T) {
	for kind, words := range map[webhook.Kind][6]string{
		webhook.GitHub:    {"pending", "pending", "success", "failure", "error", "error"},
		webhook.Gitea:     {"pending", "pending", "success", "failure", "error", "error"},
		webhook.GitLab:    {"pending", "running", "success", "failed", "failed", "canceled"},
		webhook.Bitbucket: {"INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "STOPPED"},
	} {
		there := githosttest.Start(t, kind)
		h := host(t, kind, there.API+"/")
		at := commit()
		if h.Hook().PerBranch {
			at.Repository, at.Branch = "group/sub/shop", "feature/x"
		}
		var want []githosttest.Status
		for i, state := range []check.State{check.Pending, check.Running, check.Success, check.Failure, check.Error, check.Canceled} {
			if wait, err := h.Tell(t.Context(), at, status(state)); err != nil || wait != 0 {
				t.Errorf("%s: %s: wait %s, %v", kind, state, wait, err)
			}
			want = append(want, githosttest.Status{Repository: at.Repository, Commit: head, Ref: at.Branch, Name: "slipway", State: words[i], Text: "3 built", URL: "https://slipway.example.com/runs/shop-1"})
		}
		got, _ := there.Shown()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", kind, diff)
		}
	}
}

func TestALongSummaryFits(t *testing.T) {
	for _, kind := range webhook.Kinds() {
		there := githosttest.Start(t, kind)
		s := status(check.Failure)
		s.Summary = strings.Repeat("é", 1000)
		if _, err := host(t, kind, there.API).Tell(t.Context(), commit(), s); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestTheSameAgainIsHarmless(t *testing.T) {
	for _, kind := range webhook.Kinds() {
		there := githosttest.Start(t, kind)
		for _, state := range []check.State{check.Running, check.Running, check.Success, check.Success} {
			if _, err := host(t, kind, there.API).Tell(t.Context(), commit(), status(state)); err != nil {
				t.Errorf("%s: %s: %v", kind, state, err)
			}
		}
	}
}

func TestWhatAnAnswerMeans(t *testing.T) {
	reset := fmt.Sprint(now.Add(90 * time.Second).Unix())
	for _, c := range []struct {
		status int
		header []string
		want   error // nil: try again
		wait   time.Duration
	}{
		{429, []string{"Retry-After", "7"}, nil, 7 * time.Second},
		{429, []string{"Retry-After", now.Add(9 * time.Second).UTC().Format(http.TimeFormat)}, nil, 9 * time.Second},
		{429, nil, nil, time.Minute},
		{429, []string{"Retry-After", "999999"}, nil, time.Hour},
		{429, []string{"Retry-After", "-5"}, nil, time.Minute},
		{403, []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset}, nil, 90 * time.Second},
		{429, []string{"RateLimit-Remaining", "0", "RateLimit-Reset", reset}, nil, 90 * time.Second},
		{403, []string{"X-RateLimit-Remaining", "12", "X-RateLimit-Reset", reset}, nil, 0},
		{401, nil, nil, 0},
		{404, nil, nil, 0},
		{422, nil, check.ErrRefused, 0},
		{400, nil, check.ErrRefused, 0},
		{500, nil, check.ErrDoubt, 0},
		{503, []string{"Retry-After", "30"}, check.ErrDoubt, 30 * time.Second},
	} {
		for _, kind := range webhook.Kinds() {
			there := githosttest.Start(t, kind)
			there.Fail(githosttest.Answer(c.status, c.header...))
			wait, err := host(t, kind, there.API).Tell(t.Context(), commit(), status(check.Success))
			if err == nil || errors.Is(err, check.ErrRefused) != (c.want == check.ErrRefused) || errors.Is(err, check.ErrDoubt) != (c.want == check.ErrDoubt) || wait != c.wait { //nolint:errorlint // which of the two the table names
				t.Errorf("%s: %d %v: wait %s, %v; want %s, %v", kind, c.status, c.header, wait, err, c.wait, c.want)
			}
		}
	}
	there := githosttest.Start(t, webhook.GitHub)
	there.Fail(githosttest.Answer(201, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset))
	if wait, err := host(t, webhook.GitHub, there.API).Tell(t.Context(), commit(), status(check.Success)); err != nil || wait != 90*time.Second {
		t.Errorf("the last request of the hour: wait %s, %v", wait, err)
	}
}

func TestNoAnswerIsADoubt(t *testing.T) {
	there := githosttest.Start(t, webhook.Gitea)
	there.Fail(there.Hang)
	h, err := githost.New(githost.Config{Kind: webhook.Gitea, API: there.API, Token: githosttest.Token, Agent: "slipway/test", Patience: 50 * time.Millisecond, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tell(t.Context(), commit(), status(check.Success)); !errors.Is(err, check.ErrDoubt) {
		t.Errorf("a host that hangs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Tell(ctx, commit(), status(check.Success)); err == nil {
		t.Error("a call that was given up is a success")
	}
}

func TestTheTokenGoesNowhereElse(t *testing.T) {
	for _, kind := range webhook.Kinds() {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
			t.Errorf("%s: another host got %s with %v", kind, in.Method, in.Header)
		}))
		there := githosttest.Start(t, kind)
		there.Fail(
			func(out http.ResponseWriter, in *http.Request) bool {
				http.Redirect(out, in, elsewhere.URL, http.StatusTemporaryRedirect)
				return true
			},
			func(out http.ResponseWriter, in *http.Request) bool { // which would become a GET
				http.Redirect(out, in, "/elsewhere", http.StatusFound)
				return true
			},
			func(out http.ResponseWriter, _ *http.Request) bool {
				http.Error(out, "bad token "+githosttest.Token, http.StatusUnauthorized)
				return true
			})
		h := host(t, kind, there.API)
		for _, want := range []string{elsewhere.URL, "/elsewhere", "401"} {
			_, err := h.Tell(t.Context(), commit(), status(check.Success))
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), githosttest.Token) {
				t.Errorf("%s: %v, want %s", kind, err, want)
			}
		}
		// A repository that was renamed.
		there.Fail(func(out http.ResponseWriter, in *http.Request) bool {
			http.Redirect(out, in, in.URL.EscapedPath(), http.StatusTemporaryRedirect)
			return true
		})
		if _, err := h.Tell(t.Context(), commit(), status(check.Success)); err != nil {
			t.Errorf("%s: a redirect of the same host: %v", kind, err)
		}
		elsewhere.Close()
	}
}

func TestAStrangersNameLeadsNowhere(t *testing.T) {
	for _, kind := range webhook.Kinds() {
		there := githosttest.Start(t, kind)
		h := host(t, kind, there.API)
		for _, name := range []string{"", "shop", "../shop", "example/..", "example/sh?op", "example/sh%2fop", "/shop", "example/shop/", "example//shop", "a b/shop"} {
			at := commit()
			at.Repository = name
			if _, err := h.Tell(t.Context(), at, status(check.Success)); !errors.Is(err, check.ErrRefused) {
				t.Errorf("%s: %q: %v", kind, name, err)
			}
		}
	}
}

func TestAddressesThatATokenIsNotSentTo(t *testing.T) {
	for api, ok := range map[string]bool{
		"https://git.example.com/api/v1": true, "http://127.0.0.1:3000/api/v1": true, "http://git.example.com/api/v1": false, "git.example.com": false,
		"https://me:secret@git.example.com": false, "https://git.example.com/api?x=1": false, "": false, "https://": false,
	} {
		if err := githost.CheckAPI(api); (err == nil) != ok {
			t.Errorf("%s: %v", api, err)
		}
	}
}
