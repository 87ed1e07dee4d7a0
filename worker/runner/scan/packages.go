package scan

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/extractor"

	"github.com/slipway-build/slipway/internal/advisories"
	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/lockfiles"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

// Rules of ours, beside the ids of advisories.
const (
	ruleUnreadable = "unreadable-lock-file"
	ruleUncertain  = "version-cannot-be-compared"
)

// keptDatabases is how many are held: one, and the next while tasks change over to it.
const keptDatabases = 2

type database struct {
	digest string
	*advisories.Database
}

// database opens the blob with this digest, once.
func (r *Runner) database(ctx context.Context, digest string) (*advisories.Database, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.databases {
		if d.digest == digest {
			return d.Database, nil
		}
	}
	data, err := r.store.GetBlob(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("read the advisories %s: %w", digest, err)
	}
	db, err := advisories.Open(data)
	if err != nil {
		return nil, sources.Mistakef("%v (%s)", err, digest)
	}
	r.databases = append([]database{{digest, db}}, r.databases[:min(len(r.databases), keptDatabases-1)]...)
	return db, nil
}

// packages looks up what lock files name.
func (r *Runner) packages(ctx context.Context, s *sources.Files, work runner.Scan) (found, error) {
	got := found{tool: "slipway-packages"}
	if work.Advisories == "" {
		return got, sources.Mistakef("there are no advisories to compare packages with: pack and upload some")
	}
	db, err := r.database(ctx, work.Advisories)
	if err != nil {
		return got, err
	}
	got.note("%d advisories, the newest of %s", db.Len(), db.Newest())
	var files, packages, loose int
	err = lockfiles.Each(ctx, s, func(f lockfiles.File) {
		files++
		if f.Err != nil {
			got.findings = append(got.findings, sarif.Finding{
				Rule: ruleUnreadable, Severity: sarif.Medium, Path: f.Path, Message: fmt.Sprintf("it cannot be read, so its packages were not looked up: %v", f.Err), Fingerprint: sarif.Fingerprint(ruleUnreadable, f.Path),
			})
		}
		for _, p := range f.Packages {
			if !lockfiles.Pinned(p) {
				loose++
				continue
			}
			packages++
			got.findings = append(got.findings, vulnerable(db, f.Path, f.Data, p)...)
		}
	})
	if err != nil {
		return got, err
	}
	got.note("looked up %s of %s", count(packages, "package"), count(files, "lock file"))
	if loose > 0 {
		got.note("%s not looked up: a requirement without == says no version", count(loose, "package"))
	}
	return got, nil
}

// vulnerable are the findings of one package. The same package with the same advisory is the same
// finding in whatever version.
func vulnerable(db *advisories.Database, name string, data []byte, p *extractor.Package) []sarif.Finding {
	ecosystem := p.Ecosystem().String()
	all, err := db.Find(ecosystem, p.Name, p.Version)
	if len(all) == 0 && err == nil {
		return nil
	}
	at, line := place(name, data, p)
	var out []sarif.Finding
	for _, a := range all {
		names := a.ID
		if i := slices.IndexFunc(a.Aliases, func(s string) bool { return strings.HasPrefix(s, "CVE-") }); i >= 0 {
			names += " (" + a.Aliases[i] + ")"
		} else if len(a.Aliases) > 0 {
			names += " (" + a.Aliases[0] + ")"
		}
		text := fmt.Sprintf("%s %s has %s", p.Name, p.Version, names)
		if a.Summary != "" {
			text += ": " + a.Summary
		}
		fixed := "; no fixed version is known"
		if a.Fixed != "" {
			fixed = "; fixed in " + a.Fixed
		}
		f := sarif.Finding{Rule: a.ID, Severity: a.Severity, Path: at, Line: line, Message: text + fixed, Fingerprint: sarif.Fingerprint(a.ID, name, ecosystem, p.Name)}
		if len(text+fixed) > sarif.MaxMessage {
			f.Message = strings.ToValidUTF8(text[:max(0, sarif.MaxMessage-len(fixed)-len("…"))], "") + "…" + fixed
		}
		if regexp.MustCompile(`^[A-Za-z0-9:._-]+$`).MatchString(a.ID) {
			f.Help = "https://osv.dev/vulnerability/" + a.ID
		}
		out = append(out, f)
	}
	if err != nil {
		out = append(out, sarif.Finding{
			Rule: ruleUncertain, Severity: sarif.Low, Path: at, Line: line, Fingerprint: sarif.Fingerprint(ruleUncertain, name, ecosystem, p.Name),
			Message: fmt.Sprintf("there are advisories for it, but whether they are about it cannot be told: %v", errors.Join(err)),
		})
	}
	return out
}

// place is the file and line where a package is named.
func place(name string, data []byte, p *extractor.Package) (string, int) {
	if d := p.Location.Descriptor; d != nil && d.File != nil && d.File.LineNumber > 0 && d.File.Path != "" {
		return d.File.Path, d.File.LineNumber
	}
	return name, lineNaming(name, data, p.Name, p.Version)
}

// lineNaming finds the line that names a package: one that has its version on it or soon after,
// else the first; 0: none does.
func lineNaming(file string, data []byte, name, version string) int {
	keys := []string{`"` + name + `"`, "/" + name + `"`} // JSON, node_modules of package-lock.json
	if path.Ext(file) != ".json" && path.Base(file) != "composer.lock" && path.Base(file) != "Pipfile.lock" {
		keys = []string{name}
	}
	lines := strings.Split(string(data), "\n")
	first := 0
	for i, l := range lines {
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(l, k) }) {
			continue
		}
		if first == 0 {
			first = i + 1
		}
		if near := strings.Join(lines[i:min(i+4, len(lines))], "\n"); version != "" && strings.Contains(near, version) {
			return i + 1
		}
	}
	return first
}
