package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/submit"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

// Limits of a delivery.
const (
	maxDelivery   = 1 << 20
	maxSender     = 100
	deliveryLimit = 10 * time.Second // for a body to arrive
	submitLimit   = 15 * time.Minute // for a first fetch of a large repository
)

// Hook is one webhook that is answered.
type Hook struct {
	Name, Secret string
	Kind         webhook.Kind
	Repositories []string
	Forks        bool // strangers' pull requests are built and tested
}

// WebhookConfig of Webhooks.
type WebhookConfig struct {
	Hooks  []Hook
	Submit func(ctx context.Context, req submit.Request) (id string, replayed bool, err error)
	// Refused hears of events that became no run because of a mistake in their commit.
	Refused func(o run.Origin, commit, ref, why string)
	Log     *slog.Logger
	Now     func() time.Time
}

// Webhooks answers POST /webhooks/<name>: who knows the secret of a webhook may start
// runs of its repositories, and nothing else.
type Webhooks struct {
	cfg   WebhookConfig
	hooks map[string]Hook

	ctx     context.Context //nolint:containedctx // hosts hang up long before a large fetch is done; the run must come nevertheless
	mu      sync.Mutex
	stopped bool // nothing is begun any more
	begun   sync.WaitGroup
}

// NewWebhooks makes the handler. The context is the program's: it ends what deliveries began.
func NewWebhooks(ctx context.Context, cfg WebhookConfig) *Webhooks {
	w := &Webhooks{ctx: ctx, cfg: cfg, hooks: map[string]Hook{}}
	for _, h := range cfg.Hooks {
		w.hooks[h.Name] = h
	}
	return w
}

// start runs f outside the request, unless the program stops.
func (w *Webhooks) start(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return false
	}
	w.begun.Go(f)
	return true
}

// Stop begins nothing any more and waits for what was begun.
func (w *Webhooks) Stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.begun.Wait()
}

// answer is what a host shows for a delivery: exactly one of the texts is set.
type answer struct {
	Run      string `json:"run,omitempty"`
	Replayed bool   `json:"replayed,omitempty"`
	Ignored  string `json:"ignored,omitempty"`
	Error    string `json:"error,omitempty"`

	code int
}

func refused(code int, format string, args ...any) answer {
	return answer{code: code, Error: fmt.Sprintf(format, args...)}
}

// ServeHTTP answers one delivery.
func (w *Webhooks) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	a := w.deliver(out, in)
	log := w.cfg.Log.With("webhook", in.PathValue("name"), "status", a.code)
	switch {
	case a.Error != "":
		log.Warn("delivery refused", "why", a.Error)
	case a.Ignored != "":
		log.Info("delivery ignored", "why", a.Ignored)
	default:
		log.Info("delivery accepted", "run", a.Run, "replayed", a.Replayed)
	}
	if a.code == http.StatusServiceUnavailable {
		out.Header().Set("Retry-After", "30")
	}
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(a.code)
	_ = json.NewEncoder(out).Encode(a) // to whom, if it fails?
}

// deliver finds out whether a delivery is genuine before anything else about it, and
// shows nothing to who cannot sign.
func (w *Webhooks) deliver(out http.ResponseWriter, in *http.Request) answer {
	hook, ok := w.hooks[in.PathValue("name")]
	if !ok || hook.Secret == "" {
		return refused(http.StatusNotFound, "there is no such webhook")
	}
	if in.Method != http.MethodPost {
		out.Header().Set("Allow", http.MethodPost)
		return refused(http.StatusMethodNotAllowed, "deliveries are sent with POST")
	}
	body, a := w.body(out, in)
	if a.code != 0 {
		return a
	}
	if err := webhook.Verify(hook.Kind, in.Header, body, hook.Secret); err != nil {
		return refused(http.StatusUnauthorized, "%v", err)
	}
	e, ignored, err := webhook.Parse(hook.Kind, in.Header, body)
	if err != nil {
		return refused(http.StatusBadRequest, "%v", err)
	}
	if ignored != "" {
		return answer{code: http.StatusOK, Ignored: ignored}
	}
	for _, repository := range hook.Repositories {
		if e.Of(repository) {
			if !e.Named(repository) {
				return refused(http.StatusForbidden, "the payload calls repository %q %q", repository, e.FullName)
			}
			return w.begin(in.Context(), hook, repository, e)
		}
	}
	return refused(http.StatusForbidden, "repository %q is not among those of this webhook", e.CloneURL)
}

// Found takes a push that nobody told of, as if the host had. An error: it may be tried again.
func (w *Webhooks) Found(ctx context.Context, name, repository string, e webhook.Event) error {
	a := w.begin(ctx, w.hooks[name], repository, e)
	if a.code >= http.StatusInternalServerError {
		return errors.New(a.Error)
	}
	w.cfg.Log.Info("push found", "webhook", name, "repository", repository, "branch", e.Branch, "commit", e.Commit, "run", a.Run, "ignored", a.Ignored, "refused", a.Error)
	return nil
}

func (w *Webhooks) body(out http.ResponseWriter, in *http.Request) ([]byte, answer) {
	tooLarge := refused(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", maxDelivery)
	if in.ContentLength > maxDelivery {
		return nil, tooLarge
	}
	// Not every connection can be given a deadline; those of the program can.
	_ = http.NewResponseController(out).SetReadDeadline(w.cfg.Now().Add(deliveryLimit))
	body, err := io.ReadAll(http.MaxBytesReader(out, in.Body, maxDelivery))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge
	case err != nil:
		return nil, refused(http.StatusBadRequest, "the body did not arrive: %v", err)
	}
	return body, answer{}
}

// begin submits the event and waits for its run, or until the host hangs up. What was
// begun goes on then, and a delivery of the same event finds what came of it.
func (w *Webhooks) begin(ctx context.Context, hook Hook, repository string, e webhook.Event) answer {
	if e.Fork && (!hook.Forks || hook.Kind.PullRef(e.Number) == "") {
		return answer{code: http.StatusOK, Ignored: "pull requests from forks are not run: the webhook does not say forks: true"}
	}
	req := submit.Request{
		Repository: repository, Ref: e.Branch, Key: e.Key(hook.Name, repository), By: submitter(hook, e),
		Event:  &submit.Event{Kind: e.Kind, Branch: e.Branch, Commit: e.Commit, Before: e.Before, Onto: e.Branch},
		Origin: run.Origin{Webhook: hook.Name, Repository: e.FullName, Branch: e.Branch},
	}
	if e.Kind == webhook.PullRequest {
		// Not the name of a branch: what was green here was not released.
		req.Ref, req.Event.Onto = fmt.Sprintf("pull/%d", e.Number), e.BaseBranch
	}
	if e.Fork {
		req.Untrusted, req.Event.Ref = true, hook.Kind.PullRef(e.Number)
		req.Origin.Branch = req.Event.Ref
	}
	done := make(chan answer, 1)
	began := w.start(func() {
		ctx, cancel := context.WithTimeout(w.ctx, submitLimit)
		defer cancel()
		id, replayed, err := w.cfg.Submit(ctx, req)
		if err != nil {
			if why := mistake(err); why != "" {
				w.cfg.Refused(req.Origin, e.Commit, req.Ref, why)
			}
			done <- w.failed(hook, e, err)
			return
		}
		done <- answer{code: http.StatusAccepted, Run: id, Replayed: replayed}
	})
	if !began {
		return refused(http.StatusServiceUnavailable, "the coordinator stops: deliver it again")
	}
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
		return refused(http.StatusServiceUnavailable, "the sender hung up; the run comes nevertheless")
	}
}

// submitter is who shows as the one that asked: a person as the host calls them, and
// through what, so that nobody is taken for the owner of a token.
func submitter(hook Hook, e webhook.Event) string {
	if e.Sender == "" {
		return "webhook " + hook.Name
	}
	name := []rune(e.Sender)
	return string(name[:min(len(name), maxSender)]) + " (webhook " + hook.Name + ")"
}

// mistake is what is wrong with a commit, on one line; empty: that is not why.
func mistake(err error) string {
	var p *submit.ProblemsError
	switch {
	case errors.As(err, &p) && len(p.Problems) > 1:
		return fmt.Sprintf("%v, and %d more", p.Problems[0], len(p.Problems)-1)
	case p != nil, errors.Is(err, submit.ErrStranger):
		return err.Error()
	}
	return ""
}

// failed says whether delivering again could help: only then the answer is a 5xx.
func (w *Webhooks) failed(hook Hook, e webhook.Event, err error) answer {
	if errors.Is(err, submit.ErrNotTriggered) {
		return answer{code: http.StatusOK, Ignored: err.Error()}
	}
	w.cfg.Log.Warn("event became no run", "webhook", hook.Name, "repository", e.FullName, "branch", e.Branch, "commit", e.Commit, "err", err)
	switch status.Code(toStatus(err)) {
	case codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument, codes.PermissionDenied:
		return refused(http.StatusUnprocessableEntity, "%v", err)
	case codes.AlreadyExists:
		return refused(http.StatusConflict, "%v", err)
	case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.Canceled:
		return refused(http.StatusServiceUnavailable, "%v: deliver it again", err)
	default:
		return refused(http.StatusInternalServerError, "a defect of the coordinator: see its log")
	}
}
