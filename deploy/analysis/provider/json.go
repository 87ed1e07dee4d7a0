package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/deploy/analysis"
)

// JSON is a service that answers numbers in JSON.
type JSON struct {
	client  *http.Client
	address string
}

// NewJSON dials nobody.
func NewJSON(e Endpoint) (*JSON, error) {
	client, address, err := open(e, nil)
	return &JSON{client, address}, err
}

// Measure implements analysis.Provider: the query is a path below the address.
func (j *JSON) Measure(ctx context.Context, q analysis.Question) (value float64, found bool, err error) {
	if !strings.HasPrefix(q.Query, "/") {
		return 0, false, fmt.Errorf("%q is not the path of a URL", q.Query)
	}
	body, err := get(ctx, j.client, j.address+q.Query)
	if err != nil {
		return 0, false, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return 0, false, fmt.Errorf("the answer is no JSON: %w", err)
	}
	if d.More() {
		return 0, false, errors.New("the answer has more than one JSON value")
	}
	at, found := find(doc, q.Field)
	if !found || at == nil {
		return 0, false, nil
	}
	number, ok := at.(json.Number)
	if !ok {
		return 0, false, fmt.Errorf("%s in the answer is no number", q.Field)
	}
	value, err = number.Float64()
	return value, err == nil, err
}

// find follows a JSON pointer (RFC 6901).
func find(doc any, pointer string) (any, bool) {
	if pointer == "" {
		return doc, true
	}
	step, rest, more := strings.Cut(strings.TrimPrefix(pointer, "/"), "/")
	if more {
		rest = "/" + rest
	}
	step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	switch doc := doc.(type) {
	case map[string]any:
		if below, ok := doc[step]; ok {
			return find(below, rest)
		}
	case []any:
		if i, err := strconv.ParseUint(step, 10, 31); err == nil && int(i) < len(doc) {
			return find(doc[i], rest)
		}
	}
	return nil, false
}
