package secret_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/secret"
	"github.com/slipway-build/slipway/internal/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

const value = "correct-horse-battery"

func targets(defs ...*pipeline.Secret) func(string) (*pipeline.Targets, error) {
	return func(string) (*pipeline.Targets, error) { return &pipeline.Targets{Project: "shop", Secrets: defs}, nil }
}

func task(name string) *plan.Task {
	return &plan.Task{ID: "build/a", Build: &plan.Build{Secrets: map[string]string{"id": name}}}
}

// resolve the one secret of a task.
func resolve(t *testing.T, cfg secret.Config, def *pipeline.Secret) ([]byte, error) {
	t.Helper()
	def.Name, def.For = "s", []string{pipeline.UseBuild}
	cfg.Targets = targets(def)
	values, err := secret.New(cfg).Resolve(t.Context(), task("s"), "shop", true)
	if err != nil {
		if errors.Is(err, secret.ErrRefused) {
			t.Errorf("a value that cannot be read is no refusal: %v", err)
		}
		if strings.Contains(err.Error(), value) || !strings.Contains(err.Error(), `secret "s"`) {
			t.Errorf("the error must name the secret and not its value: %v", err)
		}
	}
	return values["s"], err
}

func write(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFile(t *testing.T) {
	pem := "-----BEGIN X-----\nabc\n-----END X-----\n"
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
		err     string
	}{
		"a line loses its break": {value + "\n", 0o600, value, ""},
		"also that of Windows":   {value + "\r\n", 0o640, value, ""},
		"several lines do not":   {pem, 0o400, pem, ""},
		"the largest":            {strings.Repeat("x", secret.MaxSize), 0o600, strings.Repeat("x", secret.MaxSize), ""},
		"too large":              {strings.Repeat("x", secret.MaxSize+1), 0o600, "", "more than 64 KiB"},
		"too short":              {"abc\n", 0o600, "", "it has 3 bytes"},
		"empty":                  {"", 0o600, "", "it has 0 bytes"},
		"open to everybody":      {value, 0o644, "", "chmod o="},
		"written by everybody":   {value, 0o602, "", "chmod o="},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(t, secret.Config{}, &pipeline.Secret{File: write(t, c.content, c.mode)})
			if string(got) != c.want {
				t.Errorf("got %q", got)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	if _, err := resolve(t, secret.Config{}, &pipeline.Secret{File: filepath.Join(t.TempDir(), "none")}); err == nil || !strings.Contains(err.Error(), "does not exist at the coordinator") {
		t.Error(err)
	}
	if _, err := resolve(t, secret.Config{}, &pipeline.Secret{File: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	cfg := secret.Config{LookupEnv: func(name string) (string, bool) { return value, name == "TOKEN" }}
	if got, err := resolve(t, cfg, &pipeline.Secret{Env: "TOKEN"}); string(got) != value || err != nil {
		t.Error(got, err)
	}
	if _, err := resolve(t, cfg, &pipeline.Secret{Env: "OTHER"}); err == nil || !strings.Contains(err.Error(), "started without OTHER") {
		t.Error(err)
	}
}

func TestKubernetes(t *testing.T) {
	namespace := kubetest.Namespace(t)
	client := kubetest.Client(t)
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stored := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "npm"}, Data: map[string][]byte{"token": []byte(value), "other": []byte("x")}}
	if _, err := client.CoreV1().Secrets(namespace).Create(ctx, stored, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cfg := secret.Config{Kubernetes: secret.Kubernetes{Kubeconfig: kubetest.Kubeconfig(t)}}
	def := func(name, key string) *pipeline.Secret {
		return &pipeline.Secret{Kubernetes: &pipeline.KubernetesSecret{Namespace: namespace, Name: name, Key: key}}
	}
	if got, err := resolve(t, cfg, def("npm", "token")); string(got) != value || err != nil {
		t.Error(got, err)
	}
	if _, err := resolve(t, cfg, def("npm", "tokens")); err == nil || !strings.Contains(err.Error(), "has no key tokens, but other, token") {
		t.Error(err)
	}
	if _, err := resolve(t, cfg, def("mpn", "token")); err == nil || !strings.Contains(err.Error(), "there is no Secret mpn in namespace "+namespace) {
		t.Error(err)
	}
	if _, err := resolve(t, secret.Config{Kubernetes: secret.Kubernetes{Kubeconfig: "/none"}}, def("npm", "token")); err == nil {
		t.Error("no kubeconfig, and no error")
	}
	if _, err := resolve(t, secret.Config{}, def("npm", "token")); err == nil || !strings.Contains(err.Error(), "does not run in a cluster") {
		t.Error(err)
	}
}

// What the platform team, or where the commit comes from, does not allow is not given.
func TestAllowed(t *testing.T) {
	ts, _ := targets(&pipeline.Secret{Name: "b", For: []string{"build"}}, &pipeline.Secret{Name: "t", For: []string{"test"}})("shop")
	for name, c := range map[string]struct {
		uses    map[string][]string
		trusted bool
		project string
		targets *pipeline.Targets
		want    string
	}{
		"none":             {nil, false, "shop", nil, ""},
		"fine":             {map[string][]string{"b": {"build"}, "t": {"test"}}, true, "shop", ts, ""},
		"a fork":           {map[string][]string{"b": {"build"}}, false, "shop", ts, "commits of forks get no secrets"},
		"no targets":       {map[string][]string{"b": {"build"}}, true, "shop", nil, "no targets.yaml"},
		"another project":  {map[string][]string{"b": {"build"}}, true, "other", ts, "no targets.yaml of project other"},
		"gone":             {map[string][]string{"x": {"build"}}, true, "shop", ts, `"x" is no longer in targets.yaml`},
		"for other things": {map[string][]string{"b": {"build", "test"}}, true, "shop", ts, `"b" is no longer for test`},
	} {
		t.Run(name, func(t *testing.T) {
			err := secret.Allowed(c.uses, c.trusted, c.project, c.targets)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, secret.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestOfTask(t *testing.T) {
	big := write(t, strings.Repeat("y", 50<<10), 0o600)
	defs := []*pipeline.Secret{
		{Name: "a", For: []string{"build"}, File: big}, {Name: "b", For: []string{"build", "test"}, File: big}, {Name: "c", For: []string{"test"}, File: big},
	}
	s := secret.New(secret.Config{Targets: targets(defs...)})
	two := &plan.Task{Test: &plan.Test{Build: plan.Build{Secrets: map[string]string{"x": "a"}}, Secret: map[string]string{"Y": "b", "Z": "b"}}}
	values, err := s.Resolve(context.Background(), two, "shop", true)
	if err != nil || len(values) != 2 {
		t.Fatal(len(values), err)
	}
	secret.Wipe(values)
	if !bytes.Equal(values["a"], make([]byte, 50<<10)) {
		t.Error("not wiped")
	}
	two.Test.Secret["C"] = "c"
	if _, err := s.Resolve(context.Background(), two, "shop", true); err == nil || !strings.Contains(err.Error(), "128 KiB together") {
		t.Error(err)
	}
	if _, err := s.Resolve(context.Background(), two, "shop", false); !errors.Is(err, secret.ErrRefused) {
		t.Error(err)
	}
}
