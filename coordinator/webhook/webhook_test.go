package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/webhook"
)

const (
	head   = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
	old    = "9049f1265b7d61be4a8904a9a27120d2064dab3b"
	none   = "0000000000000000000000000000000000000000"
	secret = "a secret of some length"
)

func payload(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func header(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// events are the header and payload of each kind's push and pull request.
var events = map[webhook.Kind][2][2]string{
	webhook.GitHub:    {{"X-Github-Event", "push"}, {"X-Github-Event", "pull_request"}},
	webhook.Gitea:     {{"X-Gitea-Event", "push"}, {"X-Gitea-Event", "pull_request_sync"}},
	webhook.GitLab:    {{"X-Gitlab-Event", "Push Hook"}, {"X-Gitlab-Event", "Merge Request Hook"}},
	webhook.Bitbucket: {{"X-Event-Key", "repo:push"}, {"X-Event-Key", "pullrequest:updated"}},
}

func TestEveryHostSaysTheSame(t *testing.T) {
	push := webhook.Event{
		Kind: webhook.Push, CloneURL: "https://git.example.com/example/shop.git", SSHURL: "git@git.example.com:example/shop.git",
		FullName: "example/shop", Branch: "main", Commit: head, Before: old, Sender: "anna",
	}
	pull := push
	pull.Kind, pull.Branch, pull.BaseBranch, pull.Number = webhook.PullRequest, "feature", "main", 7
	for _, kind := range webhook.Kinds() {
		for i, want := range []webhook.Event{push, pull} {
			if kind == webhook.Bitbucket {
				want.CloneURL, want.SSHURL = "https://git.example.com/example/shop", ""
			}
			if kind == webhook.Bitbucket && i == 1 {
				want.Commit = head[:12]
			}
			if i == 1 && (kind == webhook.Bitbucket || kind == webhook.Gitea) {
				want.Before = ""
			}
			e := events[kind][i]
			got, ignored, err := webhook.Parse(kind, header(e[0], e[1]), []byte(payload(t, string(kind)+[]string{"-push", "-pull"}[i])))
			if err != nil || ignored != "" {
				t.Errorf("%s: ignored %q, error %v", kind, ignored, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", kind, diff)
			}
			if !got.Of("https://git.example.com/example/shop") || !got.Of("https://git.example.com/example/shop.git") || got.Of("https://git.example.com/example/shop2") || got.Of("") {
				t.Errorf("%s: happened in %s", kind, got.CloneURL)
			}
		}
	}
}

func TestWhatStartsNoRun(t *testing.T) {
	for _, c := range []struct {
		kind     webhook.Kind
		i        int
		event    string // empty: the usual one
		from, to string // what is replaced in the payload
		want     string
	}{
		{webhook.GitHub, 0, "ping", "", "", "ping"},
		{webhook.GitHub, 0, "issues", "", "", `event "issues" starts no run`},
		{webhook.GitHub, 0, "", "refs/heads/main", "refs/tags/v1", `tag "v1"`},
		{webhook.GitHub, 0, "", head, none, "deleted"},
		{webhook.GitHub, 0, "", "prices up", "prices [skip ci]", "[skip ci]"},
		{webhook.GitHub, 0, "", "prices up", "prices [CI skip]", "[skip ci]"},
		{webhook.GitHub, 1, "", `"synchronize"`, `"labeled"`, `action "labeled"`},
		{webhook.Gitea, 0, "", head, none, "deleted"},
		{webhook.Gitea, 0, "", "prices up", "[ci skip]", "[skip ci]"},
		{webhook.Gitea, 1, "", `"synchronized"`, `"closed"`, `action "closed"`},
		{webhook.GitLab, 0, "Tag Push Hook", "", "", "Tag Push Hook"},
		{webhook.GitLab, 0, "", head, none, "deleted"},
		{webhook.GitLab, 0, "", "prices up", "[skip ci]", "[skip ci]"},
		{webhook.GitLab, 1, "", `, "oldrev": "` + old + `"`, "", "no new commits"},
		{webhook.GitLab, 1, "", `"update"`, `"merge"`, `action "merge"`},
		{webhook.GitLab, 1, "", "prices up", "[skip ci]", "[skip ci]"},
		{webhook.Bitbucket, 0, "repo:fork", "", "", "repo:fork"},
		{webhook.Bitbucket, 0, "", `"new": { "name": "main", "type": "branch"`, `"new": null, "x": { "name": "main", "type": "branch"`, `tag "v1"`},
		{webhook.Bitbucket, 0, "", "prices up", "[skip ci]", `tag "v1"`},
	} {
		e := events[c.kind][c.i]
		if c.event != "" {
			e[1] = c.event
		}
		text := payload(t, string(c.kind)+[]string{"-push", "-pull"}[c.i])
		if c.from != "" && !strings.Contains(text, c.from) {
			t.Errorf("%s: the payload has no %s", c.kind, c.from)
		}
		got, ignored, err := webhook.Parse(c.kind, header(e[0], e[1]), []byte(strings.ReplaceAll(text, c.from, c.to)))
		if err != nil || !strings.Contains(ignored, c.want) || got != (webhook.Event{}) {
			t.Errorf("%s %s → %s: ignored %q, error %v; want %q", c.kind, c.from, c.to, ignored, err, c.want)
		}
	}
}

func TestForksAreSeen(t *testing.T) {
	for kind, swap := range map[webhook.Kind][]string{
		webhook.GitHub:    {`"head": { "label": "example:feature", "ref": "feature", "sha": "` + head + `",`, `"user": { "login": "example" }, "repo": { "id": 186853002, "full_name": "example/shop"`},
		webhook.Gitea:     {`"repo_id": 140,`, `"repo": { "id": 140, "name": "shop", "full_name": "example/shop"`},
		webhook.GitLab:    {"", `"source_project_id": 15`},
		webhook.Bitbucket: {"", `"repository": { "type": "repository", "full_name": "example/shop", "name": "shop", "links"`},
	} {
		text := payload(t, string(kind)+"-pull")
		stranger := strings.NewReplacer("example/shop", "stranger/shop", ": 15", ": 99").Replace(swap[1])
		// The first hit is that of the head.
		from := strings.Index(text, swap[0])
		changed := text[:from] + strings.Replace(text[from:], swap[1], stranger, 1)
		if changed == text {
			t.Fatalf("%s: nothing was replaced", kind)
		}
		e := events[kind][1]
		got, _, err := webhook.Parse(kind, header(e[0], e[1]), []byte(changed))
		if err != nil || !got.Fork {
			t.Errorf("%s: fork %t, error %v", kind, got.Fork, err)
		}
	}
	gone := strings.Replace(payload(t, "github-pull"), `"repo": {`, `"repo": null, "x": {`, 1)
	if got, _, err := webhook.Parse(webhook.GitHub, header("X-Github-Event", "pull_request"), []byte(gone)); err != nil || !got.Fork {
		t.Errorf("a fork that is gone: fork %t, error %v", got.Fork, err)
	}
}

func TestUnreadablePayloadsSayWhy(t *testing.T) {
	for _, kind := range webhook.Kinds() {
		for i := range 2 {
			e := events[kind][i]
			for _, body := range []string{"", "null", "[]", "{}", "{", `{"repository": null, "push": {"changes": [null]}, "ref": null}`} {
				_, ignored, err := webhook.Parse(kind, header(e[0], e[1]), []byte(body))
				if err == nil || !strings.Contains(err.Error(), "payload") {
					t.Errorf("%s %s: %s is read: %q, %v", kind, e[1], body, ignored, err)
				}
			}
			if _, _, err := webhook.Parse(kind, header(e[0], e[1], e[0], e[1]), nil); err == nil || !strings.Contains(err.Error(), "2 times") {
				t.Errorf("%s: a doubled event: %v", kind, err)
			}
		}
	}
	form := header("X-Github-Event", "push")
	form.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, _, err := webhook.Parse(webhook.GitHub, form, nil); err == nil || !strings.Contains(err.Error(), "choose application/json") {
		t.Errorf("a form: %v", err)
	}
	two := strings.Replace(payload(t, "bitbucket-push"), `"name": "v1", "type": "tag"`, `"name": "v1", "type": "branch"`, 1)
	if _, _, err := webhook.Parse(webhook.Bitbucket, header("X-Event-Key", "repo:push"), []byte(two)); err == nil || !strings.Contains(err.Error(), "push of 2 branches") {
		t.Errorf("two branches: %v", err)
	}
}

func TestOnlyTheSecretOpens(t *testing.T) {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("body"))
	digits := hex.EncodeToString(mac.Sum(nil))
	for kind, good := range map[webhook.Kind][2]string{
		webhook.GitHub: {"X-Hub-Signature-256", "sha256=" + digits}, webhook.Bitbucket: {"X-Hub-Signature", "sha256=" + digits},
		webhook.Gitea: {"X-Gitea-Signature", digits}, webhook.GitLab: {"X-Gitlab-Token", secret},
	} {
		if err := webhook.Verify(kind, header(good[:]...), []byte("body"), secret); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := webhook.Verify(kind, header(good[:]...), []byte("Body"), secret); kind != webhook.GitLab && err == nil {
			t.Errorf("%s: another body is genuine", kind)
		}
		flipped := good[1][:len(good[1])-1] + string(good[1][len(good[1])-1]^1)
		for what, h := range map[string]http.Header{
			"none": header(), "empty": header(good[0], ""), "two": header(good[0], good[1], good[0], good[1]), "wrong": header(good[0], flipped),
			"short": header(good[0], good[1][:len(good[1])-2]), "list": header(good[0], good[1]+", "+good[1]), "sha1": header(good[0], "sha1="+digits[:40]),
		} {
			if err := webhook.Verify(kind, h, []byte("body"), secret); !errors.Is(err, webhook.ErrSignature) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %s: %v", kind, what, err)
			}
		}
		if err := webhook.Verify(kind, header(good[:]...), []byte("body"), ""); err == nil {
			t.Errorf("%s: no secret admits somebody", kind)
		}
	}
}

func FuzzParse(f *testing.F) {
	for i, kind := range webhook.Kinds() {
		f.Add(i, 0, []byte(payload(f, string(kind)+"-push")))
		f.Add(i, 1, []byte(payload(f, string(kind)+"-pull")))
	}
	f.Fuzz(func(t *testing.T, k, i int, body []byte) {
		kind := webhook.Kinds()[uint(k)%4]
		e := events[kind][uint(i)%2]
		got, ignored, err := webhook.Parse(kind, header(e[0], e[1]), body)
		if err == nil && ignored == "" && (got.Branch == "" || len(got.Commit) < 7 || got.CloneURL == "") {
			t.Errorf("half an event: %+v", got)
		}
	})
}
