package source

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// remote is an address that was checked.
type remote struct {
	address  string // for git
	shown    string // for people
	protocol string // https, ssh, file
	key      string // folder of the mirror
}

var (
	scpAddress  = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]*@)?([A-Za-z0-9][A-Za-z0-9.-]*):([^:].*)$`)
	hostName    = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)$`)
	userName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	commitID    = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	abbreviated = regexp.MustCompile(`^[0-9a-f]{4,39}$`)
	runName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)
)

func isCommit(s string) bool      { return commitID.MatchString(s) }
func isAbbreviated(s string) bool { return abbreviated.MatchString(s) }

// parseRemote accepts https and ssh addresses, git@host:path, and absolute paths below
// one of the allowed folders.
func parseRemote(repository string, localPaths []string) (remote, error) {
	quoted := strictyaml.Quote(repository)
	switch {
	case repository == "":
		return remote{}, refuse("no repository was given; expected an https:// or ssh:// address or an absolute path")
	case strings.HasPrefix(repository, "-"), hasControl(repository):
		return remote{}, refuse("repository %s is not an address: it begins with \"-\" or has control characters", quoted)
	case filepath.IsAbs(repository):
		return localRemote(repository, localPaths)
	case strings.Contains(repository, "::"):
		return remote{}, refuse("repository %s names a transport helper, which is never run; expected an https:// or ssh:// address", quoted)
	case !strings.Contains(repository, "://"):
		m := scpAddress.FindStringSubmatch(repository)
		if m == nil {
			return remote{}, refuse("repository %s is neither an https:// or ssh:// address nor an absolute path", quoted)
		}
		if strings.HasPrefix(m[3], "-") {
			return remote{}, refuse("repository %s has a path that begins with \"-\"", quoted)
		}
		return newRemote(repository, "ssh"), nil
	}
	u, err := url.Parse(repository)
	if err != nil {
		return remote{}, refuse("repository %s is not an address; expected https://host/path", quoted)
	}
	return urlRemote(u, quoted)
}

func urlRemote(u *url.URL, quoted string) (remote, error) {
	if u.Scheme != "https" && u.Scheme != "ssh" {
		return remote{}, refuse("repository %s uses %q, which is refused; use https:// or ssh://", quoted, u.Scheme)
	}
	if !hostName.MatchString(u.Hostname()) && !strings.Contains(u.Hostname(), ":") {
		return remote{}, refuse("repository %s has no usable host name", quoted)
	}
	_, password := u.User.Password()
	if password || u.Scheme == "https" && u.User != nil {
		// Not shown: it would end up in the journal, in logs and on screens.
		return remote{}, refuse("the repository address on %s contains a user name or password; leave it out and configure the coordinator's credentials instead", u.Host)
	}
	if u.User != nil && !userName.MatchString(u.User.Username()) {
		return remote{}, refuse("repository %s has an unusable user name", quoted)
	}
	if u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") == "" || strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-") {
		return remote{}, refuse("repository %s has no usable path; expected %s://host/path", quoted, u.Scheme)
	}
	return newRemote(u.String(), u.Scheme), nil
}

func localRemote(repository string, localPaths []string) (remote, error) {
	// Links are resolved first: what is allowed is the folder that is read.
	folder, err := filepath.EvalSymlinks(repository)
	if err != nil {
		if len(localPaths) == 0 {
			return remote{}, notLocal(repository)
		}
		return remote{}, &Error{Kind: ErrUnreachable, Message: "repository " + repository + " cannot be read: the coordinator's machine has no such folder", Cause: err}
	}
	for _, p := range localPaths {
		allowed, err := filepath.EvalSymlinks(p)
		if err != nil {
			continue
		}
		if rel, err := filepath.Rel(allowed, folder); err == nil && filepath.IsLocal(rel) {
			return newRemote(folder, "file"), nil
		}
	}
	return remote{}, notLocal(repository)
}

func notLocal(repository string) error {
	return refuse("repository %s is a path, and this coordinator does not read that folder; use an https:// or ssh:// address, or add the folder to the coordinator's local_repositories",
		strictyaml.Quote(repository))
}

func newRemote(address, protocol string) remote {
	sum := sha256.Sum256([]byte(address))
	return remote{address: address, shown: address, protocol: protocol, key: hex.EncodeToString(sum[:16]) + ".git"}
}

// checkRef refuses what git could take for an option or an expression: a ref is a
// branch, a tag, a full name (refs/…) or a commit id, nothing that is computed.
func checkRef(ref string) error {
	bad := ref == "" || strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "/") || strings.HasSuffix(ref, "/") ||
		strings.HasPrefix(ref, ".") || strings.HasSuffix(ref, ".") || strings.HasSuffix(ref, ".lock") ||
		strings.ContainsAny(ref, " ~^:?*[\\") || hasControl(ref) ||
		strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.Contains(ref, "/.") || strings.Contains(ref, "@{") || ref == "@"
	if bad {
		return refuse("ref %s is not the name of a branch or tag or a full commit id", strictyaml.Quote(ref))
	}
	return nil
}

// checkPath accepts clean paths relative to the root of the repository; "." is the root.
func checkPath(p string) error {
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") || hasControl(p) {
		return refuse("%s is not a path within the repository; expected one like services/api, without \"..\"", strictyaml.Quote(p))
	}
	return nil
}

func checkPaths(paths []string) error {
	for _, p := range paths {
		if err := checkPath(p); err != nil {
			return err
		}
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
