package scan_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slipway-build/slipway/internal/advisories"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/scan"
)

// pack stores a small database.
func pack(t *testing.T, s *store) string {
	t.Helper()
	one := func(id, ecosystem, name, events, more string) *fstest.MapFile {
		return &fstest.MapFile{Data: fmt.Appendf(nil, `{"id":%q,"modified":"2024-01-01T00:00:00Z","summary":"Bad","affected":[{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":"ECOSYSTEM","events":[%s]}]}]%s}`, id, ecosystem, name, events, more)}
	}
	data, err := advisories.Pack(fstest.MapFS{
		"go.json":    one("GO-2023-1234", "Go", "golang.org/x/net", `{"introduced":"0"},{"fixed":"0.7.0"}`, `,"aliases":["CVE-2023-1"],"database_specific":{"severity":"HIGH"}`),
		"py.json":    one("PYSEC-1", "PyPI", "django", `{"introduced":"0"},{"last_affected":"2"}`, ""),
		"npm.json":   one("GHSA-1", "npm", "left-pad", `{"introduced":"1.0.0"},{"fixed":"1.2.0"}`, `,"database_specific":{"severity":"CRITICAL"}`),
		"cargo.json": one("RUSTSEC-1", "crates.io", "smallvec", `{"introduced":"0"},{"fixed":"1.6.1"}`, `,"database_specific":{"severity":"LOW"}`),
		"mvn.json":   one("GHSA-2", "Maven", "org.x:y", `{"introduced":"0"},{"fixed":"2.0"}`, ""),
		"gem.json":   one("GHSA-3", "RubyGems", "rack", `{"introduced":"0"},{"fixed":"3.0"}`, ""),
		"php.json":   one("GHSA-4", "Packagist", "a/b", `{"introduced":"0"},{"fixed":"3.0"}`, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := s.PutBlob(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestPackages(t *testing.T) {
	s := &store{}
	blob := pack(t, s)
	files := map[string]string{
		"api/go.mod": "module x\n\ngo 1.26.0\n\nrequire (\n\tgolang.org/x/text v0.1.0\n\tgolang.org/x/net v0.1.0\n)\n",
		"web/package-lock.json": `{"name":"web","lockfileVersion":3,"packages":{
"":{"name":"web","dependencies":{"left-pad":"1"}},
"node_modules/left-pad":{"version":"1.3.0"},
"node_modules/a/node_modules/left-pad":{
  "version":"1.1.0"
},
"node_modules/linked":{"version":"file:../x"}}}`,
		"web/yarn.lock":       "# yarn lockfile v1\n\n\nleft-pad@^1.0.0:\n  version \"1.0.1\"\n  resolved \"https://x\"\n",
		"web/pnpm-lock.yaml":  "lockfileVersion: '9.0'\npackages:\n  left-pad@1.0.1:\n    resolution: {integrity: x}\nsnapshots:\n  left-pad@1.0.1: {}\n",
		"py/requirements.txt": "flask==1\nDjango==2.0 # old\n", "py/dev-requirements.txt": "django>=1.0\n",
		"py/poetry.lock": "[[package]]\nname = \"django\"\nversion = \"1.0\"\n", "py/uv.lock": "version = 1\n[[package]]\nname = \"django\"\nversion = \"1.0\"\nsource = { registry = \"https://pypi.org/simple\" }\n",
		"rs/Cargo.lock":         "[[package]]\nname = \"smallvec\"\nversion = \"1.6.0\"\n",
		"rb/Gemfile.lock":       "GEM\n  remote: https://rubygems.org/\n  specs:\n    rack (2.0)\n\nDEPENDENCIES\n  rack\n",
		"php/composer.lock":     "{\n\"packages\": [\n{\"name\": \"a/b\", \"version\": \"2.0\"}],\n\"packages-dev\": []}",
		"mvn/pom.xml":           "<project>\n<dependencies>\n<dependency>\n<groupId>org.x</groupId>\n<artifactId>y</artifactId>\n<version>1.0</version>\n</dependency>\n</dependencies>\n</project>\n",
		"mvn/gradle.lockfile":   "org.x:y:1.0=compileClasspath\n",
		"bad/package-lock.json": "{",
	}
	r := scan.New(s, nil)
	work := runner.Scan{Using: runner.UsingPackages, Paths: []string{"."}, Advisories: blob}
	got := runWith(t, r, s, plant(t, files), work)
	same(t, got.places(),
		"high api/go.mod:7 GO-2023-1234",
		"medium bad/package-lock.json:0 unreadable-lock-file",
		"medium mvn/gradle.lockfile:1 GHSA-2",
		"medium mvn/pom.xml:3 GHSA-2",
		"medium php/composer.lock:3 GHSA-4",
		"medium py/poetry.lock:2 PYSEC-1",
		"medium py/requirements.txt:2 PYSEC-1",
		"medium py/uv.lock:3 PYSEC-1",
		"medium rb/Gemfile.lock:4 GHSA-3",
		"low rs/Cargo.lock:2 RUSTSEC-1",
		"critical web/package-lock.json:4 GHSA-1",
		"critical web/pnpm-lock.yaml:3 GHSA-1",
		"critical web/yarn.lock:4 GHSA-1",
	)
	contains(t, got.log, "high api/go.mod:7 GO-2023-1234: golang.org/x/net 0.1.0 has GO-2023-1234 (CVE-2023-1): Bad; fixed in 0.7.0",
		"PYSEC-1: django 1.0 has PYSEC-1: Bad; no fixed version is known", "7 advisories, the newest of 2024-01-01T00:00:00Z", "1 package not looked up: a requirement without == says no version")
	files["api/go.mod"] = strings.Replace(files["api/go.mod"], "golang.org/x/net v0.1.0", "\n\n\tgolang.org/x/net v0.2.0", 1)
	again := runWith(t, r, s, plant(t, files), work)
	if again.fingerprint(t, "GO-2023-1234") != got.fingerprint(t, "GO-2023-1234") || s.reads != 1 {
		t.Errorf("another line and version: another fingerprint, or the database was read %d times", s.reads)
	}
	for name, c := range map[string]struct {
		digest string
		kind   runner.OutcomeKind
		want   string
	}{
		"none": {"", runner.Failed, "there are no advisories"}, "gone": {"sha256:1", runner.Errored, "read the advisories sha256:1: there is no such blob"},
		"another blob": {got.outcome.Result.Scan.Report, runner.Failed, "expected a blob that Slipway packed"},
	} {
		o := r.Run(t.Context(), runner.Task{ID: "t", Workspace: t.TempDir(), Work: runner.Scan{Using: runner.UsingPackages, Advisories: c.digest}}, &runnertest.Recorder{})
		if o.Kind != c.kind || !strings.Contains(o.Message, c.want) {
			t.Errorf("%s: %s: %s", name, o.Kind, o.Message)
		}
	}
}

func TestLicenses(t *testing.T) {
	s := &store{}
	mit, err := os.ReadFile("testdata/mit.txt")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"web/package-lock.json": `{"lockfileVersion":3,"packages":{
"":{"name":"web","license":"GPL-3.0-only"},
"node_modules/a":{"version":"1.0.0","license":"MIT"},
"node_modules/b":{"version":"2.0.0","license":"GPL-3.0-or-later"},
"node_modules/c":{"version":"2.0.0","license":"(GPL-3.0-only OR MIT)"},
"node_modules/d":{"version":"2.0.0","license":"MIT AND AGPL-3.0-only"},
"node_modules/e":{"version":"2.0.0","license":"SEE LICENSE IN LICENSE"},
"node_modules/f":{"version":"2.0.0","license":[{"type":"AGPL-3.0-only"},{"type":"ISC"}]},
"node_modules/g":{"version":"2.0.0"}}}`,
		"php/composer.lock":      "{\"packages\": [\n{\"name\": \"a/b\", \"version\": \"2.0\", \"license\": [\"GPL-3.0+\"]}], \"packages-dev\": []}",
		"vendor/x.org/y/LICENSE": string(mit), "vendor/x.org/z/COPYING": "All rights reserved.\n", "LICENSE": string(mit),
	}
	got := run(t, s, plant(t, files), runner.Scan{Using: runner.UsingLicenses, Paths: []string{"."}})
	same(t, got.places())
	contains(t, got.log, "10 packages", "3 unknown", "2 MIT")
	got = run(t, s, plant(t, files), runner.Scan{Using: runner.UsingLicenses, Paths: []string{"."}, Deny: []string{"GPL-3.0", "AGPL-3.0-only"}})
	same(t, got.places(),
		"high php/composer.lock:2 GPL-3.0-or-later",
		"high web/package-lock.json:4 GPL-3.0-or-later",
		"high web/package-lock.json:6 AGPL-3.0-only",
	)
	contains(t, got.log, "b 2.0.0 is under GPL-3.0-or-later, which is denied")
	same(t, run(t, s, plant(t, files), runner.Scan{Using: runner.UsingLicenses, Paths: []string{"."}, Deny: []string{"MIT"}}).places(),
		"high vendor/x.org/y/LICENSE:0 MIT", "high web/package-lock.json:3 MIT", "high web/package-lock.json:6 MIT")
	o := scan.New(s, nil).Run(t.Context(), runner.Task{ID: "t", Workspace: plant(t, files), Work: runner.Scan{Using: runner.UsingLicenses, Deny: []string{"GPL3"}}}, &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Failed, runner.ClassUser)
	contains(t, o.Message, "deny: GPL3: expected SPDX ids")
}
