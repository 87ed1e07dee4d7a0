package githost_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/githost"
	"github.com/slipway-build/slipway/coordinator/githost/githosttest"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

func proposal() githost.Proposal {
	return githost.Proposal{Repository: "example/shop", Title: "Adopt what is live in prod", Body: "- ConfigMap/cart `data.greeting`\n", Source: "slipway/adopt-prod-1", Target: "main"}
}

func TestEveryHostOpensPullRequests(t *testing.T) {
	for _, kind := range webhook.Kinds() {
		there := githosttest.Start(t, kind)
		p := proposal()
		if kind == webhook.GitLab {
			p.Repository = "group/sub/shop"
		}
		address, err := host(t, kind, there.API).Propose(t.Context(), p)
		if want := "https://git.example.com/" + p.Repository + "/pull/1"; err != nil || address != want {
			t.Errorf("%s: %q, %v, want %s", kind, address, err, want)
		}
		want := []githosttest.Proposal{{Repository: p.Repository, Title: p.Title, Body: p.Body, Source: p.Source, Target: p.Target}}
		if diff := cmp.Diff(want, there.Proposed()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", kind, diff)
		}
	}
}

func TestWhatBecomesOfAProposalThatIsNotTaken(t *testing.T) {
	answers := func(status int, body string) githosttest.Fault {
		return func(out http.ResponseWriter, _ *http.Request) bool {
			out.Header().Set("Content-Type", "application/json")
			out.WriteHeader(status)
			fmt.Fprint(out, body)
			return true
		}
	}
	for _, kind := range webhook.Kinds() {
		there := githosttest.Start(t, kind)
		h := host(t, kind, there.API)
		for name, c := range map[string]struct {
			fault githosttest.Fault
			is    error // nil: it may be taken another time
			says  string
		}{
			"it is there already":    {answers(422, `{"message":"a pull request exists for `+githosttest.Token+`"}`), check.ErrRefused, "answers 422"},
			"the token has no right": {answers(403, `{}`), nil, "answers 403"},
			"the host is ill":        {answers(502, ``), check.ErrDoubt, "answers 502"},
			"it says no address":     {answers(201, `{"id": 1}`), check.ErrDoubt, "no address"},
			"its address is none":    {answers(201, `{"html_url": "javascript:x", "web_url": "javascript:x", "links": {"html": {"href": "javascript:x"}}}`), check.ErrDoubt, "no address"},
		} {
			there.Fail(c.fault)
			_, err := h.Propose(t.Context(), proposal())
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), githosttest.Token) {
				t.Errorf("%s: %s: %v", kind, name, err)
			}
		}
		p := proposal()
		p.Repository = "../../admin"
		if _, err := h.Propose(t.Context(), p); !errors.Is(err, check.ErrRefused) {
			t.Errorf("%s: a stranger's name: %v", kind, err)
		}
		p = proposal()
		p.Title, p.Body = strings.Repeat("é", 1000), strings.Repeat("é", 100_000)
		if _, err := h.Propose(t.Context(), p); err != nil || len([]rune(there.Proposed()[0].Title)) > 255 {
			t.Errorf("%s: a long text: %v", kind, err)
		}
	}
}
