//go:build e2e

package rendering_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/render"
)

// kind of what came of an input.
type kind string

const (
	equal   kind = "equal"
	refused kind = "refused by both"
	differs kind = "differs"

	// What differs on purpose.
	random     kind = "random"
	empty      kind = "empty"
	incomplete kind = "incomplete"
	remote     kind = "remote"
	hooks      kind = "hooks"
)

// reasons are those of docs/rendering.md, word for word.
func reasons() map[kind]string {
	return map[kind]string{
		random:     "A template that draws random values, makes a certificate or reads the time is different each time",
		empty:      "What has no objects is refused",
		incomplete: "An object without apiVersion, kind or name is refused",
		remote:     "What refers to something that is not in the repository is refused",
		hooks:      "Hooks of other events, and of events before and after, are left out",
	}
}

type verdict struct {
	kind    kind
	detail  string
	objects int
}

func compareAll(t *testing.T, inputs []input, atLeast int, expected []kind, compare func(t *testing.T, in input) verdict) {
	t.Helper()
	if len(inputs) < atLeast {
		t.Fatalf("only %d inputs were found, want at least %d", len(inputs), atLeast)
	}
	verdicts := make([]verdict, len(inputs))
	t.Run("each", func(t *testing.T) {
		for i, in := range inputs {
			t.Run(in.name, func(t *testing.T) {
				t.Parallel()
				verdicts[i] = compare(t, in)
				if v := verdicts[i]; v.kind == differs {
					t.Error(v.detail)
				}
			})
		}
	})
	count, objects := map[kind]int{}, 0
	for _, v := range verdicts {
		count[v.kind]++
		objects += v.objects
	}
	t.Logf("%d inputs, %d objects: %v", len(inputs), objects, count)
	for _, k := range append(expected, equal) {
		if count[k] == 0 {
			t.Errorf("no input is %q any more: has the test gone blind, or docs/rendering.md out of date?", k)
		}
	}
}

// TestDifferencesAreInTheDocs: whoever reads the page knows of them all.
func TestDifferencesAreInTheDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "rendering.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range slices.Sorted(maps.Keys(reasons())) {
		if !strings.Contains(string(page), reasons()[k]) {
			t.Errorf("docs/rendering.md does not say: %s", reasons()[k])
		}
	}
}

// compare runs the command in dir, and Slipway: first what Slipway makes of the libraries' output is left away, and bytes are
// compared; then what Slipway would write is compared object by object.
func compare(t *testing.T, dir string, work runner.Render, command string, args ...string) verdict {
	t.Helper()
	theirs, refusal := says(t, dir, command, args...)
	ours, err := render.Upstream(t.Context(), dir, release, work)
	if refusal != nil && err != nil {
		_, err = render.Render(t.Context(), dir, release, work, render.Registries{}) // which alone a run carries out
	}
	switch {
	case refusal != nil && err != nil && strings.Contains(err.Error(), "only what is in the repository is rendered"):
		return verdict{kind: remote}
	case refusal != nil && err != nil:
		t.Logf("%s: %v\nSlipway: %v", command, refusal, err)
		return verdict{kind: refused}
	case refusal != nil:
		return verdict{kind: differs, detail: command + " refuses it, Slipway does not: " + refusal.Error()}
	case err != nil:
		return verdict{kind: differs, detail: "Slipway refuses it, " + command + " does not: " + err.Error()}
	case !bytes.Equal(theirs, ours):
		again, _ := says(t, dir, command, args...)
		if alike(theirs, again, ours) {
			return verdict{kind: random}
		}
		return verdict{kind: differs, detail: cmp.Diff(string(theirs), string(ours))}
	}
	return whole(t, dir, work, objects(t, theirs))
}

func whole(t *testing.T, dir string, work runner.Render, want found) verdict {
	t.Helper()
	out, err := render.Render(t.Context(), dir, release, work, render.Registries{})
	switch {
	case want.incomplete && err != nil && strings.Contains(err.Error(), "every Kubernetes object needs"):
		return verdict{kind: incomplete}
	case len(want.objects) == 0 && err != nil && strings.Contains(err.Error(), "no Kubernetes objects were rendered"):
		return verdict{kind: empty}
	case err != nil:
		return verdict{kind: differs, detail: "Slipway refuses the objects: " + err.Error()}
	}
	if diff := cmp.Diff(want.objects, objects(t, out.YAML).objects); diff != "" {
		return verdict{kind: differs, detail: "other objects:\n" + diff}
	}
	if want.hooks > 0 {
		return verdict{kind: hooks, objects: len(want.objects)}
	}
	return verdict{kind: equal, objects: len(want.objects)}
}

// alike says whether ours is theirs but for lines that are different each time they are made.
func alike(theirs, again, ours []byte) bool {
	a, b, c := strings.Split(string(theirs), "\n"), strings.Split(string(again), "\n"), strings.Split(string(ours), "\n")
	if len(a) != len(b) || len(a) != len(c) || bytes.Equal(theirs, again) {
		return false
	}
	for i := range a {
		if a[i] == b[i] && a[i] != c[i] {
			return false
		}
	}
	return true
}
