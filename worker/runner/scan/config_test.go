package scan_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/scan"
)

const deployment = `apiVersion: v1
kind: Service
metadata: {name: api}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
spec:
  template:
    spec:
      hostNetwork: true
      containers:
        - name: api
          image: api
          ports:
            - containerPort: 80
              hostPort: 8080
        - name: sidecar
          image: sidecar
          securityContext:
            privileged: true
            capabilities:
              add: [SYS_ADMIN]
      volumes:
        - name: docker
          hostPath: {path: /var/run}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
          containers:
            - name: job
              image: job
              securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

func TestManifests(t *testing.T) {
	s := &store{}
	files := map[string]string{
		"deploy/api.yaml":                       deployment,
		"deploy/pod.json":                       "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n {\"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"hostPID\": true,\n  \"containers\": [{\"name\": \"c\", \"image\": \"c\"}]}}]}",
		"deploy/chart/Chart.yaml":               "name: chart\n",
		"deploy/chart/templates/deployment.yml": "kind: {{ .Values.kind }}\n",
		"deploy/broken.yaml":                    "a: [\n",
		"deploy/overlays/kustomization.yaml":    "resources: [../api.yaml]\n",
		"deploy/overlays/patch.yaml":            "kind: Deployment\nmetadata: {name: api}\nspec: {template: {spec: {containers: [{name: api, securityContext: {privileged: false}}]}}}\n",
		"deploy/odd.yaml":                       "kind: Pod\nspec: {containers: yes}\n",
		"deploy/readme.md":                      "kind: Pod\n",
	}
	work := runner.Scan{Using: runner.UsingConfig, Manifests: "deploy"}
	got := run(t, s, plant(t, files), work)
	baseline := []string{
		"high deploy/api.yaml:12 hostNamespaces",
		"high deploy/api.yaml:18 hostPorts",
		"high deploy/api.yaml:22 privileged",
		"high deploy/api.yaml:24 capabilities_baseline",
		"high deploy/api.yaml:27 hostPathVolumes",
		"high deploy/pod.json:2 hostNamespaces",
	}
	same(t, got.places(), baseline...)
	contains(t, got.log, "high deploy/api.yaml:22 privileged: Deployment api: privileged (container \"sidecar\" must not set securityContext.privileged=true)",
		"judged 4 pods below deploy by the level baseline", "1 template of Helm charts", "deploy/broken.yaml: not looked at, as it is no YAML", "deploy/odd.yaml:1: Pod")
	moved := files
	moved["deploy/api.yaml"] = "# a comment\n" + deployment
	if again := run(t, s, plant(t, moved), work); again.fingerprint(t, "privileged") != got.fingerprint(t, "privileged") || again.places()[0] != "high deploy/api.yaml:13 hostNamespaces" {
		t.Errorf("after a line was added: %v", again.places())
	}

	work.Level = runner.LevelRestricted
	delete(files, "deploy/pod.json")
	files["deploy/api.yaml"] = deployment
	got = run(t, s, plant(t, files), work)
	var medium []string
	for _, p := range got.places() {
		if strings.HasPrefix(p, "medium") {
			medium = append(medium, p)
		}
	}
	same(t, medium,
		"medium deploy/api.yaml:14 allowPrivilegeEscalation",
		"medium deploy/api.yaml:14 capabilities_restricted",
		"medium deploy/api.yaml:14 runAsNonRoot",
		"medium deploy/api.yaml:14 seccompProfile_restricted",
		"medium deploy/api.yaml:19 allowPrivilegeEscalation",
		"medium deploy/api.yaml:19 runAsNonRoot",
		"medium deploy/api.yaml:19 seccompProfile_restricted",
	)
}

// TestNothing: where there is nothing to judge, nobody is told that nothing was found.
func TestNothing(t *testing.T) {
	dir := plant(t, map[string]string{"deploy/readme.md": "x"})
	for _, c := range []struct {
		work runner.Scan
		want string
	}{
		{runner.Scan{}, "there is nothing to look at"},
		{runner.Scan{Manifests: "deploy"}, "deploy holds no manifests: expected *.yaml, *.yml or *.json"},
		{runner.Scan{Manifests: "gone"}, "gone holds no manifests"},
		{runner.Scan{Dockerfile: "gone"}, "dockerfile: read gone: "},
		{runner.Scan{Manifests: "deploy", Level: "strict"}, `level: "strict" is not supported: use baseline or restricted`},
	} {
		c.work.Using = runner.UsingConfig
		o := scan.New(&store{}, nil).Run(t.Context(), runner.Task{ID: "t", Workspace: dir, Work: c.work}, &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Failed, runner.ClassUser)
		contains(t, o.Message, c.want)
	}
}

// TestAnchors: a file that names itself, or is a million objects by its anchors, is looked at for a moment only.
func TestAnchors(t *testing.T) {
	bomb := "kind: List\nitems:\n- &a {kind: Pod, spec: {containers: []}}\n"
	for _, c := range []string{"ab", "bc", "cd", "de"} {
		bomb += "- &" + c[1:] + " {kind: List, items: [" + strings.TrimSuffix(strings.Repeat("*"+c[:1]+", ", 40), ", ") + "]}\n"
	}
	got := run(t, &store{}, plant(t, map[string]string{"d/self.yaml": "&x\nkind: List\nitems: [*x, *x, *x]\n", "d/bomb.yaml": bomb}), runner.Scan{Using: runner.UsingConfig, Manifests: "d"})
	contains(t, got.log, "d/bomb.yaml: only the first 5000 objects were looked at")
}

const dockerfileText = `FROM golang:1.26 AS build
ARG GITHUB_TOKEN
WORKDIR src
RUN go build -o /api ./...

FROM debian:13 as last
MAINTAINER me
COPY --from=build /api /api
ENTRYPOINT /api
`

func TestDockerfile(t *testing.T) {
	s := &store{}
	work := runner.Scan{Using: runner.UsingConfig, Dockerfile: "api/Dockerfile"}
	at := func(text string) result { return run(t, s, plant(t, map[string]string{"api/Dockerfile": text}), work) }
	got := at(dockerfileText)
	same(t, got.places(),
		"high api/Dockerfile:2 SecretsUsedInArgOrEnv",
		"low api/Dockerfile:3 WorkdirRelativePath",
		"low api/Dockerfile:6 FromAsCasing",
		"medium api/Dockerfile:6 root-user",
		"low api/Dockerfile:7 MaintainerDeprecated",
		"low api/Dockerfile:9 JSONArgsRecommended",
	)
	contains(t, got.log, "root-user: the last stage sets no USER")
	if moved := at("# syntax=docker/dockerfile:1\n\n" + dockerfileText); moved.fingerprint(t, "MaintainerDeprecated") != got.fingerprint(t, "MaintainerDeprecated") {
		t.Error("a finding has another fingerprint when its line moved")
	}
	for text, want := range map[string][]string{
		"FROM scratch\nUSER app\n":                                       nil,
		"FROM scratch\nUSER 0:0\n":                                       {"medium api/Dockerfile:2 root-user"},
		"FROM scratch\nUSER app\nUSER root\n":                            {"medium api/Dockerfile:3 root-user"},
		"FROM scratch AS base\nUSER app\nFROM base\nCOPY x /\n":          nil,
		"FROM scratch AS base\nUSER app\nFROM scratch\nCOPY x /\n":       {"medium api/Dockerfile:3 root-user"},
		"FROM gcr.io/distroless/static:nonroot\nCOPY x /\n":              nil,
		"ARG BASE\nFROM ${BASE} AS a\nUSER app\n":                        {"low api/Dockerfile:2 InvalidDefaultArgInFrom"},
		"FROM --platform=$BUILDPLATFORM golang AS b\nFROM b\nUSER 65532": nil,
	} {
		same(t, at(text).places(), want...)
	}
	o := scan.New(s, nil).Run(t.Context(), runner.Task{ID: "scan/api/x", Workspace: plant(t, map[string]string{"api/Dockerfile": "FROM scratch\nWHAT x\n"}), Work: work}, &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Failed, runner.ClassUser)
	contains(t, o.Message, "api/Dockerfile:2: ", "WHAT")
}

// TestADockerfileThatGrows is not handed to rules that would put its variables in: a few lines would take all memory.
func TestADockerfileThatGrows(t *testing.T) {
	for name, lines := range map[string]string{
		"with =":    "ENV A=xxxxxxxxxxxxxxxx\n" + strings.Repeat("ENV A=$A${A}\n", 40),
		"without":   "ENV A xxxxxxxxxxxxxxxx\n" + strings.Repeat("ENV A $A$A\n", 40),
		"arguments": "ARG A=xxxxxxxxxxxxxxxx B=x\n" + strings.Repeat("ARG B=$A$A$B A=$B$B\n", 40),
		"one line":  "ENV A=" + strings.Repeat("x", 5000) + "\nRUN echo " + strings.Repeat("$A", 5000) + "\n",
	} {
		dir := plant(t, map[string]string{"api/Dockerfile": "FROM scratch\n" + lines + "USER 1\n"})
		got := run(t, &store{}, dir, runner.Scan{Name: "config", Using: runner.UsingConfig, Paths: []string{"api"}, Dockerfile: "api/Dockerfile"})
		contains(t, got.log, "api/Dockerfile: BuildKit's rules were not applied: its ARG and ENV make more than 4 MiB of text")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	dir := plant(t, map[string]string{"api/Dockerfile": "FROM scratch\nENV PATH=/a:$PATH HOME=/h\nENV PATH=$HOME/b:$PATH\nUSER 1\n"})
	if got := run(t, &store{}, dir, runner.Scan{Name: "config", Using: runner.UsingConfig, Paths: []string{"api"}, Dockerfile: "api/Dockerfile"}); strings.Contains(got.log, "not applied") {
		t.Errorf("an ordinary one: %s", got.log)
	}
}
