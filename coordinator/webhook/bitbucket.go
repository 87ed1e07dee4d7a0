package webhook

import (
	"errors"
	"fmt"
	"strings"
)

type bucketRepository struct {
	FullName string `json:"full_name"`
	Links    struct {
		HTML struct {
			Href string `json:"href"`
		} `json:"html"`
	} `json:"links"`
}

// sshURL is not in the payload, and one rule for all of Bitbucket Cloud.
func (r bucketRepository) sshURL() string {
	if !strings.HasPrefix(r.Links.HTML.Href, "https://bitbucket.org/") || r.FullName == "" {
		return ""
	}
	return "git@bitbucket.org:" + r.FullName + ".git"
}

type bucketRef struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Target struct {
		Hash    string `json:"hash"`
		Message string `json:"message"`
	} `json:"target"`
}

type bucketUser struct {
	Name string `json:"display_name"`
}

type bucketPush struct {
	Actor      bucketUser       `json:"actor"`
	Repository bucketRepository `json:"repository"`
	Push       struct {
		Changes []struct {
			Old bucketRef `json:"old"` // null: created
			New bucketRef `json:"new"` // null: deleted
		} `json:"changes"`
	} `json:"push"`
}

type bucketSide struct {
	Branch struct {
		Name string `json:"name"`
	} `json:"branch"`
	Commit struct {
		Hash string `json:"hash"`
	} `json:"commit"`
	Repository bucketRepository `json:"repository"`
}

type bucketPull struct {
	Actor       bucketUser       `json:"actor"`
	Repository  bucketRepository `json:"repository"`
	PullRequest struct {
		ID          int        `json:"id"`
		Source      bucketSide `json:"source"`
		Destination bucketSide `json:"destination"`
	} `json:"pullrequest"`
}

func bitbucket(event string, body []byte) (Event, string, error) {
	switch event {
	case "diagnostics:ping":
		return Event{}, "ping: the webhook works", nil
	case "repo:push":
		return bucketPushed(body)
	case "pullrequest:created", "pullrequest:updated":
		return bucketAsked(body)
	default:
		return Event{}, notAnEvent(event), nil
	}
}

// bucketPushed reads the one delivery that Bitbucket sends for all refs of a push.
func bucketPushed(body []byte) (Event, string, error) {
	var p bucketPush
	if err := decode(body, &p); err != nil {
		return Event{}, "", err
	}
	var found []Event
	ignored := "the push changes no branch"
	for _, c := range p.Push.Changes {
		switch {
		case c.New.Type == "" && c.Old.Type == "":
			return Event{}, "", errors.New("the payload has a change without old and new")
		case c.New.Type == "":
			ignored = deletion
		case c.New.Type == "tag":
			_, ignored = branchOf("refs/tags/" + c.New.Name)
		case c.New.Type != "branch":
			_, ignored = branchOf(c.New.Name)
		case Skips(c.New.Target.Message):
			ignored = skipped
		default:
			found = append(found, Event{
				Kind: Push, CloneURL: p.Repository.Links.HTML.Href, SSHURL: p.Repository.sshURL(), FullName: p.Repository.FullName,
				Branch: c.New.Name, Commit: c.New.Target.Hash, Before: c.Old.Target.Hash, Sender: p.Actor.Name,
			})
		}
	}
	switch len(found) {
	case 0:
		if p.Push.Changes == nil {
			return Event{}, "", errors.New("the payload has no push.changes")
		}
		return Event{}, ignored, nil
	case 1:
		return found[0], "", nil
	default:
		return Event{}, "", fmt.Errorf("a push of %d branches at once is not supported yet: push them one by one", len(found))
	}
}

func bucketAsked(body []byte) (Event, string, error) {
	var p bucketPull
	if err := decode(body, &p); err != nil {
		return Event{}, "", err
	}
	from, to := p.PullRequest.Source, p.PullRequest.Destination
	return Event{
		Kind: PullRequest, CloneURL: p.Repository.Links.HTML.Href, SSHURL: p.Repository.sshURL(), FullName: p.Repository.FullName,
		Branch: from.Branch.Name, Commit: from.Commit.Hash, Number: p.PullRequest.ID, BaseBranch: to.Branch.Name,
		Fork:   from.Repository.FullName == "" || from.Repository.FullName != p.Repository.FullName,
		Sender: p.Actor.Name,
	}, "", nil
}
