package webhook

import "errors"

// GitHub's payloads, and Gitea's, which were modeled on them: only what is read.

type hubRepository struct {
	FullName string `json:"full_name"`
	CloneURL string `json:"clone_url"`
	SSHURL   string `json:"ssh_url"`
}

type hubPush struct {
	Ref        string `json:"ref"`
	Before     string `json:"before"`
	After      string `json:"after"`
	Deleted    bool   `json:"deleted"`
	HeadCommit struct {
		Message string `json:"message"`
	} `json:"head_commit"`
	Repository hubRepository `json:"repository"`
	Sender     hubUser       `json:"sender"`
}

type hubUser struct {
	Login string `json:"login"`
}

type hubBranch struct {
	Ref  string        `json:"ref"`
	SHA  string        `json:"sha"`
	Repo hubRepository `json:"repo"`
}

type hubPull struct {
	Action      string `json:"action"`
	Number      int    `json:"number"`
	Before      string `json:"before"`
	PullRequest struct {
		Head hubBranch `json:"head"`
		Base hubBranch `json:"base"`
	} `json:"pull_request"`
	Repository hubRepository `json:"repository"`
	Sender     hubUser       `json:"sender"`
}

func github(event string, body []byte) (Event, string, error) { return hub(event, "synchronize", body) }

func gitea(event string, body []byte) (Event, string, error) {
	if event == "pull_request_sync" { // what its header says of new commits; the action says it too
		event = PullRequest
	}
	return hub(event, "synchronized", body)
}

// hub reads either host; sync is what it calls new commits in a pull request.
func hub(event, sync string, body []byte) (Event, string, error) {
	switch event {
	case "ping":
		return Event{}, "ping: the webhook works", nil
	case Push:
		return hubPushed(body)
	case PullRequest:
		return hubAsked(sync, body)
	default:
		return Event{}, notAnEvent(event), nil
	}
}

func hubPushed(body []byte) (Event, string, error) {
	var p hubPush
	if err := decode(body, &p); err != nil {
		return Event{}, "", err
	}
	if p.Ref == "" {
		return Event{}, "", errors.New("the payload has no ref")
	}
	branch, ignored := branchOf(p.Ref)
	switch {
	case ignored != "":
	case p.Deleted || gone(p.After):
		ignored = deletion
	case Skips(p.HeadCommit.Message):
		ignored = skipped
	}
	return Event{
		Kind: Push, CloneURL: p.Repository.CloneURL, SSHURL: p.Repository.SSHURL, FullName: p.Repository.FullName,
		Branch: branch, Commit: p.After, Before: before(p.Before), Sender: p.Sender.Login,
	}, ignored, nil
}

func hubAsked(sync string, body []byte) (Event, string, error) {
	var p hubPull
	if err := decode(body, &p); err != nil {
		return Event{}, "", err
	}
	switch p.Action {
	case "":
		return Event{}, "", errors.New("the payload has no action")
	case "opened", "reopened", sync:
	default:
		return Event{}, notAnAction(p.Action), nil
	}
	head, base := p.PullRequest.Head, p.PullRequest.Base
	return Event{
		Kind: PullRequest, CloneURL: p.Repository.CloneURL, SSHURL: p.Repository.SSHURL, FullName: p.Repository.FullName,
		Branch: head.Ref, Commit: head.SHA, Before: before(p.Before), Number: p.Number, BaseBranch: base.Ref,
		// A fork that was deleted is null: then it is not this repository either.
		Fork:   head.Repo.FullName == "" || head.Repo.FullName != p.Repository.FullName,
		Sender: p.Sender.Login,
	}, "", nil
}
