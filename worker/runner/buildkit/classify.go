package buildkit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/slipway-build/slipway/worker/runner"
)

// Where says what was being built, for messages.
type Where struct {
	Daemon     string
	Dockerfile string
	Context    string // folder; empty: the root of the repository
	Push       string
	Paths      []string
}

// scope says what the build context is.
func (w Where) scope() string {
	if w.Context == "" || w.Context == "." {
		return "the repository cut down to " + strings.Join(w.Paths, ", ")
	}
	return "the folder " + w.Context + " of the repository"
}

func (w Where) remedy() string {
	if w.Context == "" || w.Context == "." {
		return "add it with `also`, or, if the Dockerfile is written from its own folder, name that with `build.context`"
	}
	return "or change `build.context`"
}

// exitKilled is what a process that was killed leaves; in a build that is the kernel
// for want of memory, since the daemon kills only what was canceled.
const exitKilled = 137

// Classify turns the error of a solve into an outcome.
//
// BuildKit sends types with its errors for what the user's process and files did:
// exit codes, vertices and places in the Dockerfile. For what registries and the
// network did it sends text, so that must be read; it is read only after the types,
// so that no output of a user's process can pass for a broken farm.
func Classify(ctx context.Context, err error, w *Watch, at Where) runner.Outcome {
	o, ok := runner.Interrupted(ctx)
	if !ok {
		o = classify(err, w, at)
	}
	o.Steps = w.Steps()
	return o
}

func classify(err error, w *Watch, at Where) runner.Outcome {
	f := finding{err: err, at: at, text: plain(err)}
	var v *errdefs.VertexError
	if errors.As(err, &v) {
		f.vertex, f.output, f.hasVertex = w.Failed(v.Digest)
		f.hasVertex = true
	} else {
		f.vertex, f.output, _ = w.Failed("")
	}
	f.place, f.line = place(err, at.Dockerfile)

	var exit *gatewaypb.ExitError
	switch {
	case errors.Is(err, ErrHung):
		return runner.Err("%v; it may be overloaded, or its disk may not answer: see its log, and restart it", err)
	case errors.As(err, &exit) && grpcerrors.Code(err) != codes.Canceled:
		return f.exited(exit.ExitCode)
	case grpcerrors.Code(err) == codes.Unavailable && !f.fromRegistry(), grpcerrors.Code(err) == codes.Canceled, lostDaemon(f.text):
		return runner.Err("the connection to BuildKit at %s was lost: %s", at.Daemon, f.text)
	case match(f.text, `dockerfile parse error`):
		return f.userMistake()
	case storage(f.text):
		return runner.Err("the storage of BuildKit at %s is at fault, which a later attempt may find mended: %s", at.Daemon, f.text)
	case match(f.text, `no space left on device|disk quota exceeded`):
		return runner.Err("BuildKit at %s has no disk space left: %s", at.Daemon, f.text)
	case f.unreachable():
		return f.registryDown()
	case f.denied():
		return f.registryDenied()
	case match(f.text, `failed to push`):
		return runner.Err("%s could not be pushed: %s", at.Push, f.text)
	case f.place != "" || f.hasVertex || userText(f.text):
		return f.userMistake()
	default:
		return runner.Err("BuildKit at %s: %s", at.Daemon, f.text)
	}
}

type finding struct {
	err       error
	at        Where
	text      string
	vertex    string
	output    []byte
	hasVertex bool
	place     string // "services/api/Dockerfile:12"
	line      string // what stands there
}

func (f finding) exited(code uint32) runner.Outcome {
	o := runner.Fail("%s%s: exit code %d%s", f.prefix(), f.vertex, code, f.tail())
	if match(string(f.output), `(?i)no space left on device|disk quota exceeded`) {
		o.Message += fmt.Sprintf("\n    the step found no disk space left: it writes more than the disk of BuildKit at %s (or a tmpfs mount of the step) has room for", f.at.Daemon)
	}
	if code == exitKilled || match(f.text, `cannot allocate memory`) {
		o.Class = runner.ClassOOM
		o.Message = fmt.Sprintf("%s%s: killed (exit code %d), most likely because it ran out of memory%s", f.prefix(), f.vertex, code, f.tail())
	}
	return o
}

func (f finding) prefix() string {
	if f.place == "" {
		return ""
	}
	return f.place + ": "
}

func (f finding) tail() string {
	if t := Tail(f.output); t != "" {
		return "\n" + t
	}
	return ""
}

func (f finding) userMistake() runner.Outcome {
	text := f.text
	if m := regexp.MustCompile(`"(/[^"]*)": not found`).FindStringSubmatch(text); m != nil && match(text, `checksum|cache key`) {
		text = fmt.Sprintf("%s does not exist in the build context, which is %s "+
			"(.dockerignore applies): correct the path, %s in slipway.yaml", m[1], f.at.scope(), f.at.remedy())
	}
	if m := regexp.MustCompile(`([^\s:]+(?::\S+)?): not found$`).FindStringSubmatch(text); m != nil && match(text, `failed to resolve source metadata`) {
		text = fmt.Sprintf("base image %s does not exist: correct its name or tag; where its registry cannot be reached, "+
			"slipway images bootstrap %s makes a stand-in from what the farm's machine has", m[1], strings.TrimPrefix(strings.TrimPrefix(m[1], "docker.io/"), "library/"))
	}
	if f.line != "" {
		text += "\n    " + f.line
	}
	return runner.Fail("%s%s%s", f.prefix(), text, f.tail())
}

// registry is the host that a text is about.
func (f finding) registry() string {
	if m := regexp.MustCompile(`https?://([^/"\s]+)`).FindStringSubmatch(f.text); m != nil {
		return m[1]
	}
	if f.at.Push != "" && match(f.text, `failed to push`) {
		return registryHost(f.at.Push)
	}
	return ""
}

func (f finding) doing() string {
	if match(f.text, `failed to push`) {
		return "pushing to " + f.at.Push
	}
	if f.vertex != "" {
		return f.vertex
	}
	return "the build"
}

func (f finding) fromRegistry() bool {
	return match(f.text, `failed to push|failed to do request|failed to resolve source metadata|https?://`)
}

func (f finding) unreachable() bool {
	return match(f.text, `dial tcp|connection re(fused|set)|no such host|i/o timeout|TLS handshake|network is unreachable|`+
		`server misbehaving|server gave HTTP response|x509:|unexpected EOF|: EOF$|unexpected status[^:]*: (429|5\d\d)|\b(429 Too Many|5\d\d (Internal|Bad Gateway|Service|Gateway))`)
}

func (f finding) registryDown() runner.Outcome {
	host := f.registry()
	if host == "" {
		return runner.Err("a registry could not be reached during %s: %s", f.doing(), f.text)
	}
	what := "registry"
	if match(f.vertex, `\bADD |^https?://`) {
		what = "server" // of a file that the Dockerfile adds
	}
	offline := ""
	if match(f.text, `failed to resolve source metadata|lookup \S+ on|no such host`) && what == "registry" && !match(f.text, `failed to push`) {
		offline = "; where it never can be, slipway images bootstrap --for FOLDER makes stand-ins for the base images of the Dockerfiles there"
	}
	return runner.Err("%s %s could not be reached or is broken, during %s: %s%s", what, host, f.doing(), cause(f.text), offline)
}

func (f finding) denied() bool {
	return match(f.text, `401 Unauthorized|403 Forbidden|insufficient_scope|authorization failed|no basic auth credentials|pull access denied|authentication required|(denied|unauthorized): `)
}

// registryDenied: a push that is refused is the platform's to mend, whose credentials
// the worker has; a pull that is refused is most often a wrong name in a Dockerfile.
func (f finding) registryDenied() runner.Outcome {
	if match(f.text, `failed to push`) {
		return runner.Err("registry %s refused the push to %s: the worker's credentials (registry_auth in worker.yaml) do not allow it: %s",
			registryHost(f.at.Push), f.at.Push, cause(f.text))
	}
	return runner.Fail("%sa base image may not be pulled: it does not exist, or the worker's credentials do not allow it: %s", f.prefix(), f.text)
}

// lostDaemon: the session is a connection of its own, and its loss is told as text.
func lostDaemon(text string) bool {
	return match(text, `error reading from server|transport is closing|client connection is closing|connection error: desc|no active session|session closed`)
}

// storage: the daemon's own snapshots and content. A daemon that was killed may leave a
// snapshot's folder without its record; the next one to ask for that number fails, and
// the failure removes the folder.
func storage(text string) bool {
	return match(text, `failed to rename: rename \S+/snapshots/|failed to (prepare|mount|create|commit) \S* ?(as|snapshot|temp|lease)|input/output error|`+
		`read-only file system|structure needs cleaning|snapshot \S+ does not exist|failed to get (reader from content store|usage for)`)
}

// userText are mistakes that BuildKit answers without a place.
func userText(text string) bool {
	return match(text, `target stage .* could not be found|dockerfile parse error|failed to parse|failed to read dockerfile|`+
		`unknown instruction|invalid reference format|no build stage in current context|the Dockerfile cannot be empty|no match for platform`)
}

func match(text, pattern string) bool { return regexp.MustCompile(pattern).MatchString(text) }

// plain takes off what BuildKit's layers put before the reason.
func plain(err error) string {
	text := err.Error()
	for {
		before := text
		for _, p := range []string{"failed to solve: ", "failed to run Build function: ", "rpc error: "} {
			text = strings.TrimPrefix(text, p)
		}
		text = regexp.MustCompile(`^code = \w+ desc = `).ReplaceAllString(text, "")
		if text == before {
			return text
		}
	}
}

// cause is the last and most precise part of a chain of network errors.
func cause(text string) string {
	if i := strings.Index(text, "dial tcp"); i >= 0 {
		return text[i:]
	}
	return text
}

// place is where in the Dockerfile an error comes from, and the line there.
func place(err error, dockerfile string) (at, line string) {
	for _, s := range errdefs.Sources(err) {
		if s.Info == nil || len(s.Ranges) == 0 || s.Ranges[0].Start == nil {
			continue
		}
		n := int(s.Ranges[0].Start.Line)
		lines := strings.Split(string(s.Info.Data), "\n")
		if n >= 1 && n <= len(lines) {
			line = strings.TrimSpace(lines[n-1])
		}
		name := s.Info.Filename
		if !strings.Contains(name, "/") {
			name = dockerfile
		}
		return fmt.Sprintf("%s:%d", name, n), line
	}
	return "", ""
}
