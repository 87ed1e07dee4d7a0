package scan

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/google/licensecheck"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/lockfiles"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

const (
	maxLicense = 256 << 10
	// licenseCover is how much of a file, in percent, must be the text of known licenses.
	licenseCover = 75
	unknown      = "unknown"
)

// licenses looks for packages under licenses that are denied: those that package-lock.json and
// composer.lock name with their license, and those that lie in the repository with a file of it.
func licenses(ctx context.Context, s *sources.Files, work runner.Scan) (found, error) {
	got := found{tool: "slipway-licenses"}
	if ok, bad := spdxexp.ValidateLicenses(work.Deny); !ok {
		return got, sources.Mistakef("deny: %s: expected SPDX ids, as GPL-3.0-only, from https://spdx.org/licenses", strings.Join(bad, ", "))
	}
	counts := map[string]int{}
	packages := 0
	for _, name := range s.Names() {
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
			denied, known := refused(p.License, work.Deny)
			if !known {
				counts[unknown]++
				continue
			}
			counts[sarif.OneLine(p.License)]++
			if denied != "" {
				line := 0
				if p.Key != "" {
					data, err := s.Read(name, sources.MaxFile)
					if err != nil {
						return got, err
					}
					line = lineNaming(name, data, p.Key, p.Version)
				}
				got.findings = append(got.findings, sarif.Finding{
					Rule: denied, Severity: sarif.High, Path: name, Line: line, Message: strings.TrimSpace(p.Name+" "+p.Version) + " is under " + p.License + ", which is denied",
					Help: "https://spdx.org/licenses/" + denied + ".html", Fingerprint: sarif.Fingerprint(denied, name, p.Name),
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
func licensedIn(s *sources.Files, name string) ([]lockfiles.Licensed, error) {
	if !isLicense(name) || s.Size(name) > maxLicense {
		return lockfiles.Licenses(s, name)
	}
	data, err := s.Read(name, maxLicense)
	if err != nil {
		return nil, err
	}
	cover := licensecheck.Scan(data)
	var ids []string
	for _, m := range cover.Match {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	p := lockfiles.Licensed{Name: path.Dir(name), License: strings.Join(slices.Compact(ids), " AND ")}
	if cover.Percent < licenseCover {
		p.License = unknown
	}
	return []lockfiles.Licensed{p}, nil
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
