package webhook

import "errors"

type labProject struct {
	ID                int    `json:"id"`
	PathWithNamespace string `json:"path_with_namespace"`
	GitHTTPURL        string `json:"git_http_url"`
	GitSSHURL         string `json:"git_ssh_url"`
}

type labCommit struct {
	ID      string `json:"id"`
	Message string `json:"message"`
}

type labPush struct {
	Ref      string      `json:"ref"`
	Before   string      `json:"before"`
	After    string      `json:"after"`
	UserName string      `json:"user_username"`
	Project  labProject  `json:"project"`
	Commits  []labCommit `json:"commits"`
}

type labMerge struct {
	User struct {
		UserName string `json:"username"`
	} `json:"user"`
	Project    labProject `json:"project"`
	Attributes struct {
		IID             int       `json:"iid"`
		Action          string    `json:"action"`
		SourceBranch    string    `json:"source_branch"`
		TargetBranch    string    `json:"target_branch"`
		SourceProjectID int       `json:"source_project_id"`
		TargetProjectID int       `json:"target_project_id"`
		OldRev          string    `json:"oldrev"`
		LastCommit      labCommit `json:"last_commit"`
	} `json:"object_attributes"`
}

func gitlab(event string, body []byte) (Event, string, error) {
	switch event {
	case "Push Hook":
		return labPushed(body)
	case "Merge Request Hook":
		return labAsked(body)
	default:
		return Event{}, notAnEvent(event), nil
	}
}

func labPushed(body []byte) (Event, string, error) {
	var p labPush
	if err := decode(body, &p); err != nil {
		return Event{}, "", err
	}
	if p.Ref == "" {
		return Event{}, "", errors.New("the payload has no ref")
	}
	branch, ignored := branchOf(p.Ref)
	if ignored == "" && gone(p.After) {
		ignored = deletion
	}
	for _, c := range p.Commits {
		if ignored == "" && c.ID == p.After && Skips(c.Message) {
			ignored = skipped
		}
	}
	return Event{
		Kind: Push, CloneURL: p.Project.GitHTTPURL, SSHURL: p.Project.GitSSHURL, FullName: p.Project.PathWithNamespace,
		Branch: branch, Commit: p.After, Before: before(p.Before), Sender: p.UserName,
	}, ignored, nil
}

func labAsked(body []byte) (Event, string, error) {
	var p labMerge
	if err := decode(body, &p); err != nil {
		return Event{}, "", err
	}
	m, ignored := p.Attributes, ""
	switch {
	case m.Action == "":
		return Event{}, "", errors.New("the payload has no action")
	case m.Action == "update" && m.OldRev == "":
		ignored = "the merge request has no new commits"
	case m.Action != "open" && m.Action != "reopen" && m.Action != "update":
		ignored = notAnAction(m.Action)
	case Skips(m.LastCommit.Message):
		ignored = skipped
	}
	return Event{
		Kind: PullRequest, CloneURL: p.Project.GitHTTPURL, SSHURL: p.Project.GitSSHURL, FullName: p.Project.PathWithNamespace,
		Branch: m.SourceBranch, Commit: m.LastCommit.ID, Before: before(m.OldRev), Number: m.IID, BaseBranch: m.TargetBranch,
		Fork:   m.SourceProjectID == 0 || m.SourceProjectID != m.TargetProjectID,
		Sender: p.User.UserName,
	}, ignored, nil
}
