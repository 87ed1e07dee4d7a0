package condition_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/slipway-build/slipway/internal/condition"
)

const deployment = `
kind: Deployment
metadata: { name: api, labels: { app.kubernetes.io/name: api } }
spec:
  replicas: 2
  template:
    spec:
      containers:
        - { name: api, image: "r/api@sha256:aa", resources: { limits: { memory: 1Gi } } }
        - { name: proxy, image: "envoy:1", resources: { } }
`

func language(t *testing.T) *condition.Language {
	t.Helper()
	l, err := condition.New([]string{"object"}, []string{"environment"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestConditions(t *testing.T) {
	var object map[string]any
	if err := yaml.Unmarshal([]byte(deployment), &object); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"object": object, "environment": "prod"}
	for text, want := range map[string]string{ // "": it holds; else the field, and after a space what the error says
		`object.spec.replicas >= 2`:                                                   "",
		`object.spec.replicas >= 3`:                                                   "spec.replicas",
		`3 <= object.spec.replicas`:                                                   "spec.replicas",
		`environment != "prod" || object.spec.replicas > 2`:                           "spec.replicas",
		`object.kind == "Deployment" && has(object.spec.paused)`:                      "spec.paused",
		`object.spec.template.spec.containers.all(c, has(c.resources.limits))`:        "spec.template.spec.containers[1].resources.limits",
		`object.spec.template.spec.containers.all(c, c.image.contains("@sha256:"))`:   "spec.template.spec.containers[1].image",
		`object.spec.template.spec.containers.all(c, has(c.image) && has(c.probe))`:   "spec.template.spec.containers[0].probe",
		`object.spec.template.spec.containers.exists(c, c.name == "x")`:               "spec.template.spec.containers",
		`object.metadata.labels["app.kubernetes.io/name"] == "web"`:                   `metadata.labels["app.kubernetes.io/name"]`,
		`object.metadata.labels.all(k, !k.startsWith("app."))`:                        `metadata.labels["app.kubernetes.io/name"]`,
		`!has(object.spec.replicas)`:                                                  "spec.replicas",
		`object.spec.template.spec.hostNetwork == false`:                              "spec.template.spec.hostNetwork no such key: hostNetwork",
		`object.?spec.?template.?spec.?hostNetwork.orValue(false) == false`:           "",
		`object.?spec.?replicas.orValue(1) == 1`:                                      "spec.replicas",
		`object.spec.replicas`:                                                        "spec.replicas neither true nor false",
		`object.spec.template.spec.containers.all(c, c.?resources.limits.hasValue())`: "spec.template.spec.containers[1].resources.limits",
		`environment == "dev"`:                                                        "",
	} {
		c, err := language(t).Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		field, message, _ := strings.Cut(want, " ")
		holds, err := c.Holds(t.Context(), values)
		if text == `environment == "dev"` {
			if holds || err != nil || c.Field(t.Context(), "object", values) != "" {
				t.Errorf("%s: %t, %v: it is about no field", text, holds, err)
			}
			continue
		}
		if holds != (want == "") || (err != nil) != (message != "") || err != nil && !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %t, %v; want %q", text, holds, err, want)
		}
		if got := c.Field(t.Context(), "object", values); want != "" && got != field {
			t.Errorf("%s is about %q, want %q", text, got, field)
		}
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`object.spec.replicas >`:       "line 1, column 23",
		`objekt.spec`:                  "undeclared reference to 'objekt'",
		`environment + 1 == 2`:         "no matching overload",
		`"text"`:                       "it is string, and neither true nor false",
		``:                             "line 1",
		strings.Repeat("1 + ", 2000):   "it has 8000 bytes; at most 4096",
		strings.Repeat("(", 200) + "1": "recursion limit exceeded: 50",
	} {
		if _, err := language(t).Compile(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: error %v, want %q", text, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	list := make([]any, 2000)
	c, err := language(t).Compile("object.all(a, object.all(b, object.all(c, a == b || a != c)))")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"object": list, "environment": ""}
	if _, err := c.Holds(t.Context(), values); !errors.Is(err, condition.ErrLimit) || !strings.Contains(err.Error(), "costs more than 100000") {
		t.Errorf("what costs too much: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Holds(over, values); !errors.Is(err, condition.ErrLimit) || !strings.Contains(err.Error(), "its time is over") {
		t.Errorf("when the time is over: %v", err)
	}
}
