package server_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/githost/githosttest"
	"github.com/slipway-build/slipway/coordinator/webhook"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const hookSecret = "what host and farm both know"

// What the payloads in coordinator/webhook/testdata name.
const (
	sampleURL    = "https://git.example.com/example/shop"
	sampleHead   = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
	sampleBefore = "9049f1265b7d61be4a8904a9a27120d2064dab3b"
)

// addHooks gives a farm that listens for webhooks one of each kind.
func (f *farm) addHooks(cfg *config.Config) {
	if f.http == "" {
		return
	}
	cfg.HTTP = f.http
	for _, kind := range webhook.Kinds() {
		w := config.Webhook{Name: "shop-" + string(kind), Kind: string(kind), Secret: hookSecret, Repositories: []string{"https://git.example.com/other", f.url()}}
		if h := f.hosts[kind]; h != nil {
			w.Check = config.Check{API: h.API, Token: githosttest.Token}
			cfg.PublicURL = dashboard + "/"
		}
		if w.Poll = f.poll; f.silent {
			if w.Secret = ""; f.hosts[kind] == nil {
				continue
			}
			w.Repositories = []string{f.url()}
		}
		w.Forks = f.forks && kind.PullRef(1) != ""
		cfg.Webhooks = append(cfg.Webhooks, w)
	}
}

// startHooked starts a farm that listens for webhooks, with a branch "feature" beside main, on a
// repository that it fetches over HTTPS.
func startHooked(t *testing.T, files ...string) *farm {
	t.Helper()
	f := start(t)
	f.stop()
	owner := filepath.Dir(f.repo)
	server, certificate := gitServer(t, filepath.Dir(owner))
	f.remote, f.trusts = server+"/"+filepath.Base(owner)+"/"+filepath.Base(f.repo), certificate
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.http = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(files); i += 2 {
		write(t, f.repo, files[i], files[i+1])
	}
	write(t, f.repo, "services/api/news", "1")
	git(t, f.repo, "add", "-A")
	git(t, f.repo, "commit", "-q", "-m", "second")
	git(t, f.repo, "branch", "feature")
	f.serve(t)
	return f
}

// serve runs the coordinator, and waits until webhooks are answered.
func (f *farm) serve(t *testing.T) {
	t.Helper()
	f.run(t)
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.http); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nobody listens for webhooks")
		}
	}
}

// name is what a host calls the repository: the end of its address.
func (f *farm) name() string {
	dir, base := filepath.Split(f.url())
	return filepath.Base(dir) + "/" + base
}

// delivery is a request that a host makes.
type delivery struct {
	kind   webhook.Kind
	method string
	path   string
	header http.Header
	body   string
}

// genuine is the delivery of a push or pull request of the repository's own head.
func (f *farm) genuine(t *testing.T, kind webhook.Kind, what string, edits ...string) delivery {
	t.Helper()
	data, err := os.ReadFile("../webhook/testdata/" + string(kind) + "-" + what + ".json")
	if err != nil {
		t.Fatal(err)
	}
	head, before := git(t, f.repo, "rev-parse", "main"), git(t, f.repo, "rev-parse", "main~1")
	body := strings.NewReplacer(edits...).Replace(string(data))
	body = strings.NewReplacer(`"example/shop"`, `"`+f.name()+`"`, sampleURL+".git", f.url(), sampleURL, f.url(), sampleHead, head, sampleHead[:12], head[:12], sampleBefore, before).Replace(body)
	event := map[webhook.Kind]map[string]string{
		webhook.GitHub: {"push": "push", "pull": "pull_request"}, webhook.Gitea: {"push": "push", "pull": "pull_request_sync"},
		webhook.GitLab: {"push": "Push Hook", "pull": "Merge Request Hook"}, webhook.Bitbucket: {"push": "repo:push", "pull": "pullrequest:updated"},
	}[kind][what]
	name := map[webhook.Kind]string{webhook.GitHub: "X-GitHub-Event", webhook.Gitea: "X-Gitea-Event", webhook.GitLab: "X-Gitlab-Event", webhook.Bitbucket: "X-Event-Key"}[kind]
	d := delivery{kind: kind, method: http.MethodPost, path: "/webhooks/shop-" + string(kind), header: http.Header{"Content-Type": {"application/json"}}, body: body}
	d.header.Set(name, event)
	return d.signed()
}

func (d delivery) signed() delivery {
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte(d.body))
	digits := hex.EncodeToString(mac.Sum(nil))
	d.header = d.header.Clone()
	switch d.kind {
	case webhook.GitHub:
		d.header.Set("X-Hub-Signature-256", "sha256="+digits)
	case webhook.Bitbucket:
		d.header.Set("X-Hub-Signature", "sha256="+digits)
	case webhook.Gitea:
		d.header.Set("X-Gitea-Signature", digits)
	case webhook.GitLab:
		d.header.Set("X-Gitlab-Token", hookSecret)
	}
	return d
}

type hookAnswer struct {
	code     int
	Run      string
	Replayed bool
	Ignored  string
	Error    string
}

func (f *farm) deliver(t *testing.T, d delivery) hookAnswer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), d.method, "http://"+f.http+d.path, bytes.NewReader([]byte(d.body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = d.header
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	resp, err := c.Do(req)
	if err != nil {
		t.Error(err)
		return hookAnswer{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	a := hookAnswer{code: resp.StatusCode}
	if err := json.Unmarshal(text, &a); err != nil {
		t.Errorf("answer %d %s: %v", a.code, text, err)
	}
	return a
}

func (f *farm) tasks(t *testing.T, id string) string {
	t.Helper()
	return f.tasksOf(t, id, git(t, f.repo, "rev-parse", "main"))
}

// tasksOf answers the tasks of a run, which must be of the commit.
func (f *farm) tasksOf(t *testing.T, id, commit string) string {
	t.Helper()
	g, err := f.runs.Get(t.Context(), &pb.GetRequest{Run: id})
	if err != nil {
		t.Fatal(err)
	}
	if g.GetRun().GetCommit() != commit {
		t.Errorf("run %s is of commit %s, want %s", id, g.GetRun().GetCommit(), commit)
	}
	return states(g.GetRun())
}

func (f *farm) count(t *testing.T) int {
	t.Helper()
	l, err := f.runs.List(t.Context(), &pb.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return len(l.GetRuns())
}

func TestDeliveriesOfOneEventAreOneRun(t *testing.T) {
	f := startHooked(t)
	begun := map[string]string{} // kind and event → run
	for _, kind := range webhook.Kinds() {
		for _, what := range []string{"push", "pull"} {
			d, answers := f.genuine(t, kind, what), make([]hookAnswer, 4)
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() { answers[i] = f.deliver(t, d) })
			}
			wg.Wait()
			first := 0
			for _, a := range slices.Concat(answers, []hookAnswer{f.deliver(t, d)}) {
				if a.code != http.StatusAccepted || a.Run == "" || a.Run != answers[0].Run {
					t.Errorf("%s %s: %+v, want run %s", kind, what, a, answers[0].Run)
				}
				if !a.Replayed {
					first++
				}
			}
			if first != 1 {
				t.Errorf("%s %s: %d deliveries say they began the run", kind, what, first)
			}
			got := f.tasks(t, answers[0].Run)
			if deploys := strings.Contains(got, "apply/api@prod/one"); deploys != (what == "push") || !strings.Contains(got, "test/api/unit") {
				t.Errorf("%s %s: tasks\n%s", kind, what, got)
			}
			begun[string(kind)+" "+what] = answers[0].Run
		}
	}
	f.stop()
	f.serve(t)
	for _, kind := range webhook.Kinds() {
		for _, what := range []string{"push", "pull"} {
			want := begun[string(kind)+" "+what]
			if a := f.deliver(t, f.genuine(t, kind, what)); a.Run != want || !a.Replayed {
				t.Errorf("%s %s after a restart: %+v, want run %s", kind, what, a, want)
			}
		}
	}
	if n := f.count(t); n != len(begun) {
		t.Errorf("%d runs, want %d", n, len(begun))
	}
}

func TestDeliveriesThatAreRefused(t *testing.T) {
	f := startHooked(t)
	for _, kind := range webhook.Kinds() {
		name := map[webhook.Kind]string{webhook.GitHub: "X-Hub-Signature-256", webhook.Bitbucket: "X-Hub-Signature", webhook.Gitea: "X-Gitea-Signature", webhook.GitLab: "X-Gitlab-Token"}[kind]
		for _, c := range []struct {
			what  string
			edits []string
			then  func(*delivery)
			code  int
			says  string
		}{
			{"unknown name", nil, func(d *delivery) { d.path = "/webhooks/nobody" }, 404, "no such webhook"},
			{"GET", nil, func(d *delivery) { d.method, d.body = http.MethodGet, "" }, 405, "POST"},
			{"wrong signature", nil, func(d *delivery) { d.header.Set(name, strings.Repeat("0", len(d.header.Get(name)))) }, 401, name},
			{"doubled signature", nil, func(d *delivery) { d.header.Add(name, d.header.Get(name)) }, 401, "2 times"},
			{"no signature", nil, func(d *delivery) { d.header.Del(name) }, 401, "missing"},
			{"10 MB", nil, func(d *delivery) { d.header.Set("Expect", "100-continue"); d.body = strings.Repeat(" ", 10<<20) }, 413, "1048576"},
			{"null fields", nil, func(d *delivery) {
				d.body = `{"ref": null, "repository": null, "push": null, "pullrequest": null}`
				*d = d.signed()
			}, 400, "payload has no"},
			{"no JSON", nil, func(d *delivery) { d.body = "payload=%7B%7D"; *d = d.signed() }, 400, "cannot be read"},
			{"another repository", []string{sampleURL, "https://git.example.com/stranger"}, nil, 403, "https://git.example.com/stranger"},
			{"another name", []string{`"example/shop"`, `"stranger/shop"`}, nil, 403, `"stranger/shop"`},
			{"deletion", []string{sampleHead, strings.Repeat("0", 40), `"new": { "name": "main"`, `"new": null, "x": { "name": "main"`}, nil, 200, "ignored"},
		} {
			d := f.genuine(t, kind, "push", c.edits...)
			if c.then != nil {
				c.then(&d)
			}
			a := f.deliver(t, d)
			if a.code != c.code || a.Run != "" || !strings.Contains(a.Error, c.says) && (c.says != "ignored" || a.Ignored == "") {
				t.Errorf("%s: %s: %+v", kind, c.what, a)
			}
		}
		fork := f.genuine(t, kind, "pull", `"source_project_id": 15`, `"source_project_id": 16`, `"repo": { "id"`, `"repo": null, "x": { "id"`,
			"\n      \"repository\": {", "\n      \"repository\": null, \"x\": {")
		if a := f.deliver(t, fork); a.code != 200 || !strings.Contains(a.Ignored, "does not say forks: true") {
			t.Errorf("%s: fork: %+v", kind, a)
		}
	}
	if n := f.count(t); n != 0 {
		t.Errorf("%d runs were begun", n)
	}
}

func TestPathsDecideWhetherAnEventCounts(t *testing.T) {
	f := startHooked(t, "slipway.yaml", pipelineFile+`
triggers:
  push: { paths_ignore: [docs, README.md], run: [build] }
  pull_request: { paths: [services], run: [build] }
`)
	change := func(file string) {
		write(t, f.repo, file, git(t, f.repo, "rev-parse", "HEAD"))
		git(t, f.repo, "add", "-A")
		git(t, f.repo, "commit", "-q", "-m", file)
	}
	for _, c := range []struct {
		file       string
		push, pull bool
	}{{"docs/a/b.md", false, false}, {"README.md", false, false}, {"docs.txt", true, false}, {"services/api/x", true, true}} {
		git(t, f.repo, "branch", "-f", "base")
		change(c.file)
		for what, want := range map[string]bool{"push": c.push, "pull": c.pull} {
			// The samples ask to merge into main, which the commit is on: so into the one before.
			a := f.deliver(t, f.genuine(t, webhook.GitHub, what, `"ref": "main"`, `"ref": "base"`))
			if got := a.Run != ""; got != want || !want && !strings.Contains(a.Ignored, "nothing has changed that triggers.") {
				t.Errorf("%s of %s: %+v", what, c.file, a)
			}
		}
	}
}

func TestTriggersDecideHowFarAnEventGoes(t *testing.T) {
	f := startHooked(t, "slipway.yaml", pipelineFile+`
triggers:
  push: { branches: [main, "release/*"], run: [build] }
  pull_request: { branches: [main], run: [build, test, release] }
`)
	got := f.tasks(t, f.deliver(t, f.genuine(t, webhook.GitHub, "push")).Run)
	if !strings.Contains(got, "build/api") || strings.Contains(got, "test/") || strings.Contains(got, "apply/") {
		t.Errorf("a push of main:\n%s", got)
	}
	got = f.tasks(t, f.deliver(t, f.genuine(t, webhook.GitHub, "pull")).Run)
	if !strings.Contains(got, "test/api/unit") || strings.Contains(got, "apply/") || strings.Contains(got, "release") {
		t.Errorf("a pull request, which asks for a release:\n%s", got)
	}
	for what, d := range map[string]delivery{
		"push":         f.genuine(t, webhook.GitHub, "push", "refs/heads/main", "refs/heads/feature"),
		"pull_request": f.genuine(t, webhook.GitHub, "pull", `"ref": "main"`, `"ref": "old"`),
	} {
		if a := f.deliver(t, d); a.code != 200 || !strings.Contains(a.Ignored, "triggers."+what) {
			t.Errorf("%s of a branch that triggers do not have: %+v", what, a)
		}
	}
	moved := f.genuine(t, webhook.Bitbucket, "pull", sampleHead[:12], "0123456789ab")
	if a := f.deliver(t, moved); a.code != 200 || !strings.Contains(a.Ignored, "has moved on") {
		t.Errorf("a branch that moved on: %+v", a)
	}
	git(t, f.repo, "rm", "-q", "slipway.yaml")
	git(t, f.repo, "commit", "-q", "-m", "third")
	if a := f.deliver(t, f.genuine(t, webhook.Gitea, "push")); a.code != 422 || !strings.Contains(a.Error, "has no slipway.yaml") {
		t.Errorf("a commit without slipway.yaml: %+v", a)
	}
}
