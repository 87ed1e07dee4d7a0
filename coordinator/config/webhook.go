package config

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/slipway-build/slipway/coordinator/webhook"
)

// Webhook is where a git host tells what was pushed.
type Webhook struct {
	Name       string `yaml:"name,required"` // it is answered at /webhooks/<name>
	Kind       string `yaml:"kind,required"` // of webhook.Kinds
	SecretFile string `yaml:"secret_file,required"`
	// Repositories are the addresses that may start runs, as the coordinator fetches them.
	Repositories []string `yaml:"repositories,required"`

	Secret string // what the file says; never shown
}

// minSecret is what nobody guesses who has a signature to try secrets against.
const minSecret = 16

var webhookName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (c *Config) validateWebhooks() []error {
	var errs []error
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
		if len(w.Secret) < minSecret {
			bad("secret_file", "the secret has %d characters, want at least %d: try openssl rand -hex 32", len(w.Secret), minSecret)
		}
		if len(w.Repositories) == 0 {
			bad("repositories", "none: nothing could start a run")
		}
		if slices.Contains(w.Repositories, "") {
			bad("repositories", "one is empty")
		}
	}
	return errs
}
