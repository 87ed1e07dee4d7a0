package githost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"code.gitea.io/sdk/gitea"
	"github.com/google/go-github/v84/github"
	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/slipway-build/slipway/coordinator/check"
)

// Proposal is a pull request, or what a host calls so, within one repository.
type Proposal struct {
	Repository     string // as the host calls it: "owner/name"
	Title, Body    string // Body is Markdown
	Source, Target string // branches; Source is there
}

// Longest parts, in characters: what all of the hosts take.
const (
	maxTitle = 200
	maxBody  = 60_000
)

var errNoAddress = errors.New("the host says no address of it")

// Propose opens a pull request, and answers where people look at it. It is asked once: an error that is check.ErrDoubt may have
// opened it.
func (h *Host) Propose(ctx context.Context, p Proposal) (address string, err error) {
	p.Title, p.Body = check.Short(p.Title, maxTitle), check.Short(p.Body, maxBody)
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Patience)
	defer cancel()
	w := &witness{base: h.transport}
	address, err = h.how.propose(call{Config: h.cfg, ctx: ctx, client: &http.Client{Transport: w, CheckRedirect: stay}}, p)
	switch {
	case !w.asked:
		return "", fmt.Errorf("%w: %w", check.ErrRefused, err)
	case w.status == 0:
		return "", fmt.Errorf("%w: %w", check.ErrDoubt, w.err)
	}
	if _, no := h.verdict(w); no != nil {
		return "", no
	}
	if u, bad := url.Parse(address); err != nil || bad != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", fmt.Errorf("%w: %w", check.ErrDoubt, errors.Join(errNoAddress, err))
	}
	return address, nil
}

func (c call) github() (*github.Client, error) {
	client := github.NewClient(c.client).WithAuthToken(c.Token)
	var err error
	if client.BaseURL, err = url.Parse(c.API + "/"); err != nil {
		return nil, err
	}
	client.UserAgent = c.Agent
	return client, nil
}

// gitea is a client that adds the path of the API itself; and no version is asked for, since the requests are in all of them.
func (c call) gitea() (*gitea.Client, error) {
	return gitea.NewClient(strings.TrimSuffix(c.API, "/api/v1"), gitea.SetGiteaVersion(""), gitea.SetHTTPClient(c.client),
		gitea.SetContext(c.ctx), gitea.SetToken(c.Token), gitea.SetUserAgent(c.Agent))
}

func (c call) gitlab() (*gitlab.Client, error) {
	return gitlab.NewClient(c.Token, gitlab.WithBaseURL(c.API), gitlab.WithHTTPClient(c.client), gitlab.WithUserAgent(c.Agent), gitlab.WithoutRetries())
}

// bitbucket posts without a library: Atlassian keeps none for Go, and the best known one drops the context of requests.
func (c call) bitbucket(path string, in any) (*http.Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.API+"/repositories/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.Agent)
	return c.client.Do(req)
}

func proposeGitHub(call call, p Proposal) (string, error) {
	owner, name, err := two(p.Repository)
	if err != nil {
		return "", err
	}
	client, err := call.github()
	if err != nil {
		return "", err
	}
	pr, _, err := client.PullRequests.Create(call.ctx, owner, name, &github.NewPullRequest{Title: &p.Title, Head: &p.Source, Base: &p.Target, Body: &p.Body})
	return pr.GetHTMLURL(), err
}

func proposeGitea(call call, p Proposal) (string, error) {
	owner, name, err := two(p.Repository)
	if err != nil {
		return "", err
	}
	client, err := call.gitea()
	if err != nil {
		return "", err
	}
	pr, _, err := client.CreatePullRequest(owner, name, gitea.CreatePullRequestOption{Title: p.Title, Head: p.Source, Base: p.Target, Body: p.Body})
	if err != nil {
		return "", err
	}
	return pr.HTMLURL, nil
}

func proposeGitLab(call call, p Proposal) (string, error) {
	if err := sane(p.Repository); err != nil {
		return "", err
	}
	client, err := call.gitlab()
	if err != nil {
		return "", err
	}
	mr, _, err := client.MergeRequests.CreateMergeRequest(p.Repository, &gitlab.CreateMergeRequestOptions{
		Title: &p.Title, SourceBranch: &p.Source, TargetBranch: &p.Target, Description: &p.Body, RemoveSourceBranch: new(true),
	}, gitlab.WithContext(call.ctx))
	if err != nil {
		return "", err
	}
	return mr.WebURL, nil
}

type bitbucketEnd struct {
	Branch struct {
		Name string `json:"name"`
	} `json:"branch"`
}

// bitbucketPull is the body of Bitbucket Cloud's "create a pull request".
type bitbucketPull struct {
	Title       string       `json:"title"`
	Description string       `json:"description"`
	Source      bitbucketEnd `json:"source"`
	Destination bitbucketEnd `json:"destination"`
	Close       bool         `json:"close_source_branch"`
}

func proposeBitbucket(call call, p Proposal) (string, error) {
	workspace, name, err := two(p.Repository)
	if err != nil {
		return "", err
	}
	in := bitbucketPull{Title: p.Title, Description: p.Body, Close: true}
	in.Source.Branch.Name, in.Destination.Branch.Name = p.Source, p.Target
	resp, err := call.bitbucket(workspace+"/"+name+"/pullrequests", in)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out struct {
		Links struct {
			HTML struct {
				Href string `json:"href"`
			} `json:"html"`
		} `json:"links"`
	}
	err = json.NewDecoder(resp.Body).Decode(&out)
	return out.Links.HTML.Href, err
}
