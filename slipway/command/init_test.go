package command_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/slipway/command"
	"github.com/slipway-build/slipway/slipway/doctor"
)

// TestInitReadsBake from the repository, and from standard input; with a mistake it writes nothing.
func TestInitReadsBake(t *testing.T) {
	const dockerfile = "FROM scratch\nCOPY x /\n"
	for _, c := range []struct {
		name, file, stdin string
		args              []string
		code              int
		says, has         string
	}{
		{name: "HCL", file: `target "api" { tags = ["x"] }`, says: "docker-bake.hcl:1:16: tags is left out (api)", has: "  api:\n"},
		{name: "the environment", file: `variable "OF" {}` + "\n" + `target "api" { args = { OF = OF } }`, says: "the variable OF has the value of the environment", has: `args: { OF: "there" }`},
		{name: "a mistake", file: "target \"api\" {\n  target = upper(X)\n}", code: 1, says: "docker-bake.hcl:2:18: There is no variable named \"X\"\n    2 |   target = upper(X)\n"},
		{name: "a function", file: "target \"api\" {\n  target = timestamp()\n}", code: 1, says: "docker buildx bake --print | slipway init --bake -"},
		{name: "none", file: "target \"api\" {\n  target = upper(X)\n}", args: []string{"--bake", "none"}, says: "docker-bake.hcl was not read", has: "  shop:\n"},
		{name: "printed", file: "nonsense", stdin: `{"group": {"default": {"targets": ["web"]}}, "target": {"web": {"context": ".", "dockerfile": "Dockerfile"}}}`, args: []string{"--bake", "-"}, says: "wrote slipway.yaml", has: "  web:\n    # it is the target web of stdin\n"},
		{name: "not there", args: []string{"--bake", "missing.hcl"}, code: 2, says: "read what bake builds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, out, errs := env(t, append([]string{"init"}, c.args...)...)
			e.Dir = filepath.Join(e.Dir, "shop")
			e.Stdin, e.Environ = strings.NewReader(c.stdin), []string{"OF=there"}
			e.Contexts = func(context.Context, string, bool) ([]doctor.Context, error) { return nil, nil }
			write(t, filepath.Join(e.Dir, "Dockerfile"), dockerfile)
			write(t, filepath.Join(e.Dir, "x"), "")
			if c.file != "" {
				write(t, filepath.Join(e.Dir, "docker-bake.hcl"), c.file)
			}
			if code := command.Execute(t.Context(), e); code != c.code || !strings.Contains(out.String()+errs.String(), c.says) {
				t.Errorf("code %d, want %d, with %q:\n%s%s", code, c.code, c.says, out, errs)
			}
			text, err := os.ReadFile(filepath.Join(e.Dir, "slipway.yaml"))
			if (err == nil) != (c.code == 0) || !strings.Contains(string(text), c.has) {
				t.Errorf("slipway.yaml: %v, want %q in\n%s", err, c.has, text)
			}
		})
	}
}
