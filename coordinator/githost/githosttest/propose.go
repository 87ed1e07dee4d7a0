package githosttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/slipway-build/slipway/coordinator/webhook"
)

// Proposal is a pull request that a host has.
type Proposal struct {
	Repository, Title, Body, Source, Target string
}

// Proposed are the pull requests that were taken, oldest first.
func (h *Host) Proposed() []Proposal {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.proposed)
}

// proposing is what a host publishes of its request for a pull request: its path, its fields, and what libraries send beside them
// without meaning anything.
func (h *Host) proposing() (path *regexp.Regexp, fields map[string]func(*Proposal) *string, beside []string) {
	title, source, target, body := func(p *Proposal) *string { return &p.Title }, func(p *Proposal) *string { return &p.Source }, func(p *Proposal) *string { return &p.Target }, func(p *Proposal) *string { return &p.Body }
	switch h.kind {
	case webhook.GitLab:
		return regexp.MustCompile(`^/api/v4/projects/([^/]+)/merge_requests$`),
			map[string]func(*Proposal) *string{"title": title, "source_branch": source, "target_branch": target, "description": body}, []string{"remove_source_branch"}
	case webhook.Bitbucket:
		return regexp.MustCompile(`^/2\.0/repositories/([^/]+/[^/]+)/pullrequests$`),
			map[string]func(*Proposal) *string{"title": title, "source": source, "destination": target, "description": body}, []string{"close_source_branch"}
	case webhook.Gitea:
		return regexp.MustCompile(`^/api/v1/repos/([^/]+/[^/]+)/pulls$`),
			map[string]func(*Proposal) *string{"title": title, "head": source, "base": target, "body": body},
			[]string{"assignee", "assignees", "reviewers", "team_reviewers", "milestone", "labels", "due_date"}
	case webhook.GitHub:
	}
	return regexp.MustCompile(`^/api/v3/repos/([^/]+/[^/]+)/pulls$`), map[string]func(*Proposal) *string{"title": title, "head": source, "base": target, "body": body}, nil
}

// propose reads a request for a pull request; ours: it is one.
func (h *Host) propose(in *http.Request, body []byte) (p Proposal, ours bool, problem string) {
	path, fields, beside := h.proposing()
	at := path.FindStringSubmatch(in.URL.EscapedPath())
	if in.Method != http.MethodPost || at == nil {
		return p, false, ""
	}
	var err error
	if p.Repository, err = url.PathUnescape(at[1]); err != nil {
		return p, true, err.Error()
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(body, &got); err != nil {
		return p, true, err.Error()
	}
	for name, into := range fields {
		text, ok := got[name]
		delete(got, name)
		if !ok {
			return p, true, "the body has no " + name
		}
		if name == "source" || name == "destination" {
			var end struct {
				Branch struct{ Name json.RawMessage }
			}
			if err := json.Unmarshal(text, &end); err != nil {
				return p, true, err.Error()
			}
			text = end.Branch.Name
		}
		if err := json.Unmarshal(text, into(&p)); err != nil || *into(&p) == "" {
			return p, true, fmt.Sprintf("%s may not be %s", name, text)
		}
	}
	for name := range got {
		if !slices.Contains(beside, name) {
			return p, true, "the schema has no " + name
		}
	}
	return p, true, ""
}

// opened answers a pull request that was taken.
func (h *Host) opened(out http.ResponseWriter, p Proposal) {
	h.proposed = append(h.proposed, p)
	at := fmt.Sprintf("https://git.example.com/%s/pull/%d", p.Repository, len(h.proposed))
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(http.StatusCreated)
	fmt.Fprintf(out, `{"id": 1, "html_url": %q, "web_url": %q, "links": {"html": {"href": %q}}}`, at, at, at)
}
