//go:build e2e

package canary_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
)

// show prints what is in $1, a file, in every form that a shell has at hand.
const show = `#!/bin/sh
echo "raw: $(cat $1)"
echo "lines:"; sed 's/^/> /' $1
echo "base64: $(base64 $1)"
echo "within: $( (printf 'ab'; cat $1; printf 'cd') | base64 | tr -d '\n')"
echo "again: $( (printf 'a'; cat $1; printf 'cd') | base64 | tr -d '\n' | tr '+/' '-_')"
echo "hex: $(od -An -v -tx1 $1 | tr -d ' \n')"
echo "url: $(sed -e 's/%/%25/g' -e 's/+/%2B/g' -e 's,/,%2F,g' -e 's/=/%3D/g' -e 's/"/%22/g' -e 's/&/%26/g' -e 's/ /+/g' $1)"
echo "json: {\"token\": \"$(sed 's/"/\\"/g' $1)\"}"
printf 'slowly: '; head -c 7 $1; sleep 0.3; tail -c +8 $1; echo
printf '%0300d' 0; cat $1; echo
cat $1 >&2
true
`

const manifest = `version: 1
project: canary
services:
  good:
    path: good
    deploy: false
    build: { secrets: { npm: { secret: token } } }
    test:
      env: { run: "printf %s \"$DB\" >/dev/shm/db && sh /show /dev/shm/db && env", env: { DB: { secret: db } } }
      fails: { run: "printf %s \"$DB\" >/dev/shm/db; sh /show /dev/shm/db; printf '<testsuite name=\"s\"><testcase name=\"%s\"><failure>%s</failure></testcase></testsuite>' \"$DB\" \"$DB\" >/dev/shm/r.xml; exit 3", env: { DB: { secret: db } } }
      stage: { target: stage }
  bad:
    path: bad
    deploy: false
    build: { secrets: [token] }
`

const good = `FROM busybox:1.36 AS base
COPY good/show /show
RUN --mount=type=secret,id=npm,required=true --mount=type=secret,id=npm,env=NPM sh /show /run/secrets/npm && test "$NPM" = "$(cat /run/secrets/npm)"
FROM base AS stage
RUN --mount=type=secret,id=npm,required=true sh /show /run/secrets/npm
FROM base
`

const bad = `FROM busybox:1.36
COPY bad/show /show
RUN --mount=type=secret,id=token,required=true sh /show /run/secrets/token; exit 5
`

// The two kinds: a token with characters that every form escapes, and a text of lines.
func values() (token, db string) {
	return "cnry+" + rand.Text() + `/="q&r ` + rand.Text(), "first-" + rand.Text() + "\nsecond/" + rand.Text() + "\n"
}

func TestCanary(t *testing.T) {
	token, db := values()
	kept := t.TempDir()
	for name, value := range map[string]string{"token": token + "\n", "db": db} {
		must(t, os.WriteFile(filepath.Join(kept, name), []byte(value), 0o600))
	}
	f := start(t, fmt.Sprintf(`version: 1
project: canary
clusters: { none: { labels: { tier: none } } }
environments: { none: { clusters: { tier: none }, namespace: none } }
secrets:
  token: { for: [build], file: %[1]s/token }
  db: { for: [test], file: %[1]s/db }
`, kept))
	sources := map[string]string{
		"slipway.yaml": manifest, "good/Dockerfile": good, "bad/Dockerfile": bad, "good/show": show, "bad/show": show,
	}
	repo := f.repository(sources)
	s := newSearch(token, strings.TrimSuffix(db, "\n"))

	stop, looks := make(chan struct{}), make(chan int)
	go func() { looks <- s.processes(f, stop) }()
	said, err := f.slipway(repo, "run")
	close(stop)
	if n := <-looks; n < 20 {
		t.Errorf("looked at the processes %d times", n)
	}
	if err == nil || !strings.Contains(said, "build/bad") {
		t.Fatalf("the run should fail at build/bad: %v\n%s", err, said)
	}
	s.in("what run says", []byte(said))
	for _, args := range []string{
		"get -o json", "get -o yaml", "get", "list -o json", "plan -o json", "plan", "lint", "logs latest", "logs latest build/good", "logs latest build/bad",
		"logs latest test/good/env", "logs latest test/good/fails", "logs latest test/good/stage",
	} {
		out, err := f.slipway(repo, strings.Fields(args)...)
		if err != nil {
			t.Errorf("slipway %s: %v\n%s", args, err, out)
		}
		s.in("what "+args+" says", []byte(out))
		if strings.HasPrefix(args, "logs ") && (!strings.Contains(out, "raw: *****") || !strings.Contains(out, "slowly: *****")) {
			t.Errorf("slipway %s: the values were not printed and masked:\n%s", args, out)
		}
	}
	out, _ := f.slipway(repo, "get", "-o", "json")
	for _, want := range []string{"test/good/fails", "test/good/stage", "TASK_STATE_FAILED", "TASK_STATE_SUCCEEDED"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	s.everything(t, f)
	if d := cmp.Diff([]string{}, s.places()); d != "" {
		for _, place := range s.places() {
			t.Log("found:", place)
		}
		t.Fatalf("places that have a secret (-want +got):\n%s", d)
	}
	control(t, f, repo, sources, token, strings.TrimSuffix(db, "\n"))
}

// control plants leaks, which the same search must find.
func control(t *testing.T, f *farm, repo string, sources map[string]string, token, db string) {
	t.Helper()
	sources["slipway.yaml"] = "version: 1\nproject: canary\nservices: { leaky: { path: leaky, deploy: false, build: { secrets: [token] } } }\n"
	sources["leaky/Dockerfile"] = "FROM busybox:1.36\nRUN --mount=type=secret,id=token base64 /run/secrets/token >/leak\n"
	f.repository(sources)
	if out, err := f.slipway(repo, "run"); err != nil {
		t.Fatalf("the leaky build: %v\n%s", err, out)
	}
	f.write("state/leak", "%s", db)
	conn, err := nats.Connect("nats://" + f.nats)
	must(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	must(t, err)
	kv, err := js.KeyValue(t.Context(), "SLIPWAY_HOMES")
	must(t, err)
	_, err = kv.Put(t.Context(), "leak", []byte(db))
	must(t, err)
	packed := s2.Encode(nil, []byte(strings.Repeat("ok\n", 1000)+db))
	for subject, header := range map[string]nats.Header{
		"logs.leak.1-1":  {"Slipway-Offset": {"0"}, "Slipway-Blocks": {fmt.Sprintf("%d/%d", len(packed), 3000+len(db))}},
		"logsahead.leak": {"Slipway-Log": {fmt.Sprintf("logs.leak.1-1 0 %d %d/%d", len(packed), len(packed), 3000+len(db))}},
	} {
		_, err = js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: header, Data: packed})
		must(t, err)
	}
	_, err = f.spans.Export(t.Context(), &collector.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{ScopeSpans: []*trace.ScopeSpans{{Spans: []*trace.Span{{Name: token}}}}}}})
	must(t, err)
	s := newSearch(token, db)
	s.everything(t, f)
	found := strings.Join(s.places(), ", ")
	for _, want := range []string{"compressed files in registry", "files in state", "stream KV_SLIPWAY_HOMES", "packed logs in stream SLIPWAY_LOGS", "packed logs in stream SLIPWAY_LOGS_AHEAD", "spans"} {
		if !strings.Contains(found, want) {
			t.Errorf("the planted leak in %s was not found; found in: %s", want, found)
		}
	}
}
