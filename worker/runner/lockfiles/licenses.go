package lockfiles

import (
	"cmp"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/worker/runner/sources"
)

// Licensed is a package, and the license that it says it is under.
type Licensed struct {
	Name, Version string
	License       string // an SPDX expression, or what is written instead of one
	Key           string // by which the lock file names it; empty: there is none
}

// Licenses are the packages of a lock file that says licenses, which package-lock.json and
// composer.lock do; none of any other file.
func Licenses(s *sources.Files, name string) ([]Licensed, error) {
	read := npm
	switch base := path.Base(name); {
	case base == "composer.lock":
		read = composer
	case base == "npm-shrinkwrap.json" || base == "package-lock.json" && !strings.Contains("/"+name, "/node_modules/"):
	default:
		return nil, nil
	}
	data, err := s.Read(name, sources.MaxFile)
	if err != nil {
		return nil, err
	}
	return read(data)
}

// license is written as a text, as {"type": text}, or as a list of either, of which one may be chosen.
type license string

func (l *license) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if text := choice(v); len(text) <= maxLicense { // a longer one is unknown: who reads expressions does so by recursion
		*l = license(text)
	}
	return nil
}

// maxLicense is how long the expression of a package's license may be, in bytes.
const maxLicense = 1000

func choice(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		return choice(v["type"])
	case []any:
		var all []string
		for _, one := range v {
			if s := choice(one); s != "" {
				all = append(all, s)
			}
		}
		if len(all) > 1 {
			return "(" + strings.Join(all, ") OR (") + ")"
		}
		return strings.Join(all, "")
	}
	return ""
}

func npm(data []byte) (out []Licensed, err error) {
	var doc struct {
		Packages map[string]struct {
			Name, Version string
			License       license
			Link          bool
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(doc.Packages)) {
		p := doc.Packages[key]
		i := strings.LastIndex(key, "node_modules/")
		if i < 0 || p.Link { // the repository's own
			continue
		}
		full := cmp.Or(p.Name, key[i+len("node_modules/"):])
		out = append(out, Licensed{Name: full, Version: p.Version, License: string(p.License), Key: key})
	}
	return out, nil
}

func composer(data []byte) (out []Licensed, err error) {
	var doc struct {
		Packages, Dev []struct {
			Name, Version string
			License       license
		}
	}
	if err := json.Unmarshal([]byte(strings.Replace(string(data), `"packages-dev":`, `"dev":`, 1)), &doc); err != nil {
		return nil, err
	}
	for _, p := range append(doc.Packages, doc.Dev...) {
		out = append(out, Licensed{Name: p.Name, Version: p.Version, License: string(p.License), Key: p.Name})
	}
	return out, nil
}
