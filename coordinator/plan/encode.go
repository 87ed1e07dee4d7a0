package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Encode writes the canonical form: JSON with sorted map keys and no escaping of HTML.
// Equal plans have equal bytes.
func Encode(p Plan) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return b.Bytes(), nil
}

// Decode reads what Encode wrote. It refuses another version and unknown fields:
// a plan that this program does not fully understand must not be run.
func Decode(data []byte) (Plan, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var p Plan
	if err := d.Decode(&p); err != nil {
		return Plan{}, fmt.Errorf("decode plan: %w", err)
	}
	if p.Version != Version {
		return Plan{}, fmt.Errorf("decode plan: version %d, want %d", p.Version, Version)
	}
	return p, nil
}

// Hash is "sha256:…" over the canonical form.
func Hash(p Plan) (string, error) {
	b, err := Encode(p)
	if err != nil {
		return "", err
	}
	return Sum(b), nil
}

// Sum is the digest by which blobs are named: "sha256:" and 64 hex digits.
func Sum(data []byte) string {
	s := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(s[:])
}

// Find returns the task or rollback template with that id.
func (p *Plan) Find(id string) (*Task, bool) {
	for _, list := range [][]Task{p.Tasks, p.Rollbacks} {
		for i := range list {
			if list[i].ID == id {
				return &list[i], true
			}
		}
	}
	return nil, false
}
