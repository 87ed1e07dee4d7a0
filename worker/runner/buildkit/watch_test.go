package buildkit_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/mask"
)

// said is a report whose log is looked at.
type said struct{ bytes.Buffer }

func (*said) Started()                    {}
func (*said) Progress(...runner.Progress) {}

// TestOutputsThatInterleaveAreMasked: what one output says in two pieces is a secret too when the other one
// speaks between them, and nothing of it may show.
func TestOutputsThatInterleaveAreMasked(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	var log said
	w := buildkit.NewWatch(&log, mask.New([]byte(secret)))
	step := w.Begin("print", "exec")
	for _, piece := range []struct {
		to   interface{ Write(p []byte) (int, error) }
		text string
	}{
		{step, "slowly: correct-"}, {step.Stderr(), secret + "\n"}, {step, "horse-battery-staple\n"},
		{step.Stderr(), "correct-horse-"}, {step, "done\n"}, {step.Stderr(), "battery-staple"},
	} {
		if _, err := piece.to.Write([]byte(piece.text)); err != nil {
			t.Fatal(err)
		}
	}
	output := string(step.End(""))
	for what, text := range map[string]string{"log": log.String(), "output": output} {
		for _, part := range []string{"correct", "horse", "battery", "staple"} {
			if strings.Contains(text, part) {
				t.Errorf("the %s has %q of the secret:\n%s", what, part, text)
			}
		}
		if strings.Count(text, "*****") != 3 || !strings.Contains(text, "slowly: *****") || !strings.Contains(text, "done") {
			t.Errorf("the %s, where three secrets are masked:\n%s", what, text)
		}
	}
}
