package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/config"
)

func load(t *testing.T, webhooks string) (config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hook": "a secret of some length\n", "short": "abc\n",
		"c.yaml": "state: /s\nnats: { url: \"nats://127.0.0.1:1\" }\ntokens: []\nwebhooks:\n" + webhooks,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config.Load(filepath.Join(dir, "c.yaml"))
}

func TestWebhooksAreRead(t *testing.T) {
	c, err := load(t, "  - { name: shop, kind: gitea, secret_file: hook, repositories: [https://example.com/shop] }\n")
	if err != nil || len(c.Webhooks) != 1 || c.Webhooks[0].Secret != "a secret of some length" {
		t.Errorf("%+v, %v", c.Webhooks, err)
	}
}

func TestMistakesInWebhooks(t *testing.T) {
	for text, want := range map[string]string{
		"name: shop, kind: gitea, repositories: [a]":                                                                                     "webhooks[0].secret_file: nothing would start a run",
		"name: shop, kind: gitea, poll: 10ms, repositories: [a]":                                                                         "webhooks[0].poll: 10ms, want at least 1s",
		"name: shop, kind: bitbucket, secret_file: hook, forks: true, repositories: [a]":                                                 "webhooks[0].forks: not supported yet",
		"name: shop, kind: gitea, secret_file: hook, repositories: [a], check: { api: \"https://a/api/v1\" }":                            "webhooks[0].check.token_file: a token is needed",
		"name: shop, kind: gitea, secret_file: hook, repositories: [a], check: { token_file: hook }":                                     "webhooks[0].check.api: a host of kind \"gitea\" has its own address",
		"name: shop, kind: gitea, secret_file: hook, repositories: [a], check: { token_file: hook, api: \"http://a/api/v1\" }":           "needs https",
		"name: shop, kind: github, secret_file: hook, repositories: [a], check: { token_file: hook }":                                    "public_url: checks of webhooks link to the dashboard",
		"name: shop, kind: svn, secret_file: hook, repositories: [a]":                                                                    `webhooks[0].kind: "svn"`,
		"name: A/b, kind: gitea, secret_file: hook, repositories: [a]":                                                                   `webhooks[0].name: "A/b"`,
		"name: shop, kind: gitea, secret_file: short, repositories: [a]":                                                                 "webhooks[0].secret_file: the secret has 3 characters",
		"name: shop, kind: gitea, secret_file: gone, repositories: [a]":                                                                  "webhooks[0].secret_file: open",
		"name: shop, kind: gitea, secret_file: hook, repositories: []":                                                                   "webhooks[0].repositories: none",
		"name: shop, kind: gitea, secret_file: hook":                                                                                     `:5:5: `,
		"name: shop, kind: gitea, secret: abc, repositories: [a]":                                                                        `"secret"`,
		"name: shop, kind: gitea, secret_file: hook, repositories: [a, \"\"]":                                                            "one is empty",
		"name: s, kind: gitea, secret_file: hook, repositories: [a] }\n  - { name: s, kind: gitea, secret_file: hook, repositories: [a]": "webhooks[1].name: \"s\" is there twice",
	} {
		if _, err := load(t, "  - { "+text+" }\n"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "abc") && !strings.Contains(text, "secret: abc") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
