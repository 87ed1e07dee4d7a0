// Package advisories keeps what is known of vulnerable packages: Pack makes one blob of advisories in
// the schema of OSV (https://ossf.github.io/osv-schema), Open reads it, and Find says which of them
// a version of a package has.
//
// It fetches nothing, and compares versions by the rules of each ecosystem as osv-scalibr knows
// them. Commits of git are no versions here.
package advisories

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/semantic"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-build/slipway/internal/sarif"
)

// Limits of what is packed and opened.
const (
	maxFile       = 16 << 20 // one advisory
	maxZip        = 1 << 30
	maxAdvisories = 500_000
	maxBlob       = 1 << 30 // uncompressed
	maxSummary    = 300
)

// Advisory is what is known of one vulnerability, for a version that was asked for.
type Advisory struct {
	ID       string
	Aliases  []string // sorted
	Summary  string   // one line; may be empty
	Severity sarif.Severity
	Fixed    string // the first later version that does not have it; empty: none is known
}

// header is the first line of a blob.
type header struct {
	Format string `json:"format"`
	Count  int    `json:"count"`
	Newest string `json:"newest"`
}

const format = "slipway advisories 1"

// record is one advisory of a blob.
type record struct {
	ID       string         `json:"id"`
	Aliases  []string       `json:"aliases,omitempty"`
	Summary  string         `json:"summary,omitempty"`
	Severity sarif.Severity `json:"severity"`
	Affected []affected     `json:"affected"`
}

type affected struct {
	Ecosystem string    `json:"ecosystem"`
	Name      string    `json:"name"`
	Ranges    [][]event `json:"ranges,omitempty"`
	Versions  []string  `json:"versions,omitempty"`
}

// event is one end of a range; one of its fields is set.
type event struct {
	Introduced   string `json:"introduced,omitempty"` // "0": from the first version on
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"last_affected,omitempty"`
}

func (e event) version() string { return e.Introduced + e.Fixed + e.LastAffected }

// Database is an opened blob. It may be used by several goroutines at once.
type Database struct {
	head     header
	packages map[[2]string][]entry // by ecosystem and normal name
}

type entry struct {
	of       *record
	affected affected
}

// Open reads a blob that Pack made.
func Open(data []byte) (*Database, error) {
	d, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlob))
	if err != nil {
		return nil, fmt.Errorf("open advisories: %w", err)
	}
	defer d.Close()
	lines := json.NewDecoder(io.LimitReader(d, maxBlob))
	db := &Database{packages: map[[2]string][]entry{}}
	if err := lines.Decode(&db.head); err != nil {
		return nil, fmt.Errorf("open advisories: %w: expected a blob that Slipway packed", err)
	}
	if db.head.Format != format {
		return nil, fmt.Errorf("open advisories: format is %q, expected %q: pack the advisories again", db.head.Format, format)
	}
	for n := range db.head.Count {
		r := &record{}
		if err := lines.Decode(r); err != nil {
			return nil, fmt.Errorf("open advisories: number %d of %d: %w: the blob is damaged; pack the advisories again", n+1, db.head.Count, err)
		}
		for _, a := range r.Affected {
			key := [2]string{a.Ecosystem, normal(a.Ecosystem, a.Name)}
			db.packages[key] = append(db.packages[key], entry{of: r, affected: a})
		}
	}
	return db, nil
}

// Len is how many advisories there are.
func (db *Database) Len() int { return db.head.Count }

// Newest is when the newest of them was changed, as it says itself: RFC 3339, or empty.
func (db *Database) Newest() string { return db.head.Newest }

// Find answers the advisories that a version of a package has, sorted by ID. Those that share an
// alias are one: that of the ecosystem's own database, with the worst severity. The error says which
// versions cannot be compared, of the package or of an advisory; what could be judged is answered
// besides.
func (db *Database) Find(ecosystem, name, version string) ([]Advisory, error) {
	entries := db.packages[[2]string{ecosystem, normal(ecosystem, name)}]
	if len(entries) == 0 {
		return nil, nil
	}
	if err := checkVersion(ecosystem, version); err != nil {
		return nil, fmt.Errorf("%s package %s: %w", ecosystem, name, err)
	}
	var found []Advisory
	var problems []error
	for _, e := range entries {
		hit, fixed, err := e.affected.has(version)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s package %s %s: %s: %w", ecosystem, name, version, e.of.ID, err))
		}
		if hit {
			found = append(found, Advisory{ID: e.of.ID, Aliases: slices.Clone(e.of.Aliases), Summary: e.of.Summary, Severity: e.of.Severity, Fixed: fixed})
		}
	}
	return merge(found), errors.Join(problems...)
}

// checkVersion says what is wrong with a version. Those of semver are parsed whatever they are, so
// that what a lock file has instead of one, a path or address, must be told apart here.
func checkVersion(ecosystem, version string) error {
	if strings.Trim(version, " ") == "" {
		return errors.New("it has no version: expected one to compare with those of advisories")
	}
	if first := strings.TrimPrefix(version, "v"); first == "" || first[0] < '0' || first[0] > '9' || strings.ContainsAny(version, "/ ") {
		return fmt.Errorf("version %q is none to compare: expected one that begins with a digit", version)
	}
	if _, err := semantic.Parse(version, ecosystem); err != nil {
		return fmt.Errorf("version %q: %w", version, err)
	}
	return nil
}

// has says whether a version is affected, and the first later one that is not.
func (a affected) has(version string) (hit bool, fixed string, err error) {
	v, err := semantic.Parse(version, a.Ecosystem)
	if err != nil {
		return false, "", err
	}
	hit = slices.Contains(a.Versions, version)
	var fixes []string
	var problems []error
	for _, events := range a.Ranges {
		in, next, err := within(v, events, a.Ecosystem)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		hit = hit || in
		fixes = append(fixes, next...)
	}
	for _, f := range fixes {
		if fixed == "" || less(f, fixed, a.Ecosystem) {
			fixed = f
		}
	}
	return hit, fixed, errors.Join(problems...)
}

// within says whether a version is in a range, and which later ones are fixed.
func within(v semantic.Version, events []event, ecosystem string) (in bool, fixes []string, err error) {
	events = slices.Clone(events)
	for _, e := range events {
		if err := checkVersion(ecosystem, e.version()); err != nil {
			return false, nil, fmt.Errorf("a range of it: %w", err)
		}
	}
	slices.SortStableFunc(events, func(a, b event) int {
		switch {
		case a.Introduced == "0" || less(a.version(), b.version(), ecosystem):
			return -1
		case b.Introduced == "0" || less(b.version(), a.version(), ecosystem):
			return 1
		case a.Introduced != "" && b.Introduced == "": // one that is introduced and last affected is affected
			return -1
		case b.Introduced != "" && a.Introduced == "":
			return 1
		}
		return 0
	})
	for _, e := range events {
		order := 1
		if e.Introduced != "0" {
			if order, err = v.CompareStr(e.version()); err != nil {
				return false, nil, fmt.Errorf("a range of it: compare with %q: %w", e.version(), err)
			}
		}
		switch {
		case e.Introduced != "" && order >= 0:
			in = true
		case e.Fixed != "" && order >= 0, e.LastAffected != "" && order > 0:
			in = false
		case e.Fixed != "":
			fixes = append(fixes, e.Fixed)
		}
	}
	return in, fixes, nil
}

func less(a, b, ecosystem string) bool {
	v, err := semantic.Parse(a, ecosystem)
	if err != nil {
		return false
	}
	order, err := v.CompareStr(b)
	return err == nil && order < 0
}

// merge makes one of those that share an ID or alias.
func merge(found []Advisory) []Advisory {
	rank := func(id string) string { // the database of the ecosystem itself knows best
		if strings.HasPrefix(id, "GHSA-") || strings.HasPrefix(id, "CVE-") {
			return "1" + id
		}
		return "0" + id
	}
	slices.SortFunc(found, func(a, b Advisory) int { return strings.Compare(rank(a.ID), rank(b.ID)) })
	var out []Advisory
	for _, a := range found {
		names := append([]string{a.ID}, a.Aliases...)
		i := slices.IndexFunc(out, func(o Advisory) bool {
			return slices.ContainsFunc(names, func(n string) bool { return n == o.ID || slices.Contains(o.Aliases, n) })
		})
		if i < 0 {
			out = append(out, a)
			continue
		}
		o := &out[i]
		o.Aliases = slices.DeleteFunc(append(o.Aliases, names...), func(n string) bool { return n == o.ID })
		slices.Sort(o.Aliases)
		o.Aliases = slices.Compact(o.Aliases)
		if a.Severity.Rank() > o.Severity.Rank() {
			o.Severity = a.Severity
		}
		if o.Fixed == "" {
			o.Fixed = a.Fixed
		}
		if o.Summary == "" {
			o.Summary = a.Summary
		}
	}
	slices.SortFunc(out, func(a, b Advisory) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// normal is the name of a package as its ecosystem compares names.
func normal(ecosystem, name string) string {
	switch ecosystem {
	case "PyPI":
		return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' }), "-")
	case "NuGet", "Packagist":
		return strings.ToLower(name)
	}
	return name
}
