package sbom_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/slipway-build/slipway/worker/runner/sbom"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

const gomod = `module example.com/shop/api

go 1.26.0

require (
	golang.org/x/net v0.1.0
	example.com/old v1.0.0
	example.com/mine v1.0.0
	github.com/Azure/go-autorest v14.2.0+incompatible // indirect
)

replace example.com/old => example.com/new v1.2.3

replace example.com/mine => ../mine
`

const packageLock = `{"name":"web","lockfileVersion":3,"packages":{
"":{"name":"web","license":"GPL-3.0-only"},
"node_modules/left-pad":{"version":"1.3.0","license":"WTFPL"},
"node_modules/@types/node":{"version":"20.1.0","license":"MIT"},
"node_modules/a/node_modules/left-pad":{"version":"1.1.0","license":[{"type":"MIT"},{"type":"ISC"}]},
"node_modules/odd":{"version":"2.0.0","license":"SEE LICENSE IN LICENSE"},
"node_modules/mine":{"link":true,"resolved":"../mine"}}}`

func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"api/go.mod": gomod, "api/web/package-lock.json": packageLock, "api/web/admin/package-lock.json": packageLock,
		"api/tools/requirements.txt": "django==1.0\nflask>=2.0\n", "other/Cargo.lock": "[[package]]\nname = \"smallvec\"\nversion = \"1.6.0\"\n",
	} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func about() sbom.About {
	return sbom.About{Service: "api", Version: "0123abc", Created: time.Date(2026, 11, 30, 12, 0, 0, 999, time.FixedZone("", 3600))}
}

func read(t *testing.T, data []byte) *v2_3.Document {
	t.Helper()
	var doc v2_3.Document
	if err := spdxjson.ReadInto(bytes.NewReader(data), &doc); err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(&doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

func TestMake(t *testing.T) {
	dir := plant(t)
	data, err := sbom.Make(t.Context(), dir, []string{"api"}, about())
	if err != nil {
		t.Fatal(err)
	}
	doc := read(t, data)
	var got []string
	ids := map[string]string{}
	for _, p := range doc.Packages[1:] {
		ids[string(p.PackageSPDXIdentifier)] = p.PackageName
		if len(p.PackageExternalReferences) != 1 || p.PackageExternalReferences[0].RefType != "purl" {
			t.Fatalf("%s has no purl: %+v", p.PackageName, p.PackageExternalReferences)
		}
		got = append(got, strings.Join([]string{p.PackageName, p.PackageVersion, p.PackageExternalReferences[0].Locator, p.PackageLicenseDeclared, p.PackageSourceInfo}, " "))
	}
	both := "named by api/web/admin/package-lock.json, api/web/package-lock.json"
	want := []string{
		"example.com/new v1.2.3 pkg:golang/example.com/new@v1.2.3 NOASSERTION named by api/go.mod",
		"github.com/Azure/go-autorest v14.2.0+incompatible pkg:golang/github.com/azure/go-autorest@v14.2.0%2Bincompatible NOASSERTION named by api/go.mod",
		"golang.org/x/net v0.1.0 pkg:golang/golang.org/x/net@v0.1.0 NOASSERTION named by api/go.mod",
		"stdlib 1.26.0 pkg:golang/stdlib@1.26.0 NOASSERTION named by api/go.mod",
		"@types/node 20.1.0 pkg:npm/%40types/node@20.1.0 MIT " + both,
		"left-pad 1.1.0 pkg:npm/left-pad@1.1.0 (MIT) OR (ISC) " + both,
		"left-pad 1.3.0 pkg:npm/left-pad@1.3.0 WTFPL " + both,
		"odd 2.0.0 pkg:npm/odd@2.0.0 NOASSERTION " + both,
		"django 1.0 pkg:pypi/django@1.0 NOASSERTION named by api/tools/requirements.txt",
		"flask  pkg:pypi/flask NOASSERTION named by api/tools/requirements.txt",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	main := doc.Packages[0]
	if main.PackageName != "api" || main.PackageVersion != "0123abc" || doc.CreationInfo.Created != "2026-11-30T11:00:00Z" || doc.DocumentComment != "" {
		t.Errorf("about %s %s of %s, comment %q", main.PackageName, main.PackageVersion, doc.CreationInfo.Created, doc.DocumentComment)
	}
	for i, r := range doc.Relationships {
		from, kind := main.PackageSPDXIdentifier, "DEPENDS_ON"
		if i == 0 {
			from, kind = "DOCUMENT", "DESCRIBES"
		} else if ids[string(r.RefB.ElementRefID)] == "" {
			t.Errorf("%v is about no package, or twice about one", r.RefB)
		}
		delete(ids, string(r.RefB.ElementRefID))
		if r.RefA.ElementRefID != from || r.Relationship != kind {
			t.Errorf("relationship %d: %v %s %v", i, r.RefA, r.Relationship, r.RefB)
		}
	}
	if len(ids) > 0 {
		t.Errorf("nothing depends on %v", ids)
	}
}

// TestSame: equal inputs, equal bytes; another input, another namespace.
func TestSame(t *testing.T) {
	dir := plant(t)
	make1 := func(a sbom.About, paths ...string) []byte {
		data, err := sbom.Make(t.Context(), dir, paths, a)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	one := make1(about(), "api", "other")
	for range 5 {
		if !bytes.Equal(one, make1(about(), "other", "api", "api/web")) {
			t.Fatal("the same files, another document")
		}
	}
	later := about()
	later.Version = "9"
	spaces := []string{read(t, one).DocumentNamespace, read(t, make1(later, "api", "other")).DocumentNamespace, read(t, make1(about(), "api")).DocumentNamespace}
	slices.Sort(spaces)
	if len(slices.Compact(spaces)) != 3 {
		t.Errorf("namespaces %v", spaces)
	}
}

// TestLacks: what is missing is said; nothing is read outside of the workspace.
func TestLacks(t *testing.T) {
	dir, elsewhere := plant(t), plant(t)
	if err := os.WriteFile(filepath.Join(dir, "other/package-lock.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(elsewhere, "api/go.mod"), filepath.Join(dir, "other/go.mod")); err != nil {
		t.Fatal(err)
	}
	data, err := sbom.Make(t.Context(), dir, []string{"gone", "other"}, about())
	if err != nil {
		t.Fatal(err)
	}
	doc := read(t, data)
	want := "Not in this document: gone does not exist in this commit; 1 symbolic links were not followed; other/package-lock.json cannot be read: its packages are missing here."
	if doc.DocumentComment != want || len(doc.Packages) != 2 {
		t.Errorf("%d packages, comment %q", len(doc.Packages), doc.DocumentComment)
	}
	var mistake *sources.Mistake
	if _, err := sbom.Make(t.Context(), dir, []string{"../x"}, about()); !errors.As(err, &mistake) {
		t.Errorf("out of the workspace: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := sbom.Make(ctx, dir, []string{"api"}, about()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
