package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/githost"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

// Webhook is where a git host tells what was pushed.
type Webhook struct {
	Name       string `yaml:"name,required"` // it is answered at /webhooks/<name>
	Kind       string `yaml:"kind,required"` // of webhook.Kinds
	SecretFile string `yaml:"secret_file"`   // empty: nothing is answered there, and Poll finds pushes
	// Repositories are the addresses that may start runs, as the coordinator fetches them.
	Repositories []string `yaml:"repositories,required"`
	// Poll is how often the repositories are asked for pushes that were not told; 0: never.
	Poll time.Duration `yaml:"poll"`
	// Forks says that pull requests of strangers are built and tested.
	Forks bool  `yaml:"forks"`
	Check Check `yaml:"check"`

	Secret string // what the file says; never shown
}

// Check is how a host is told what becomes of the runs that its events began.
type Check struct {
	TokenFile string `yaml:"token_file"` // empty: it is not told
	API       string `yaml:"api"`        // default: githost.DefaultAPI

	Token string // what the file says; never shown
}

// minSecret is what nobody guesses who has a signature to try secrets against.
const minSecret = 16

// minPoll is what hosts bear.
const minPoll = time.Second

var webhookName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (c *Config) validateWebhooks() []error {
	errs := c.validateChecks()
	names := map[string]bool{}
	for i, w := range c.Webhooks {
		bad := func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("webhooks[%d].%s: %w", i, key, fmt.Errorf(format, args...)))
		}
		if !webhookName.MatchString(w.Name) {
			bad("name", "%q, want lower-case letters, digits and dashes", w.Name)
		}
		if names[w.Name] {
			bad("name", "%q is there twice", w.Name)
		}
		names[w.Name] = true
		if !slices.Contains(webhook.Kinds(), webhook.Kind(w.Kind)) {
			bad("kind", "%q, want one of %v", w.Kind, webhook.Kinds())
		}
		if w.Poll != 0 && w.Poll < minPoll {
			bad("poll", "%s, want at least %s", w.Poll, minPoll)
		}
		switch {
		case w.SecretFile == "" && w.Secret == "" && w.Poll == 0:
			bad("secret_file", "nothing would start a run: want the secret that the host knows, or poll")
		case (w.SecretFile != "" || w.Secret != "") && len(w.Secret) < minSecret:
			bad("secret_file", "the secret has %d characters, want at least %d: try openssl rand -hex 32", len(w.Secret), minSecret)
		}
		if len(w.Repositories) == 0 {
			bad("repositories", "none: nothing could start a run")
		}
		if k := webhook.Kind(w.Kind); w.Forks && slices.Contains(webhook.Kinds(), k) && k.PullRef(1) == "" {
			bad("forks", "not supported yet: a repository at %s does not have the commits of its forks", k)
		}
		if slices.Contains(w.Repositories, "") {
			bad("repositories", "one is empty")
		}
	}
	return errs
}

func (c *Config) validateChecks() []error {
	var errs []error
	told := false
	for i, w := range c.Webhooks {
		bad := func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("webhooks[%d].check.%s: %w", i, key, fmt.Errorf(format, args...)))
		}
		if w.Check == (Check{}) {
			continue
		}
		told = true
		if w.Check.Token == "" {
			bad("token_file", "a token is needed to tell the host")
		}
		if strings.ContainsFunc(w.Check.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			bad("token_file", "the token has a character that no token has: is there more than one line?")
		}
		switch api := w.Check.API; {
		case api != "":
			if err := githost.CheckAPI(api); err != nil {
				bad("api", "%w", err)
			}
		case githost.DefaultAPI(webhook.Kind(w.Kind)) == "":
			bad("api", "a host of kind %q has its own address: want https://host/api/v1", w.Kind)
		}
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		errs = append(errs, fmt.Errorf("public_url: %q, want https://host[/path]", c.PublicURL))
	}
	if told && c.PublicURL == "" {
		errs = append(errs, errors.New("public_url: checks of webhooks link to the dashboard: say where people reach it"))
	}
	return errs
}
