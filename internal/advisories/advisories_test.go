package advisories_test

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/advisories"
	"github.com/slipway-build/slipway/internal/sarif"
)

// files are advisories as OSV has them, shortened.
func files() map[string]string {
	return map[string]string{
		"GO-2023-1234.json": `{"schema_version":"1.3.1","id":"GO-2023-1234","modified":"2023-05-01T00:00:00Z","aliases":["CVE-2023-1","GHSA-aaaa-bbbb-cccc"],"summary":"Endless\nloop",
			"affected":[{"package":{"name":"golang.org/x/net","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.7.0"},{"introduced":"0.8.0"},{"fixed":"0.8.2"}]}],"ecosystem_specific":{"imports":[{"path":"golang.org/x/net/http2"}]}}]}`,
		"GHSA-aaaa-bbbb-cccc.json": `{"id":"GHSA-aaaa-bbbb-cccc","modified":"2023-06-01T00:00:00Z","aliases":["CVE-2023-1"],"summary":"x/net loops","severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}],
			"affected":[{"package":{"name":"golang.org/x/net","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.7.0"}]}]}],"database_specific":{"severity":"LOW"}}`,
		"GO-2020-1.json": `{"id":"GO-2020-1","modified":"2020-01-01T00:00:00Z","withdrawn":"2021-01-01T00:00:00Z","affected":[{"package":{"name":"golang.org/x/net","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`,
		"py.json": `{"id":"PYSEC-2020-1","modified":"2020-02-01T00:00:00Z","details":"Bad things.\nMore of them.","database_specific":{"severity":"MODERATE"},
			"affected":[{"package":{"name":"Django_Thing","ecosystem":"PyPI"},"ranges":[{"type":"GIT","repo":"https://x","events":[{"introduced":"0"},{"fixed":"abc"}]},{"type":"ECOSYSTEM","events":[{"last_affected":"2.0"},{"introduced":"1.0rc1"}]},{"type":"ECOSYSTEM","events":[{"introduced":"3"},{"fixed":"3.1.post1"}]}],"versions":["0.1","1.0"]}]}`,
		"mal.json":   `{"id":"MAL-2024-1","modified":"2024-01-01T00:00:00Z","summary":"Malicious code in evil","affected":[{"package":{"name":"evil","ecosystem":"npm"},"versions":["6.6.6"]}]}`,
		"crate.json": `{"id":"RUSTSEC-1","modified":"2022-01-01T00:00:00Z","summary":"use after free","affected":[{"package":{"name":"smallvec","ecosystem":"crates.io"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0.0.0-0"},{"fixed":"1.6.1"}]}],"database_specific":{"cvss":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}}]}`,
		"odd.json":   `{"id":"ODD-1","modified":"2022-01-01T00:00:00Z","affected":[{"package":{"name":"smallvec","ecosystem":"crates.io"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"next"}]}]},{"package":{"name":"linux","ecosystem":"Linux"},"versions":["1"]}]}`,
	}
}

func tree(in map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{"README.md": {Data: []byte("not read")}}
	for name, data := range in {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return fsys
}

func zipped(t *testing.T, in map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range in {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(data))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pack(t *testing.T, in map[string]string) []byte {
	t.Helper()
	data, err := advisories.Pack(tree(in))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFind(t *testing.T) {
	db, err := advisories.Open(pack(t, files()))
	if err != nil {
		t.Fatal(err)
	}
	if db.Len() != 6 || db.Newest() != "2024-01-01T00:00:00Z" {
		t.Errorf("%d advisories, the newest of %s", db.Len(), db.Newest())
	}
	net := func(fixed string) []advisories.Advisory {
		return []advisories.Advisory{{ID: "GO-2023-1234", Aliases: []string{"CVE-2023-1", "GHSA-aaaa-bbbb-cccc"}, Summary: "Endless loop", Severity: sarif.High, Fixed: fixed}}
	}
	django := func(fixed string) []advisories.Advisory {
		return []advisories.Advisory{{ID: "PYSEC-2020-1", Summary: "Bad things.", Severity: sarif.Medium, Fixed: fixed}}
	}
	for _, c := range []struct {
		ecosystem, name, version string
		want                     []advisories.Advisory
		err                      string
	}{
		{"Go", "golang.org/x/net", "0.1.0", net("0.7.0"), ""},
		{"Go", "golang.org/x/net", "0.0.0-20190101000000-abcdefabcdef", net("0.7.0"), ""},
		{"Go", "golang.org/x/net", "0.7.0", nil, ""},
		{"Go", "golang.org/x/net", "0.8.1", net("0.8.2"), ""},
		{"Go", "golang.org/x/net", "0.8.2", nil, ""},
		{"Go", "golang.org/x/text", "0.1.0", nil, ""},
		{"npm", "golang.org/x/net", "0.1.0", nil, ""},
		{"PyPI", "django-thing", "0.1", django("3.1.post1"), ""}, // by the list of versions
		{"PyPI", "django-thing", "0.2", nil, ""},
		{"PyPI", "Django.Thing", "1.0rc1", django("3.1.post1"), ""},
		{"PyPI", "django-thing", "1.0b1", nil, ""},
		{"PyPI", "django-thing", "2.0", django("3.1.post1"), ""}, // the last that is affected
		{"PyPI", "django-thing", "2.0.1", nil, ""},
		{"PyPI", "django-thing", "3.1", django("3.1.post1"), ""},
		{"PyPI", "django-thing", "3.1.post1", nil, ""},
		{"npm", "evil", "6.6.6", []advisories.Advisory{{ID: "MAL-2024-1", Summary: "Malicious code in evil", Severity: sarif.Critical}}, ""},
		{"npm", "evil", "6.6.7", nil, ""},
		{"crates.io", "smallvec", "1.6.0", []advisories.Advisory{{ID: "RUSTSEC-1", Summary: "use after free", Severity: sarif.Critical, Fixed: "1.6.1"}}, `crates.io package smallvec 1.6.0: ODD-1: a range of it: version "next" is none to compare`},
		{"PyPI", "django-thing", "1.x/../y", nil, `PyPI package django-thing: version "1.x/../y" is none to compare`},
		{"PyPI", "django-thing", "", nil, "PyPI package django-thing: it has no version"},
		{"npm", "evil", "git+ssh://x", nil, `version "git+ssh://x" is none to compare: expected one that begins with a digit`},
	} {
		got, err := db.Find(c.ecosystem, c.name, c.version)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s %s: -want +got\n%s", c.ecosystem, c.name, c.version, diff)
		}
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s %s %s: error %v, want %q", c.ecosystem, c.name, c.version, err, c.err)
		}
	}
}

// TestLayout: the blob is the same for the same advisories, in whatever files they are.
func TestLayout(t *testing.T) {
	one := pack(t, files())
	in := files()
	older := strings.Replace(in["mal.json"], "2024-01-01", "2023-01-01", 1)
	older = strings.Replace(older, "evil", "other", 1)
	layouts := map[string]map[string]string{
		"a zip file":          {"npm/all.zip": zipped(t, in)},
		"twice":               {"all.zip": zipped(t, in), "again.json": in["mal.json"]},
		"an older one beside": {"all.zip": zipped(t, in), "z.json": older},
	}
	for name, l := range layouts {
		if !bytes.Equal(one, pack(t, l)) {
			t.Errorf("%s: another blob", name)
		}
	}
	in["mal.json"] = strings.Replace(in["mal.json"], "6.6.6", "6.6.7", 1)
	if bytes.Equal(one, pack(t, in)) {
		t.Error("other advisories make the same blob")
	}
}

func TestMistakes(t *testing.T) {
	in := files()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"broken":        {map[string]string{"a/b.json": "{\n \"id\": \"X\",\n \"affected\": [}\n"}, "a/b.json:3:"},
		"broken in zip": {map[string]string{"all.zip": zipped(t, map[string]string{"x.json": "{"})}, "all.zip: x.json:1:1: unexpected end of JSON input: expected an advisory in the schema of OSV"},
		"another kind":  {map[string]string{"a.json": "{\n\"id\": 7}"}, "a.json:2:"},
		"no id":         {map[string]string{"a.json": "{}"}, "a.json: id is missing"},
		"no zip":        {map[string]string{"a.zip": "PK"}, "a.zip: zip: not a valid zip file: expected a zip file of *.json"},
		"nothing":       {nil, "there are none: expected *.json"},
		"two that differ": {map[string]string{"a.json": in["mal.json"], "b.json": strings.Replace(in["mal.json"], "evil", "x", 1)},
			`MAL-2024-1 is in a.json and in b.json, both modified "2024-01-01T00:00:00Z", and they differ: remove one`},
	} {
		if _, err := advisories.Pack(tree(c.files)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v\nwant %s", name, err, c.want)
		}
	}
	whole := pack(t, in)
	for name, c := range map[string]struct{ data, want string }{
		"no blob":   {"hello", "expected a blob that Slipway packed"},
		"empty":     {"", "expected a blob that Slipway packed"},
		"cut short": {string(whole[:len(whole)-9]), "open advisories: "},
	} {
		if _, err := advisories.Open([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", name, err, c.want)
		}
	}
}

// FuzzOpen: no blob makes it panic.
func FuzzOpen(f *testing.F) {
	data, err := advisories.Pack(tree(files()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, "0.1.0")
	f.Fuzz(func(_ *testing.T, data []byte, version string) {
		if db, err := advisories.Open(data); err == nil {
			_, _ = db.Find("Go", "golang.org/x/net", version)
			_, _ = db.Find("PyPI", "django-thing", version)
		}
	})
}
