package releasecheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

const root = "../.."

// check says what is wrong with a configuration of goreleaser.
func check(text []byte) error {
	c, err := config.LoadReader(bytes.NewReader(text))
	if err != nil {
		return err
	}
	if c.Version != 2 {
		return fmt.Errorf("version: %d, want 2", c.Version)
	}
	var problems []error
	walk("", reflect.ValueOf(c), &problems)
	// What else there is sends something somewhere: packages, images, messages.
	known := []string{"Version", "ProjectName", "Before", "Env", "Builds", "Archives", "Checksum", "Changelog", "Snapshot", "Release"}
	for f, v := range reflect.ValueOf(c).Fields() {
		if !v.IsZero() && !slices.Contains(known, f.Name) {
			problems = append(problems, fmt.Errorf("%s: not a part of Slipway's releases", f.Name))
		}
	}
	if !c.Release.Draft || c.Release.Disable != "" {
		problems = append(problems, errors.New("release.draft: a release must be a draft until a person publishes it"))
	}
	return errors.Join(append(problems, programs(c)...)...)
}

// walk looks at every value that is set.
func walk(path string, v reflect.Value, problems *[]error) {
	switch v.Kind() {
	case reflect.Struct:
		for f, field := range v.Fields() {
			if field.IsZero() || !f.IsExported() {
				continue
			}
			if strings.Contains(f.Tag.Get("jsonschema"), "deprecated=true") {
				*problems = append(*problems, fmt.Errorf("%s.%s is deprecated", path, f.Name))
			}
			walk(path+"."+f.Name, field, problems)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i), problems)
		}
	case reflect.String:
		if err := fill(v.String()); err != nil {
			*problems = append(*problems, fmt.Errorf("%s: %w", path, err))
		}
	}
}

// fill makes of a template what it would be in a release.
func fill(text string) error {
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"incpatch": func(v string) string { return v }}).Parse(text)
	if err != nil {
		return err
	}
	return t.Execute(io.Discard, map[string]any{
		"Version": "0.1.0", "Os": "linux", "Arch": "amd64", "CommitTimestamp": "0", "CommitDate": "2026-01-01T00:00:00Z", "ShortCommit": "0123456",
	})
}

// programs are all of Slipway's, each for the systems it is for, and say their version.
func programs(c config.Project) []error {
	var problems []error
	want := map[string][]string{
		"slipway": {"linux", "darwin"}, "slipway-coordinator": {"linux"}, "slipway-worker": {"linux"}, "slipway-deployer": {"linux"},
	}
	for _, b := range c.Builds {
		if !slices.Equal(b.Goos, want[b.Binary]) || !slices.Equal(b.Goarch, []string{"amd64", "arm64"}) {
			problems = append(problems, fmt.Errorf("builds: %s is built for %v on %v", b.Binary, b.Goos, b.Goarch))
		}
		delete(want, b.Binary)
		source, err := os.ReadFile(filepath.Join(root, b.Main, "main.go"))
		if err != nil {
			problems = append(problems, fmt.Errorf("builds: %s: %w", b.Binary, err))
			continue
		}
		_, set, ok := strings.Cut(strings.Join(b.Ldflags, " "), "-X main.")
		name, value, _ := strings.Cut(set, "=")
		if !ok || value != "{{ .Version }}" || !strings.Contains(string(source), "\nvar "+name+" = ") {
			problems = append(problems, fmt.Errorf("builds: %s: ldflags %v set no variable of %s/main.go to the version", b.Binary, b.Ldflags, b.Main))
		}
	}
	for name := range want {
		problems = append(problems, fmt.Errorf("builds: %s is missing", name))
	}
	return problems
}

func read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheRelease(t *testing.T) {
	if err := check([]byte(read(t))); err != nil {
		t.Error(err)
	}
}

func TestMistakesAreSeen(t *testing.T) {
	text := read(t)
	for _, c := range []struct{ old, change, want string }{
		{"draft: true", "draft: false", "release.draft"},
		{"formats: [tar.gz]", "format: tar.gz", "deprecated"},
		{"goos: [linux, darwin]", "gooses: [linux]", "gooses"},
		{"{{ .Os }}", "{{ .OS }}", "OS"},
		{"main.version=", "main.release=", "ldflags"},
		{"main: ./worker", "main: ./workers", "no such file"},
		{"version: 2\n", "version: 1\n", "version"},
		{"snapshot:\n", "brews: [{ name: slipway }]\nsnapshot:\n", "not a part of Slipway's releases"},
		{"  - <<: *program\n    id: slipway-deployer\n    main: ./deploy\n    binary: slipway-deployer\n    goos: [linux]\n", "", "slipway-deployer is missing"},
	} {
		wrong := strings.Replace(text, c.old, c.change, 1)
		if wrong == text {
			t.Fatalf("there is no %q to replace", c.old)
		}
		if err := check([]byte(wrong)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want something of %q", c.change, err, c.want)
		}
	}
}
