package scan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/google/licensecheck"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
)

const (
	maxLicense = 256 << 10
	// licenseCover is how much of a file, in percent, must be the text of known licenses.
	licenseCover = 75
	unknown      = "unknown"
)

// licensed is a package, and the license that it says it is under.
type licensed struct {
	name, version, license string // an SPDX expression, or what is written instead of one
	path                   string
	key                    string // by which a lock file names it; empty: it has a file of its own
}

// licenses looks for packages under licenses that are denied: those that package-lock.json and
// composer.lock name with their license, and those that lie in the repository with a file of it.
func licenses(ctx context.Context, s *sources, work runner.Scan) (found, error) {
	got := found{tool: "slipway-licenses"}
	if ok, bad := spdxexp.ValidateLicenses(work.Deny); !ok {
		return got, &userError{fmt.Sprintf("deny: %s: expected SPDX ids, as GPL-3.0-only, from https://spdx.org/licenses", strings.Join(bad, ", "))}
	}
	counts := map[string]int{}
	packages := 0
	for _, name := range s.names {
		if ctx.Err() != nil {
			return got, context.Cause(ctx)
		}
		all, err := licensedIn(s, name)
		if err != nil {
			got.findings = append(got.findings, sarif.Finding{
				Rule: ruleUnreadable, Severity: sarif.Medium, Path: name, Message: fmt.Sprintf("it cannot be read, so the licenses in it are not known: %v", err), Fingerprint: sarif.Fingerprint(ruleUnreadable, name),
			})
		}
		for _, p := range all {
			packages++
			denied, known := refused(p.license, work.Deny)
			if !known {
				counts[unknown]++
				continue
			}
			counts[sarif.OneLine(p.license)]++
			if denied != "" {
				line := 0
				if p.key != "" {
					data, err := s.read(p.path, maxFile)
					if err != nil {
						return got, err
					}
					line = lineNaming(p.path, data, p.key, p.version)
				}
				got.findings = append(got.findings, sarif.Finding{
					Rule: denied, Severity: sarif.High, Path: p.path, Line: line, Message: strings.TrimSpace(p.name+" "+p.version) + " is under " + p.license + ", which is denied",
					Help: "https://spdx.org/licenses/" + denied + ".html", Fingerprint: sarif.Fingerprint(denied, p.path, p.name),
				})
			}
		}
	}
	got.note("%s with a license or a place for one", count(packages, "package"))
	for _, l := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) }) {
		got.note("%6d %s", counts[l], l)
	}
	return got, nil
}

// licensedIn are the packages that a file says a license of.
func licensedIn(s *sources, name string) ([]licensed, error) {
	base := path.Base(name)
	switch {
	case strings.Contains("/"+name, "/node_modules/") && base == "package-lock.json":
		return nil, nil
	case base == "package-lock.json" || base == "npm-shrinkwrap.json" || base == "composer.lock":
		data, err := s.read(name, maxFile)
		if err != nil {
			return nil, err
		}
		if base == "composer.lock" {
			return composer(name, data)
		}
		return npm(name, data)
	case isLicense(name) && s.sizes[name] <= maxLicense:
		data, err := s.read(name, maxLicense)
		if err != nil {
			return nil, err
		}
		cover := licensecheck.Scan(data)
		var ids []string
		for _, m := range cover.Match {
			ids = append(ids, m.ID)
		}
		slices.Sort(ids)
		p := licensed{name: path.Dir(name), license: strings.Join(slices.Compact(ids), " AND "), path: name}
		if cover.Percent < licenseCover {
			p.license = unknown
		}
		return []licensed{p}, nil
	}
	return nil, nil
}

// isLicense says whether a file is the license of a package of others that lies in the repository.
func isLicense(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(path.Base(name)), ".")
	stem = strings.ReplaceAll(stem, "CENCE", "CENSE") // as it is written in England
	if !slices.Contains([]string{"LICENSE", "COPYING", "UNLICENSE"}, stem) || !slices.Contains([]string{"", ".txt", ".md"}, strings.ToLower(path.Ext(name))) {
		return false
	}
	folders := strings.Split(path.Dir(name), "/")
	return slices.ContainsFunc(folders, func(d string) bool {
		return slices.Contains([]string{"vendor", "node_modules", "third_party", "third-party"}, d)
	})
}

// license is written as a text, as {"type": text}, or as a list of either, of which one may be chosen.
type license string

func (l *license) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*l = license(choice(v))
	return nil
}

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

func npm(name string, data []byte) (out []licensed, err error) {
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
		out = append(out, licensed{name: full, version: p.Version, license: string(p.License), path: name, key: key})
	}
	return out, nil
}

func composer(name string, data []byte) (out []licensed, err error) {
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
		out = append(out, licensed{name: p.Name, version: p.Version, license: string(p.License), path: name, key: p.Name})
	}
	return out, nil
}

// refused is the license by which an expression is denied, if no choice that it leaves is allowed;
// known is false where it is no expression of SPDX.
func refused(expression string, deny []string) (denied string, known bool) {
	all, err := spdxexp.ExtractLicenses(expression)
	if err != nil || len(all) == 0 {
		return "", false
	}
	slices.Sort(all)
	var allowed []string
	for _, l := range all {
		if slices.ContainsFunc(deny, func(d string) bool { return covers(d, l) }) {
			denied = cmp.Or(denied, l)
		} else {
			allowed = append(allowed, l)
		}
	}
	if denied == "" {
		return "", true
	}
	if len(allowed) > 0 {
		if ok, err := spdxexp.Satisfies(expression, allowed); err == nil && ok {
			return "", true
		}
	}
	id, _, _ := strings.Cut(denied, " ")
	return id, true
}

// covers says whether a denied id means a license: GPL-3.0 means GPL-3.0-only and GPL-3.0-or-later,
// each of which means itself.
func covers(deny, license string) bool {
	license, _, _ = strings.Cut(license, " ") // what is excepted does not make it another
	family := func(s string) string {
		return strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(s, "+"), "-or-later"), "-only")
	}
	later := func(s string) bool { return strings.HasSuffix(s, "+") || strings.HasSuffix(s, "-or-later") }
	if !strings.EqualFold(family(deny), family(license)) {
		return false
	}
	return deny == family(deny) || later(deny) == later(license)
}
