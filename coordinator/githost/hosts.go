package githost

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"code.gitea.io/sdk/gitea"
	"github.com/google/go-github/v84/github"
	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

// how is what the hosts differ in.
type how struct {
	// tell makes the host's request. What came of it is seen by the call's transport;
	// an error before that is one of the arguments.
	tell      func(call call, c check.Commit, s check.Status) error
	propose   func(call call, p Proposal) (address string, err error)
	running   bool   // it has a state of its own for what is carried out
	perBranch bool   // it keeps statuses of a commit apart by branch
	already   string // what a 400 says when the commit has the status that it is told
}

// call is one request to be made.
type call struct {
	Config

	ctx    context.Context //nolint:containedctx // lives as long as the request
	client *http.Client
}

func kinds() map[webhook.Kind]how {
	return map[webhook.Kind]how{
		webhook.GitHub:    {tell: tellGitHub, propose: proposeGitHub},
		webhook.GitLab:    {tell: tellGitLab, propose: proposeGitLab, running: true, perBranch: true, already: "Cannot transition status"},
		webhook.Bitbucket: {tell: tellBitbucket, propose: proposeBitbucket},
		webhook.Gitea:     {tell: tellGitea, propose: proposeGitea},
	}
}

// Longest descriptions, in characters: what GitHub documents, and what fits the columns
// of the others.
const (
	shortLine = 140
	line      = 255
)

func tellGitHub(call call, c check.Commit, s check.Status) error {
	owner, name, err := two(c.Repository)
	if err != nil {
		return err
	}
	// There is no state for a run that was canceled: error is what GitHub's own checks show.
	state := map[check.State]string{
		check.Pending: "pending", check.Running: "pending", check.Success: "success", check.Failure: "failure", check.Error: "error", check.Canceled: "error",
	}[s.State]
	client, err := call.github()
	if err != nil {
		return err
	}
	_, _, err = client.Repositories.CreateStatus(call.ctx, owner, name, c.ID, github.RepoStatus{
		State: &state, TargetURL: &s.URL, Description: new(check.Short(s.Summary, shortLine)), Context: new(check.Name),
	})
	return err
}

func tellGitea(call call, c check.Commit, s check.Status) error {
	owner, name, err := two(c.Repository)
	if err != nil {
		return err
	}
	state := map[check.State]gitea.StatusState{
		check.Pending: gitea.StatusPending, check.Running: gitea.StatusPending, check.Success: gitea.StatusSuccess,
		check.Failure: gitea.StatusFailure, check.Error: gitea.StatusError, check.Canceled: gitea.StatusError,
	}[s.State]
	client, err := call.gitea()
	if err != nil {
		return err
	}
	_, _, err = client.CreateStatus(owner, name, c.ID, gitea.CreateStatusOption{
		State: state, TargetURL: s.URL, Description: check.Short(s.Summary, line), Context: check.Name,
	})
	return err
}

func tellGitLab(call call, c check.Commit, s check.Status) error {
	if err := sane(c.Repository); err != nil {
		return err
	}
	state := map[check.State]gitlab.BuildStateValue{
		check.Pending: gitlab.Pending, check.Running: gitlab.Running, check.Success: gitlab.Success,
		check.Failure: gitlab.Failed, check.Error: gitlab.Failed, check.Canceled: gitlab.Canceled,
	}[s.State]
	client, err := call.gitlab()
	if err != nil {
		return err
	}
	o := gitlab.SetCommitStatusOptions{State: state, Name: new(check.Name), TargetURL: &s.URL, Description: new(check.Short(s.Summary, line))}
	if c.Branch != "" {
		o.Ref = &c.Branch
	}
	_, _, err = client.Commits.SetCommitStatus(c.Repository, c.ID, &o, gitlab.WithContext(call.ctx))
	return err
}

// bitbucketBody is the body of Bitbucket Cloud's "create a build status for a commit".
type bitbucketBody struct {
	Key         string `json:"key"`
	State       string `json:"state"`
	Name        string `json:"name"`
	URL         string `json:"url"`
	Description string `json:"description"`
}

func tellBitbucket(call call, c check.Commit, s check.Status) error {
	workspace, name, err := two(c.Repository)
	if err != nil {
		return err
	}
	state := map[check.State]string{
		check.Pending: "INPROGRESS", check.Running: "INPROGRESS", check.Success: "SUCCESSFUL", check.Failure: "FAILED", check.Error: "FAILED", check.Canceled: "STOPPED",
	}[s.State]
	resp, err := call.bitbucket(workspace+"/"+name+"/commit/"+url.PathEscape(c.ID)+"/statuses/build", bitbucketBody{check.Name, state, "Slipway", s.URL, check.Short(s.Summary, line)})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// two are owner and name, which need no escape in a path.
func two(repository string) (owner, name string, err error) {
	owner, name, ok := strings.Cut(repository, "/")
	if err := sane(repository); err != nil {
		return "", "", err
	}
	if !ok || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("repository %q, want owner/name", repository)
	}
	return owner, name, nil
}

var repositoryName = regexp.MustCompile(`^[\w.~-]+(/[\w.~-]+)+$`)

// sane refuses what would lead somewhere else in a path. The name is a stranger's word.
func sane(repository string) error {
	if !repositoryName.MatchString(repository) {
		return fmt.Errorf("repository %q is no owner/name", repository)
	}
	for part := range strings.SplitSeq(repository, "/") {
		if part == "." || part == ".." {
			return fmt.Errorf("repository %q is no owner/name", repository)
		}
	}
	return nil
}
