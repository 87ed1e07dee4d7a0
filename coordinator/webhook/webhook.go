// Package webhook reads what git hosts send when somebody pushes or asks to merge: it
// tells whether a delivery is genuine and makes one Event of it, whichever the host.
//
// It answers no request, fetches nothing and starts no run. Whether a repository may
// start runs here, and what the pipeline makes of the event, is decided by its callers.
package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strings"
)

// Kind is a product that sends webhooks.
type Kind string

// The kinds.
const (
	GitHub    Kind = "github"
	GitLab    Kind = "gitlab"
	Bitbucket Kind = "bitbucket"
	Gitea     Kind = "gitea"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{GitHub, GitLab, Bitbucket, Gitea} }

// Events that may start a run, as triggers of slipway.yaml call them.
const (
	Push        = "push"
	PullRequest = "pull_request"
)

// PullRef is the ref under which a host's repository has the head of a pull request,
// whichever repository it came from; empty: it has none.
func (k Kind) PullRef(number int) string {
	switch k {
	case GitHub, Gitea:
		return fmt.Sprintf("refs/pull/%d/head", number)
	case GitLab:
		return fmt.Sprintf("refs/merge-requests/%d/head", number)
	case Bitbucket:
	}
	return ""
}

// Event is a push of a branch, or a pull request that was opened or has new commits.
type Event struct {
	Kind     string // Push, PullRequest
	CloneURL string // of the repository that the event happened in
	SSHURL   string // the same by ssh; empty: the host does not say
	FullName string // as the host shows it: owner/name
	Branch   string // that was pushed, or that a pull request asks to merge
	Commit   string // its head; of Bitbucket's pull requests only the first digits
	Before   string // its head before, where the host says so

	Number     int    // of a pull request
	BaseBranch string // where a pull request is to be merged
	Fork       bool   // the commits are in another repository, or in one that is gone
	Sender     string // who did it, as the host shows them
}

// Key is what one event has in common with every delivery of it, and with no other
// event: name is that of the webhook, repository the address that is fetched from.
func (e Event) Key(name, repository string) string {
	on := e.Branch
	if e.Kind == PullRequest {
		on = fmt.Sprint(e.Number)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %q", name, repository, e.Kind, on, e.Before, e.Commit))
	return "webhook-" + hex.EncodeToString(sum[:])
}

// Of tells whether the event happened in the repository with this address. A ".git" at
// the end makes no difference: hosts write it or not as they please.
func (e Event) Of(repository string) bool {
	plain := func(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "/"), ".git") }
	is := func(address string) bool { return address != "" && plain(address) == plain(repository) }
	return is(e.CloneURL) || is(e.SSHURL)
}

// Named tells whether the host's name of the repository belongs to this address of it.
// Both are in the payload, and what is told of a run goes to the name.
func (e Event) Named(repository string) bool {
	address := strings.TrimSuffix(strings.TrimRight(repository, "/"), ".git")
	return e.FullName != "" && (strings.HasSuffix(address, "/"+e.FullName) || strings.HasSuffix(address, ":"+e.FullName))
}

// NameOf is what a host most likely calls the repository at an address: its path.
func NameOf(repository string) string {
	path := strings.TrimSuffix(strings.TrimRight(repository, "/"), ".git")
	if _, after, ok := strings.Cut(path, "://"); ok {
		_, path, _ = strings.Cut(after, "/")
	} else if host, after, ok := strings.Cut(path, ":"); ok && !strings.Contains(host, "/") {
		path = after
	}
	return strings.TrimLeft(path, "/")
}

// Parse makes an event of a delivery. ignored says why one that was understood starts
// nothing; then the event is zero. The texts of errors are for who set the webhook up.
func Parse(kind Kind, header http.Header, body []byte) (e Event, ignored string, err error) {
	read := map[Kind]struct {
		header string
		parse  func(event string, body []byte) (Event, string, error)
	}{
		GitHub:    {"X-GitHub-Event", github},
		Gitea:     {"X-Gitea-Event", gitea},
		GitLab:    {"X-Gitlab-Event", gitlab},
		Bitbucket: {"X-Event-Key", bitbucket},
	}
	host, ok := read[kind]
	if !ok {
		return Event{}, "", fmt.Errorf("%q is no kind of webhook", kind)
	}
	if media, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil || media != "application/json" {
		return Event{}, "", fmt.Errorf("the content type is %q: choose application/json where the host sets the webhook up", header.Get("Content-Type"))
	}
	event, err := one(header, host.header)
	if err != nil {
		return Event{}, "", err
	}
	e, ignored, err = host.parse(event, body)
	if err != nil || ignored != "" {
		return Event{}, ignored, err
	}
	return e, "", e.check()
}

var (
	commitID = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
	fullID   = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// check reports what a host always says, and this payload does not.
func (e Event) check() error {
	var errs []error
	lacks := func(what string) { errs = append(errs, errors.New("the payload has no "+what)) }
	if e.CloneURL == "" {
		lacks("address of the repository")
	}
	if e.Branch == "" {
		lacks("branch")
	}
	if !commitID.MatchString(e.Commit) || e.Kind == Push && !fullID.MatchString(e.Commit) {
		lacks("id of the commit")
	}
	if e.Kind == PullRequest && e.Number <= 0 {
		lacks("number of the pull request")
	}
	if e.Kind == PullRequest && e.BaseBranch == "" {
		lacks("branch to merge into")
	}
	return errors.Join(errs...)
}

// one answers a header that must be there once: of two, nobody knows which one others read.
func one(header http.Header, name string) (string, error) {
	switch v := header.Values(name); {
	case len(v) == 0 || len(v) == 1 && v[0] == "":
		return "", fmt.Errorf("the header %s is missing", name)
	case len(v) > 1:
		return "", fmt.Errorf("the header %s is there %d times", name, len(v))
	default:
		return v[0], nil
	}
}

func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the payload cannot be read: %w", err)
	}
	return nil
}

// branchOf answers the branch that a full ref names.
func branchOf(ref string) (branch, ignored string) {
	if b, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return b, ""
	}
	if t, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return "", fmt.Sprintf("tag %q: tags start no runs yet", t)
	}
	return "", fmt.Sprintf("ref %q is not a branch", ref)
}

// gone tells whether an id stands for "no commit".
func gone(commit string) bool { return commit != "" && strings.Trim(commit, "0") == "" }

func before(commit string) string {
	if gone(commit) {
		return ""
	}
	return commit
}

// Skips tells whether the author of a commit asks for no run.
func Skips(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "[skip ci]") || strings.Contains(m, "[ci skip]")
}

const (
	skipped  = "the message of the head commit says [skip ci]"
	deletion = "the branch was deleted"
)

func notAnEvent(event string) string { return fmt.Sprintf("event %q starts no run", event) }

func notAnAction(action string) string {
	return fmt.Sprintf("action %q of a pull request starts no run", action)
}
