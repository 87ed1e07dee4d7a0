package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/gomod"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradlelockfile"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/pomxml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagelockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/pnpmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/yarnlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/php/composerlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pdmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pipfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/poetrylock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/requirements"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/uvlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargolock"
	"github.com/google/osv-scalibr/extractor/filesystem/simplefileapi"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"

	"github.com/slipway-build/slipway/internal/advisories"
	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner"
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
		return nil, &userError{fmt.Sprintf("%v (%s)", err, digest)}
	}
	r.databases = append([]database{{digest, db}}, r.databases[:min(len(r.databases), keptDatabases-1)]...)
	return db, nil
}

// packages looks up what lock files name.
func (r *Runner) packages(ctx context.Context, s *sources, work runner.Scan) (found, error) {
	got := found{tool: "slipway-packages"}
	if work.Advisories == "" {
		return got, &userError{"there are no advisories to compare packages with: pack and upload some"}
	}
	db, err := r.database(ctx, work.Advisories)
	if err != nil {
		return got, err
	}
	got.note("%d advisories, the newest of %s", db.Len(), db.Newest())
	readers, err := extractors()
	if err != nil {
		return got, err
	}
	var files, packages, loose int
	for _, name := range s.names {
		i := slices.IndexFunc(readers, func(e filesystem.Extractor) bool {
			return e.FileRequired(simplefileapi.New(name, fileInfo{name, s.sizes[name]}))
		})
		if i < 0 {
			continue
		}
		if ctx.Err() != nil {
			return got, context.Cause(ctx)
		}
		files++
		data, all, err := lock(ctx, s, name, readers[i])
		if err != nil {
			got.findings = append(got.findings, sarif.Finding{
				Rule: ruleUnreadable, Severity: sarif.Medium, Path: name, Message: fmt.Sprintf("it cannot be read, so its packages were not looked up: %v", err), Fingerprint: sarif.Fingerprint(ruleUnreadable, name),
			})
			continue
		}
		for _, p := range all {
			if !pinned(p) {
				loose++
				continue
			}
			packages++
			got.findings = append(got.findings, vulnerable(db, name, data, p)...)
		}
	}
	got.note("looked up %s of %s", count(packages, "package"), count(files, "lock file"))
	if loose > 0 {
		got.note("%s not looked up: a requirement without == says no version", count(loose, "package"))
	}
	return got, nil
}

// lock reads the packages of one lock file, in a fixed order.
func lock(ctx context.Context, s *sources, name string, e filesystem.Extractor) (data []byte, out []*extractor.Package, err error) {
	defer func() { // what strangers wrote goes through much code of others
		if p := recover(); p != nil {
			err = fmt.Errorf("the reader of %s broke: %v", e.Name(), p)
		}
	}()
	if data, err = s.read(name, maxFile); err != nil {
		return nil, nil, err
	}
	inv, err := e.Extract(ctx, &filesystem.ScanInput{FS: listed{s}, Path: name, Info: fileInfo{name, int64(len(data))}, Reader: bytes.NewReader(data)})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(inv.Packages, func(a, b *extractor.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Version, b.Name+"\x00"+b.Version)
	})
	return data, inv.Packages, nil
}

// pinned says whether a package has a version, and not the least of those that would do.
func pinned(p *extractor.Package) bool {
	if m, ok := p.Metadata.(*requirements.Metadata); ok {
		return m.VersionComparator == "==" || m.VersionComparator == "==="
	}
	return true
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

// extractors read the lock files that are known.
func extractors() ([]filesystem.Extractor, error) {
	var out []filesystem.Extractor
	for _, reader := range []func(*cpb.PluginConfig) (filesystem.Extractor, error){
		gomod.New, packagelockjson.New, yarnlock.New, pnpmlock.New, requirements.New, poetrylock.New, uvlock.New, pdmlock.New, pipfilelock.New,
		cargolock.New, gemfilelock.New, composerlock.New, pomxml.New, gradlelockfile.New,
	} {
		e, err := reader(&cpb.PluginConfig{})
		if err != nil {
			return nil, fmt.Errorf("make a reader of lock files: %w", err)
		}
		out = append(out, e)
	}
	return out, nil
}
