package render

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"
)

// TestWordsMeanWhatKubernetesReads: what is read and written again is to kubectl what it was.
func TestWordsMeanWhatKubernetesReads(t *testing.T) {
	const text = `apiVersion: v1
kind: X
metadata: { name: a, annotations: { date: 2026-01-01, stamp: 2026-01-01T10:00:00Z, quoted: "yes", tagged: !!str on } }
words: [y, Y, yes, Yes, YES, yEs, on, n, no, No, off, OFF, oN, true, True, ~, null, "no", 'off']
numbers: [0644, 0o644, 0x1F, 1_000, 1e3, 1e+21, 1.0, 1.10, 1:30, 9223372036854775807, -1, .5]
on: a
no: b
merged: &m { x: yes }
again: { <<: *m, y: 2 }
text: |
  yes

  2026-01-01
`
	objects, err := documents("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	written, err := encode(objects)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(asJSON(t, []byte(text)), asJSON(t, written)); diff != "" {
		t.Errorf("kubectl reads other things in what was written (-before +after):\n%s", diff)
	}
}

func asJSON(t *testing.T, text []byte) any {
	t.Helper()
	data, err := sigsyaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
