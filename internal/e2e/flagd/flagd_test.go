//go:build e2e

package flagd_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/deploy/flag"
)

const many = 20_000

// TestFlagdEvaluatesWhatIsBlended: as many have the flag as the step says, and who has it at one step has it at the next.
func TestFlagdEvaluatesWhatIsBlended(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	live, next := parse(t, "off"), parse(t, "on")
	before := strings.Repeat("0", many)
	for _, percent := range []int{1, 10, 50, 99} {
		data, err := flag.Blend(live, next, "new", "off", percent)
		if err != nil {
			t.Fatal(err)
		}
		now := evaluate(t, dir, data)
		// Four standard deviations of a fair draw of that many.
		share, p := float64(strings.Count(now, "1"))/many*100, float64(percent)/100
		if off := math.Abs(share - float64(percent)); off > 400*math.Sqrt(p*(1-p)/many) {
			t.Errorf("at %d %% the flag is on for %.2f %%", percent, share)
		}
		for i := range before {
			if before[i] == '1' && now[i] == '0' {
				t.Fatalf("user-%d had the flag before the step to %d %%, and has it no more", i, percent)
			}
		}
		t.Logf("at %d %% the flag is on for %.2f %%", percent, share)
		before = now
	}
	if all := evaluate(t, dir, []byte(file("on"))); all != strings.Repeat("1", many) {
		t.Error("in the end not all have the flag")
	}
}

func file(variant string) string {
	return fmt.Sprintf(`{"flags": {"new": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": %q}}}`, variant)
}

func parse(t *testing.T, variant string) flag.File {
	t.Helper()
	f, err := flag.Parse([]byte(file(variant)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func evaluate(t *testing.T, dir string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, "flags.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(run(t, dir, "node", "evaluate.mjs", path, "new", fmt.Sprint(many)))
}

func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var text []byte
		if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // of Output
			text = e.Stderr
		}
		t.Fatalf("%s %v: %v\n%s", program, args, err, text)
	}
	return string(out)
}
