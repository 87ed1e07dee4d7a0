// Package githost tells git hosts the status of a commit, and opens pull requests, each
// through the one request that its public API has for that, made by the host's well-kept client library where
// there is one.
//
// The libraries make requests, and nothing else: what an answer means, how long it may
// take, where a token may go and when it is tried again is decided here and in check,
// in one way for all hosts.
package githost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

const (
	// Patience is how long a host may take to answer.
	Patience = 20 * time.Second
	// longest is how long a host may ask to be left alone.
	longest   = time.Hour
	maxAnswer = 1 << 20
)

// Config of a Host.
type Config struct {
	Kind webhook.Kind
	// API is the address of the API, without a slash at the end; empty: DefaultAPI.
	API   string
	Token string
	// Agent says who asks, as "slipway/1.2".
	Agent    string
	Patience time.Duration // 0: Patience
	Now      func() time.Time
}

// DefaultAPI is where a host's own service has its API; empty: there is none.
func DefaultAPI(kind webhook.Kind) string {
	return map[webhook.Kind]string{
		webhook.GitHub:    "https://api.github.com",
		webhook.GitLab:    "https://gitlab.com/api/v4",
		webhook.Bitbucket: "https://api.bitbucket.org/2.0",
	}[kind]
}

// Host is one host's API. It implements check.Host.
type Host struct {
	cfg       Config
	how       how
	transport *http.Transport
}

// New makes a Host.
func New(cfg Config) (*Host, error) {
	h, ok := kinds()[cfg.Kind]
	if !ok {
		return nil, fmt.Errorf("%q is no kind of git host", cfg.Kind)
	}
	if cfg.API == "" {
		cfg.API = DefaultAPI(cfg.Kind)
	}
	cfg.API = strings.TrimRight(cfg.API, "/")
	if err := CheckAPI(cfg.API); err != nil {
		return nil, err
	}
	if cfg.Patience == 0 {
		cfg.Patience = Patience
	}
	return &Host{cfg: cfg, how: h, transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
	}}, nil
}

// Hook is what check has to know of the host beside its API.
func (h *Host) Hook() check.Hook {
	return check.Hook{Host: h, Running: h.how.running, PerBranch: h.how.perBranch}
}

// CheckAPI says what is wrong with an address that a token is to be sent to.
func CheckAPI(api string) error {
	u, err := url.Parse(api)
	switch {
	case err != nil:
		return fmt.Errorf("address of the API: %w", err)
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("address of the API %q, want https://host/path", api)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("address of the API: want nothing but scheme, host and path")
	case u.Scheme == "http" && u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" && u.Hostname() != "::1":
		return fmt.Errorf("address of the API %q: a token is sent there, which needs https", api)
	}
	return nil
}

// stay follows redirects of the same host that keep the request as it is. Others would
// take the token elsewhere, or make a question of what was said.
func stay(to *http.Request, via []*http.Request) error {
	first := via[0].URL
	if to.Method != via[0].Method || to.URL.Scheme != first.Scheme || to.URL.Host != first.Host || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// Tell implements check.Host.
func (h *Host) Tell(ctx context.Context, c check.Commit, s check.Status) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Patience)
	defer cancel()
	w := &witness{base: h.transport}
	err = h.how.tell(call{Config: h.cfg, ctx: ctx, client: &http.Client{Transport: w, CheckRedirect: stay}}, c, s)
	switch {
	case !w.asked:
		return 0, fmt.Errorf("%w: %w", check.ErrRefused, err)
	case w.status == 0:
		// It may have arrived: a connection breaks after the request as well as before.
		return 0, fmt.Errorf("%w: %w", check.ErrDoubt, w.err)
	}
	return h.verdict(w)
}

// verdict says what an answer means.
func (h *Host) verdict(w *witness) (wait time.Duration, err error) {
	wait = h.wait(w.status, w.header)
	if w.status/100 == 2 {
		return wait, nil // the host has it, whether or not its answer came whole
	}
	if h.how.already != "" && w.status == http.StatusBadRequest && bytes.Contains(w.body, []byte(h.how.already)) {
		return wait, nil
	}
	err = fmt.Errorf("%s answers %d %s: %s", w.host, w.status, http.StatusText(w.status), h.excerpt(w.body))
	switch {
	case w.status >= 500:
		return wait, fmt.Errorf("%w: %w", check.ErrDoubt, err)
	case w.status/100 == 3:
		return wait, fmt.Errorf("%w: the address of the API is another: %s", err, w.header.Get("Location"))
	case passing(w.status):
		return wait, err
	}
	return wait, fmt.Errorf("%w: %w", check.ErrRefused, err)
}

// passing tells whether a no may become a yes: tokens are given rights, repositories
// come back, and limits end.
func passing(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict,
		http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return false
}

// wait reads how long the host wants to be left alone.
func (h *Host) wait(status int, header http.Header) time.Duration {
	now := h.cfg.Now()
	var wait time.Duration
	after := header.Get("Retry-After")
	if n, err := strconv.ParseInt(after, 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(after); err == nil {
		wait = at.Sub(now)
	}
	for _, p := range []string{"X-RateLimit-", "RateLimit-"} {
		if header.Get(p+"Remaining") != "0" {
			continue
		}
		if n, err := strconv.ParseInt(header.Get(p+"Reset"), 10, 64); err == nil {
			wait = max(wait, time.Unix(n, 0).Sub(now))
		}
	}
	if wait <= 0 && status == http.StatusTooManyRequests {
		wait = time.Minute
	}
	return min(max(wait, 0), longest)
}

// excerpt is the beginning of an answer, without the token should the host repeat it.
func (h *Host) excerpt(text []byte) string {
	s := strings.ReplaceAll(string(text), h.cfg.Token, "***")
	return check.Short(strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?"), 300)
}
