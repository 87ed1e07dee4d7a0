package flag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"sigs.k8s.io/yaml"
)

// Why a flag cannot be moved in steps.
var (
	ErrNoFlag  = errors.New("has no such flag")
	errNoFile  = errors.New("is no flag file")
	errTargets = errors.New("does not give one variant to all: steps are from one variant for all to another")
)

// File is a flag file.
type File struct {
	all   map[string]any // as it was read
	flags map[string]any // of all
}

// Parse reads a flag file, { "flags": { name: { … } } }, in JSON or YAML.
func Parse(data []byte) (File, error) {
	var f File
	if !json.Valid(data) {
		text, err := yaml.YAMLToJSON(data)
		if err != nil {
			return File{}, fmt.Errorf("%w: %w", errNoFile, err)
		}
		data = text
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&f.all); err != nil {
		return File{}, fmt.Errorf("%w: %w", errNoFile, err)
	}
	f.flags, _ = f.all["flags"].(map[string]any)
	if f.flags == nil {
		return File{}, fmt.Errorf(`%w: it has no "flags"`, errNoFile)
	}
	return f, nil
}

// Has reports whether the file has a flag.
func (f File) Has(name string) bool {
	_, ok := f.flags[name].(map[string]any)
	return ok
}

// Variant is the one that everybody gets. A flag that is turned off is an error: whoever asks gets what is in the code.
func (f File) Variant(name string) (string, error) {
	def, ok := f.flags[name].(map[string]any)
	if !ok {
		return "", fmt.Errorf("flag %s: the file %w", name, ErrNoFlag)
	}
	variants, _ := def["variants"].(map[string]any)
	variant, _ := def["defaultVariant"].(string)
	if entries := entriesOf(def); entries != nil {
		variant = entries.whole()
	} else if targeting, ok := def["targeting"].(map[string]any); ok && len(targeting) > 0 {
		variant = ""
	}
	if _, ok := variants[variant]; !ok || def["state"] == "DISABLED" {
		return "", fmt.Errorf("flag %s %w", name, errTargets)
	}
	return variant, nil
}

// Share is the percentage that a variant has where a flag is on its way; 0: it is not.
func (f File) Share(name, variant string) int {
	def, _ := f.flags[name].(map[string]any)
	for _, e := range entriesOf(def) {
		if e.variant == variant {
			return int(math.Round(e.weight))
		}
	}
	return 0
}

// Blend is next with a flag on its way: percent of the evaluations give the variant that next gives everybody, and the others the
// variant before. live, which may be empty, is where variants come from that next does not have any more. Who is among the percent stays among them as it grows.
func Blend(live, next File, name, before string, percent int) ([]byte, error) {
	then, err := next.Variant(name)
	if err != nil {
		return nil, err
	}
	def := maps.Clone(next.flags[name].(map[string]any)) //nolint:forcetypeassert // it has a variant
	variants, _ := def["variants"].(map[string]any)
	variants = maps.Clone(variants)
	if _, ok := variants[before]; !ok {
		old, _ := live.flags[name].(map[string]any)
		held, _ := old["variants"].(map[string]any)
		value, ok := held[before]
		if !ok {
			return nil, fmt.Errorf("flag %s has no variant %q any more: %w", name, before, ErrNoFlag)
		}
		variants[before] = value
	}
	shares := []any{[]any{then, percent}, []any{before, 100 - percent}}
	if targeting, ok := def["targeting"].(map[string]any); ok {
		if list, ok := targeting["fractional"].([]any); ok && len(list) > 0 {
			if _, entry := list[0].([]any); !entry {
				shares = slices.Insert(shares, 0, list[0]) // by what evaluations are told apart
			}
		}
	}
	def["state"], def["defaultVariant"], def["variants"], def["targeting"] = "ENABLED", before, variants, map[string]any{"fractional": shares}
	all, flags := maps.Clone(next.all), maps.Clone(next.flags)
	flags[name] = def
	all["flags"] = flags
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(all); err != nil {
		return nil, fmt.Errorf("encode flag %s: %w", name, err)
	}
	return out.Bytes(), nil
}

type entry struct {
	variant string
	weight  float64
}

type entries []entry

// entriesOf are the shares of a flag whose targeting is nothing else; nil: it is something else.
func entriesOf(def map[string]any) entries {
	targeting, _ := def["targeting"].(map[string]any)
	list, ok := targeting["fractional"].([]any)
	if !ok || len(targeting) != 1 {
		return nil
	}
	out := entries{}
	for i, item := range list {
		pair, ok := item.([]any)
		if !ok && i == 0 {
			continue
		}
		if len(pair) == 0 {
			return nil
		}
		e := entry{weight: 1}
		if e.variant, ok = pair[0].(string); !ok {
			return nil
		}
		if len(pair) > 1 {
			n, ok := pair[1].(json.Number)
			if !ok {
				return nil
			}
			w, err := n.Float64()
			if err != nil {
				return nil
			}
			e.weight = w
		}
		out = append(out, e)
	}
	return out
}

// whole is the variant that has all; empty: none has.
func (e entries) whole() string {
	found := ""
	for _, one := range e {
		switch {
		case one.weight <= 0 || one.variant == found:
		case found != "":
			return ""
		default:
			found = one.variant
		}
	}
	return found
}
