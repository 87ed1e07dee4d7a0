package scan_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/cosign/cosigntest"
	"github.com/slipway-build/slipway/worker/runner"
)

// The secrets of these tests are made when they run: this repository holds none.

func letters(n int) string { return strings.Repeat("aB3dE6gH9j", n/10+1)[:n] }

func gitlabToken() string { return "glpat" + "-" + letters(20) }

func slackToken() string { return "xox" + "b-123456789012-123456789012-" + letters(24) }

func awsKey() string {
	return "AWS_ACCESS_KEY_ID=AKI" + "A" + "QYLPMN5HHHFPZAM2" + "\nAWS_SECRET_ACCESS_KEY=" + letters(40) + "\n"
}

func TestSecrets(t *testing.T) {
	s := &store{}
	pemKey := string(cosigntest.Key(t))
	files := map[string]string{
		"services/api/config.env":   "# settings\nTOKEN=" + gitlabToken() + "\n" + awsKey(),
		"services/api/key.pem":      pemKey,
		"services/api/secret.yaml":  "data:\n  key: |\n    " + strings.ReplaceAll(pemKey, "\n", "\n    ") + "\n",
		"services/api/slack.go":     "package api\n\nconst token = \"" + slackToken() + "\"\n",
		"services/api/example.go":   "package api\n\nconst token = \"" + slackToken() + "\" // slipway:allow-secret: of an example\n",
		"services/api/binary.bin":   "\x00" + gitlabToken(),
		"services/api/large.txt":    gitlabToken() + strings.Repeat("\n", 1<<20),
		"services/api/clean.go":     "package api\n\nvar x = s.aVeryLongNameOfAMethodThatIsNoToken\n",
		"services/api/base64.go":    "package api\n\nvar x = \"abc" + "EAAA" + letters(60) + "\" // of something longer\n",
		"services/other/config.env": gitlabToken(),
		"outside.env":               gitlabToken(),
	}
	dir := plant(t, files)
	work := runner.Scan{Name: "leaks", Using: runner.UsingSecrets, Paths: []string{"services/api", "services/none"}}
	got := run(t, s, dir, work)
	same(t, got.places(),
		"high services/api/config.env:2 gitlab-token",
		"critical services/api/config.env:3 aws-access-key",
		"critical services/api/key.pem:1 private-key",
		"critical services/api/secret.yaml:3 private-key",
		"high services/api/slack.go:3 slack-token",
	)
	if got.outcome.Message != "5 findings: 3 critical, 2 high" {
		t.Errorf("message %q", got.outcome.Message)
	}
	contains(t, got.log, "high services/api/config.env:2 gitlab-token: GitLab personal access token (glpa…): revoke it", "1 finding allowed by slipway:allow-secret",
		"not looked at: 1 binary file, and 1 file of more than 1 MiB", "services/none does not exist in this commit")
	for name, secret := range map[string]string{"gitlab": letters(20)[:9], "slack": "123456789012", "key": strings.Split(pemKey, "\n")[1], "aws": "QYLPMN5"} {
		if strings.Contains(got.log+got.raw+got.outcome.Message, secret) {
			t.Errorf("%s: the secret is shown:\n%s\n%s", name, got.log, got.raw)
		}
	}
	files["services/api/slack.go"] = "package api\n\n// moved\n\n\n\tconst token = \"" + slackToken() + "\"\n"
	moved := run(t, s, plant(t, files), work)
	if moved.fingerprint(t, "slack-token") != got.fingerprint(t, "slack-token") {
		t.Error("a secret has another fingerprint when its line moved")
	}
	files["services/api/slack.go"] = "package api\n\nconst token = \"" + strings.Replace(slackToken(), "1234", "4321", 1) + "\"\n"
	if changed := run(t, s, plant(t, files), work); changed.fingerprint(t, "slack-token") == got.fingerprint(t, "slack-token") {
		t.Error("another secret has the same fingerprint")
	}
}
