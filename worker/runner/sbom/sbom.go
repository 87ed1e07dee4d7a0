// Package sbom lists the packages that a service is made from, as the lock files below its paths name
// them: an SPDX 2.3 document in JSON, the same for the same.
//
// It knows nothing of what a Dockerfile installs beside them, and looks nothing up: a license is what
// the lock file itself says.
package sbom

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/purl"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/slipway-build/slipway/worker/runner/lockfiles"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

const (
	namespace   = "https://github.com/slipway-build/slipway/spdx/"
	creator     = "slipway-sbom"
	noAssertion = "NOASSERTION"
	service     = common.ElementID("Package-service")
)

// About is what a document is about.
type About struct {
	Service string
	Version string    // the commit
	Created time.Time // written in UTC, in whole seconds
}

// pack is a package that lock files name.
type pack struct {
	name, version, purl string
	license             string   // an SPDX expression; empty: not known
	files               []string // lock files that name it, sorted
}

// Make lists the packages of the lock files below paths. What could not be looked at (paths that are
// not there, files that cannot be read, links) is in the comment of the document. A path that leads
// out of the workspace, and too many files, are mistakes of the user's: sources.Mistake.
func Make(ctx context.Context, workspace string, paths []string, about About) ([]byte, error) {
	s, missing, err := sources.Open(ctx, workspace, paths)
	if s != nil {
		defer s.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("list packages of %s: %w", about.Service, err)
	}
	var lacks []string
	for _, p := range missing {
		lacks = append(lacks, p+" does not exist in this commit")
	}
	if s.Links() > 0 {
		lacks = append(lacks, fmt.Sprintf("%d symbolic links were not followed", s.Links()))
	}
	found := map[string]*pack{}
	err = lockfiles.Each(ctx, s, func(f lockfiles.File) {
		licenses, err := licensesIn(s, f.Path)
		if err := cmp.Or(f.Err, err); err != nil {
			lacks = append(lacks, f.Path+" cannot be read: its packages are missing here")
			return
		}
		for _, p := range f.Packages {
			add(found, f.Path, p, licenses)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list packages of %s: %w", about.Service, err)
	}
	return write(document(about, found, lacks))
}

// licensesIn are the valid expressions that a lock file says, by name and version.
func licensesIn(s *sources.Files, name string) (map[string]string, error) {
	all, err := lockfiles.Licenses(s, name)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, l := range all {
		if ok, _ := spdxexp.ValidateLicenses([]string{l.License}); ok {
			out[l.Name+"\x00"+l.Version] = l.License
		}
	}
	return out, nil
}

// add adds a package that a lock file names, once for all files that do.
func add(found map[string]*pack, file string, p *extractor.Package, licenses map[string]string) {
	one := *p
	switch {
	case !lockfiles.Pinned(p):
		one.Version = "" // the least of those that would do says nothing of which is used
	case p.PURLType == purl.TypeGolang && p.Name != "stdlib" && p.Version != "":
		one.Version = "v" + p.Version // as Go itself writes it, and tools that look it up
	}
	if one.PURLType == purl.TypeGolang && (strings.HasPrefix(p.Name, "./") || strings.HasPrefix(p.Name, "../") || strings.HasPrefix(p.Name, "/")) {
		return // replaced by a folder: it is the repository's own
	}
	id := one.PURL()
	if id == nil {
		return
	}
	all := id.Qualifiers
	id.Qualifiers = nil
	for _, q := range all {
		if q.Key != "source" { // which is a guess of the reader's
			id.Qualifiers = append(id.Qualifiers, q)
		}
	}
	key := id.String()
	known, ok := found[key]
	if !ok {
		known = &pack{name: one.Name, version: one.Version, purl: key}
		found[key] = known
	}
	if !slices.Contains(known.files, file) {
		known.files = append(known.files, file)
	}
	known.license = cmp.Or(known.license, licenses[p.Name+"\x00"+p.Version])
}

// document is all of it but for its namespace, which stands for what is in it.
func document(about About, found map[string]*pack, lacks []string) *v2_3.Document {
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: about.Service,
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: creator}}, Created: about.Created.UTC().Format(time.RFC3339),
		},
		Packages: []*v2_3.Package{{
			PackageName: about.Service, PackageSPDXIdentifier: service, PackageVersion: about.Version, PackageDownloadLocation: noAssertion,
			PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion, PrimaryPackagePurpose: "APPLICATION",
		}},
		Relationships: []*v2_3.Relationship{relation("DOCUMENT", common.TypeRelationshipDescribe, service)},
	}
	if len(lacks) > 0 {
		doc.DocumentComment = "Not in this document: " + strings.Join(lacks, "; ") + "."
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		p := found[key]
		id := identifier(key)
		doc.Packages = append(doc.Packages, &v2_3.Package{
			PackageName: p.name, PackageSPDXIdentifier: id, PackageVersion: p.version, PackageDownloadLocation: noAssertion,
			PackageSourceInfo:       "named by " + strings.Join(p.files, ", "),
			PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: cmp.Or(p.license, noAssertion), PackageCopyrightText: noAssertion,
			PackageExternalReferences: []*v2_3.PackageExternalReference{{
				Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: p.purl,
			}},
		})
		doc.Relationships = append(doc.Relationships, relation(service, common.TypeRelationshipDependsOn, id))
	}
	return doc
}

func relation(a common.ElementID, kind string, b common.ElementID) *v2_3.Relationship {
	return &v2_3.Relationship{RefA: common.MakeDocElementID("", string(a)), RefB: common.MakeDocElementID("", string(b)), Relationship: kind}
}

// identifier is the SPDX id of a package: legible, and its own also where legible ones are the same.
func identifier(purl string) common.ElementID {
	sum := sha256.Sum256([]byte(purl))
	legible := regexp.MustCompile(`[^A-Za-z0-9.-]+`).ReplaceAllString(strings.TrimPrefix(purl, "pkg:"), "-")
	return common.ElementID("Package-" + legible + "-" + hex.EncodeToString(sum[:8]))
}

func write(doc *v2_3.Document) ([]byte, error) {
	encode := func() ([]byte, error) {
		var b bytes.Buffer
		if err := spdxjson.Write(doc, &b, spdxjson.EscapeHTML(false)); err != nil {
			return nil, fmt.Errorf("write the SPDX document of %s: %w", doc.DocumentName, err)
		}
		return b.Bytes(), nil
	}
	data, err := encode()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	doc.DocumentNamespace = namespace + hex.EncodeToString(sum[:])
	return encode()
}
