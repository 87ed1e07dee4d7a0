package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// The kinds of errors. Their texts are sentences for people; see Error.
var (
	// ErrRefNotFound: the repository has no such branch, tag or commit.
	ErrRefNotFound = errors.New("ref not found")
	// ErrUnreachable: the remote did not answer, or not to us.
	ErrUnreachable = errors.New("repository unreachable")
	// ErrNotAllowed: the address, ref or path is one that is refused.
	ErrNotAllowed = errors.New("not allowed")
	// ErrFileNotFound: the commit has no such file.
	ErrFileNotFound = errors.New("file not found")
	// ErrTooLarge: a file is larger than what is read into memory.
	ErrTooLarge = errors.New("file too large")
)

// Error is one of the kinds with a sentence that stands for itself.
type Error struct {
	Kind    error
	Message string
	Cause   error
}

// Error is the sentence alone.
func (e *Error) Error() string { return e.Message }

// Unwrap is the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func refuse(format string, args ...any) error {
	return &Error{Kind: ErrNotAllowed, Message: fmt.Sprintf(format, args...)}
}

// unreachable says why a remote did not answer, in words that tell what to do.
func unreachable(r remote, err error) error {
	var g *gitcmd.Error
	if !errors.As(err, &g) {
		return fmt.Errorf("repository %s: %w", r.shown, err)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	// Without the address, in which anything may be written.
	said := strings.ToLower(strings.ReplaceAll(g.Stderr, strings.TrimRight(r.address, "/"), ""))
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(said, p) })
	}
	why := lastLines(g.Stderr, 2)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		why = "it did not answer in time; check that the coordinator can reach it"
	case has("could not resolve host", "name or service not known", "temporary failure in name resolution"):
		why = "its host name is unknown; check the address for a typing mistake, and the coordinator's name server"
	case has("connection refused", "connection timed out", "no route to host", "network is unreachable", "failed to connect", "couldn't connect"):
		why = "its host does not accept connections; check the address and the network (" + why + ")"
	case has("authentication failed", "could not read username", "terminal prompts disabled", "permission denied", "returned error: 401", "returned error: 403"):
		why = "it refused the coordinator's credentials; give the coordinator a token or key that may read it"
	case has("host key verification failed"):
		why = "the coordinator does not know its ssh host key; add it to the known_hosts of the coordinator's user"
	case has("certificate"):
		why = "its TLS certificate was not accepted (" + why + ")"
	case has("not found", "does not appear to be a git repository", "not a git repository", "does not exist"):
		why = "there is no git repository; check the address, and that the coordinator may read it"
	case why == "":
		why = g.Error()
	}
	return &Error{Kind: ErrUnreachable, Message: fmt.Sprintf("repository %s cannot be read: %s", r.shown, why), Cause: err}
}

func lastLines(text string, n int) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.TrimPrefix(strings.Join(lines, "; "), "fatal: ")
}

// refNotFound names what comes near.
func refNotFound(r remote, ref string, branches, tags []string) error {
	msg := fmt.Sprintf("repository %s has no branch, tag or commit %s", r.shown, strictyaml.Quote(ref))
	known := slices.Concat(branches, tags)
	switch hint := strictyaml.Suggest(ref, known); {
	case hint != "":
		msg += "; " + hint
	case isAbbreviated(ref):
		msg += "; a commit is given by its full id of 40 digits"
	case len(known) == 0:
		msg += "; it has no branch or tag at all: was anything pushed to it?"
	default:
		slices.Sort(branches)
		msg += "; its branches are " + enumerate(branches, 5)
	}
	return &Error{Kind: ErrRefNotFound, Message: msg}
}

func enumerate(names []string, limit int) string {
	if len(names) == 0 {
		return "none"
	}
	if more := len(names) - limit; more > 0 {
		return strings.Join(names[:limit], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
