package command_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/slipway/command"
)

var update = flag.Bool("update", false, "write docs/cli.md again")

// env is a process in a folder of its own.
func env(t *testing.T, args ...string) (command.Env, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	var out, errs bytes.Buffer
	return command.Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: t.TempDir(), Home: t.TempDir(),
		Size: func() (int, int) { return 0, 0 }, Environ: os.Environ(), Version: command.Version{Version: "1.2.3", Go: "go1"},
		Farm: func(context.Context, command.FarmConfig, func()) error { return errors.New("no farm in this test") },
	}, &out, &errs
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "slipway 1.2.3"},
		{[]string{"--help"}, 0, "Exit codes:"},
		{[]string{"frobnicate"}, 2, "unknown command"},
		{[]string{"run", "--frob"}, 2, "unknown flag: --frob; see slipway run --help"},
		{[]string{"run", "extra"}, 2, `slipway run takes no argument, and got "extra"`},
		{[]string{"cancel"}, 2, "slipway cancel takes RUN, and got nothing"},
		{[]string{"list", "-o", "xml"}, 2, "expected table, json, yaml"},
		{[]string{"run", "--ref", "a", "--dirty"}, 2, "[dirty ref]"},
		{[]string{"run"}, 2, "not inside a git repository; go to a repository, or name one with --repo"},
		{[]string{"run", "--repo", "/nonexistent"}, 2, "no such folder"},
		{[]string{"run", "--repo", "https://example.com/x", "--dirty"}, 2, "is an address"},
		{[]string{"run", "--repo", "https://example.com/x"}, 2, "slipway up"},
		{[]string{"list"}, 2, "no farm: start one on this machine"},
		{[]string{"up", "--context", "x"}, 2, "expected CLUSTER=CONTEXT"},
		{[]string{"up", "--targets", "missing.yaml"}, 2, "missing.yaml: no such file"},
		{[]string{"up"}, 2, "no farm in this test"},
		{[]string{"down"}, 0, "no farm runs"},
		{[]string{"images", "bootstrap"}, 2, "start one with slipway up"},
		{[]string{"logs", "--attempt", "2", "x"}, 2, ""},
	} {
		e, out, errs := env(t, c.args...)
		code := command.Execute(t.Context(), e)
		if code != c.code || !strings.Contains(out.String()+errs.String(), c.want) {
			t.Errorf("%v: code %d, want %d; %s%s; want %q", c.args, code, c.code, out, errs, c.want)
		}
	}
}

func TestCoordinatorIsNotThere(t *testing.T) {
	e, _, errs := env(t, "list")
	e.Addr, e.Token = "127.0.0.1:1", "x"
	if code := command.Execute(t.Context(), e); code != 3 || !strings.Contains(errs.String(), "coordinator 127.0.0.1:1: nothing listens there") {
		t.Errorf("code %d: %s", code, errs)
	}
	e, _, errs = env(t, "list")
	e.Addr = "127.0.0.1:1"
	if code := command.Execute(t.Context(), e); code != 2 || !strings.Contains(errs.String(), "set both") {
		t.Errorf("code %d: %s", code, errs)
	}
	// A token is never sent to another farm than its own.
	if err := clientfile.Write(filepath.Join(e.Home, ".local/state/slipway"), clientfile.File{Address: "127.0.0.1:2", Token: "secret"}); err != nil {
		t.Fatal(err)
	}
	if code := command.Execute(t.Context(), e); code != 2 || !strings.Contains(errs.String(), "set SLIPWAY_TOKEN as well") || strings.Contains(errs.String(), "secret") {
		t.Errorf("code %d: %s", code, errs)
	}
}

func TestDashboard(t *testing.T) {
	e, out, errs := env(t, "dashboard")
	if code := command.Execute(t.Context(), e); code != 2 || !strings.Contains(errs.String(), "start a farm with slipway up") {
		t.Errorf("no farm: code %d: %s", code, errs)
	}
	state := filepath.Join(e.Home, ".local/state/slipway")
	for _, web := range []string{"", "http://127.0.0.1:7421"} {
		if err := clientfile.Write(state, clientfile.File{Address: "127.0.0.1:2", Token: "a+b", Web: web}); err != nil {
			t.Fatal(err)
		}
		errs.Reset()
		code := command.Execute(t.Context(), e)
		if web == "" && (code != 2 || !strings.Contains(errs.String(), "start it again with this version")) {
			t.Errorf("an older farm: code %d: %s", code, errs)
		}
		if web != "" && (code != 0 || out.String() != "http://127.0.0.1:7421/login#a%2Bb\n") {
			t.Errorf("code %d: %s%s", code, out, errs)
		}
	}
}

func TestLint(t *testing.T) {
	e, out, errs := env(t, "lint")
	if code := command.Execute(t.Context(), e); code != 2 || !strings.Contains(errs.String(), "there is no slipway.yaml here") {
		t.Errorf("nothing: code %d: %s", code, errs)
	}
	file := filepath.Join(e.Dir, "slipway.yaml")
	write(t, file, "version: 1\nproject: shop\nservices:\n  web: { path: services/web, pth: x }\n")
	write(t, filepath.Join(e.Dir, "services/api/service.yaml"), "path: services/api\nownr: me\n")
	out.Reset()
	if code := command.Execute(t.Context(), e); code != 1 {
		t.Errorf("mistakes: code %d", code)
	}
	for _, want := range []string{"slipway.yaml:4:", "services/api/service.yaml:2:1:", `did you mean "owner"?`, "    2 | ownr: me\n      | ^"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("colors where none belong: %q", out)
	}

	deep := filepath.Join(e.Dir, "services", "api")
	e.Dir = deep
	out.Reset()
	if code := command.Execute(t.Context(), e); code != 1 || !strings.Contains(out.String(), "../../services/api/service.yaml:2:1:") {
		t.Errorf("from a folder below: code %d\n%s", code, out)
	}
	e.Args, e.Color = []string{"lint", file, "-o", "json"}, true
	out.Reset()
	if code := command.Execute(t.Context(), e); code != 1 || !strings.Contains(out.String(), `"line": 2`) || strings.Contains(out.String(), "\x1b") {
		t.Errorf("json: code %d\n%s", code, out)
	}
	write(t, file, "version: 1\nproject: shop\nservices:\n  web: { path: services/web }\n")
	write(t, filepath.Join(deep, "service.yaml"), "path: services/api\n")
	out.Reset()
	errs.Reset()
	e.Args = []string{"lint"}
	if code := command.Execute(t.Context(), e); code != 0 || out.Len() > 0 || !strings.Contains(errs.String(), "no mistakes") {
		t.Errorf("right: code %d\n%s%s", code, out, errs)
	}
	targets := filepath.Join(deep, "targets.yaml")
	write(t, targets, "version: 1\nclustrs: {}\n")
	e.Args = []string{"lint", targets}
	if code := command.Execute(t.Context(), e); code != 1 || !strings.Contains(out.String(), "targets.yaml:2:1:") {
		t.Errorf("targets: code %d\n%s", code, out)
	}
}

// The farm runs in the foreground of this process; down would signal this process, so
// only its refusals are tried here.
func TestUpHoldsTheStateFolder(t *testing.T) {
	e, _, errs := env(t, "up", "--context", "dev=kind-dev", "--context", "prod=kind-prod", "--traces", "127.0.0.1:4317")
	state := filepath.Join(e.Home, ".local/state/slipway")
	ctx, stop := context.WithCancel(t.Context())
	e.Farm = func(ctx context.Context, c command.FarmConfig, ready func()) error {
		if diff := cmp.Diff(command.FarmConfig{State: state, Contexts: map[string]string{"dev": "kind-dev", "prod": "kind-prod"}, Traces: "127.0.0.1:4317", LogLevel: "warn", LogFormat: "text"}, c); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := clientfile.Write(state, clientfile.File{Address: "127.0.0.1:1", Token: "t"}); err != nil {
			t.Error(err)
		}
		ready()
		second, _, errs := env(t, "up", "--state", state)
		if code := command.Execute(ctx, second); code != 2 || !strings.Contains(errs.String(), "slipway down stops it") {
			t.Errorf("a second farm: code %d: %s", code, errs)
		}
		stop()
		<-ctx.Done()
		return ctx.Err()
	}
	if code := command.Execute(ctx, e); code != 0 {
		t.Errorf("code %d: %s", code, errs)
	}
	if _, err := clientfile.Read(state); !errors.Is(err, clientfile.ErrNone) {
		t.Errorf("client.yaml after the farm stopped: %v", err)
	}
	down, _, errs := env(t, "down", "--state", state)
	if code := command.Execute(t.Context(), down); code != 0 || !strings.Contains(errs.String(), "no farm runs") {
		t.Errorf("down: code %d: %s", code, errs)
	}
}

func TestDocs(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "cli.md")
	got := command.Docs()
	if *update {
		write(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/cli.md is not what the program says; run with -update (-want +got):\n%s", diff)
	}
}
