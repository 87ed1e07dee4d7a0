package affected_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/affected"
)

func TestDecide(t *testing.T) {
	services := []affected.Service{
		{Name: "api", Path: "services/api", Also: []string{"libs/proto", "go.mod"}, Deploy: []string{"deploy/api"}, Definition: "1", Before: "1"},
		{Name: "base", Path: "images/base", Definition: "1", Before: "1"},
		{Name: "mid", Path: "images/mid", Contexts: map[string]string{"b": "base"}, Definition: "1", Before: "1"},
		{Name: "web", Path: "services/web", Contexts: map[string]string{"m": "mid"}, Deploy: []string{"deploy/web"}, Definition: "1", Before: "1"},
	}
	const same = "unchanged since 0123456789ab"
	for _, c := range []struct {
		name, changed string
		want          map[string]string // what is affected
	}{
		{"nothing", "", nil},
		{"own file", "services/api/main.go", map[string]string{"api": "build: services/api/main.go changed"}},
		{"own files", "services/api/main.go services/api/a.go services/api/x/y.go", map[string]string{"api": "build: services/api/a.go and 2 more paths changed"}},
		{"neighbor with the same beginning", "services/api2/main.go libs/proto.go", nil},
		{"also", "libs/proto/a.proto", map[string]string{"api": "build: libs/proto/a.proto changed (also)"}},
		{"also, a file", "go.mod", map[string]string{"api": "build: go.mod changed (also)"}},
		{"manifests", "deploy/api/x.yaml", map[string]string{"api": "deploy: deploy/api/x.yaml changed (deploy)"}},
		{"root file", "README.md slipway.yaml", nil},
		{"dependents of an image", "images/base/Dockerfile", map[string]string{
			"base": "build: images/base/Dockerfile changed", "mid": "build: image of base is rebuilt", "web": "build: image of mid is rebuilt",
		}},
		{"manifests and an image", "deploy/web/x.yaml images/mid/a", map[string]string{
			"mid": "build: images/mid/a changed", "web": "build: image of mid is rebuilt",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]string{}
			for name, v := range affected.Decide(services, affected.Change{Base: "0123456789abcdef", Changed: strings.Fields(c.changed)}) {
				switch {
				case v.Build:
					got[name] = "build: " + v.Reason
				case v.Deploy:
					got[name] = "deploy: " + v.Reason
				case v.Reason != same:
					t.Errorf("%s: not affected, reason %q", name, v.Reason)
				}
			}
			if c.want == nil {
				c.want = map[string]string{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	services[1].Before, services[3].Before = "", "0"
	got := affected.Decide(services, affected.Change{Base: "0123456789abcdef"})
	if got["base"].Reason != "new since 0123456789ab" || got["web"].Reason != "its definition changed" || got["api"].Affected() {
		t.Errorf("got %+v", got)
	}
	for name, v := range affected.Decide(services, affected.Change{}) {
		if !v.Affected() || v.Reason != "no earlier green run" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// The walk up from each path finds what comparing every path with every service finds.
func TestDecideAgreesWithTheObvious(t *testing.T) {
	path := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 4).Draw(t, "parts"), "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		var services []affected.Service
		for i := range rapid.IntRange(1, 6).Draw(t, "services") {
			s := affected.Service{
				Name: fmt.Sprint("s", i), Path: path.Draw(t, "path"), Also: rapid.SliceOfN(path, 0, 3).Draw(t, "also"),
				Deploy: rapid.SliceOfN(path, 0, 2).Draw(t, "deploy"), Definition: "d", Before: "d",
			}
			if i > 0 && rapid.Bool().Draw(t, "builds upon") {
				s.Contexts = map[string]string{"x": fmt.Sprint("s", rapid.IntRange(0, i-1).Draw(t, "base"))}
			}
			services = append(services, s)
		}
		changed := rapid.SliceOf(path).Draw(t, "changed")
		got := affected.Decide(services, affected.Change{Base: "x", Changed: changed})
		inside := func(folders []string) bool {
			return slices.ContainsFunc(changed, func(c string) bool {
				return slices.ContainsFunc(folders, func(f string) bool { return c == f || strings.HasPrefix(c, f+"/") })
			})
		}
		build := map[string]bool{}
		for _, s := range services { // contexts refer to earlier ones only
			build[s.Name] = inside(append([]string{s.Path}, s.Also...)) || build[s.Contexts["x"]]
			if v := got[s.Name]; v.Build != build[s.Name] || v.Deploy != inside(s.Deploy) {
				t.Fatalf("%+v, changed %v: got %+v", s, changed, v)
			}
		}
	})
}

// Changing any one field of the inputs changes the digest; building the same inputs
// again, with maps filled in another order, does not.
func TestDigests(t *testing.T) {
	t.Run("build", func(t *testing.T) { everyFieldCounts(t, affected.BuildDigest) })
	t.Run("test", func(t *testing.T) { everyFieldCounts(t, affected.TestDigest) })
	t.Run("scan", func(t *testing.T) { everyFieldCounts(t, affected.ScanDigest) })
	t.Run("sign", func(t *testing.T) { everyFieldCounts(t, affected.SignDigest) })
	t.Run("render", func(t *testing.T) { everyFieldCounts(t, affected.RenderDigest) })
	digests := map[string]bool{
		affected.BuildDigest(affected.BuildInputs{}): true, affected.TestDigest(affected.TestInputs{}): true,
		affected.RenderDigest(affected.RenderInputs{}): true, affected.ScanDigest(affected.ScanInputs{}): true, affected.SignDigest(affected.SignInputs{}): true,
	}
	if len(digests) != 5 {
		t.Error("digests of different kinds are equal")
	}
}

func everyFieldCounts[T any](t *testing.T, digest func(T) string) {
	t.Helper()
	text := rapid.StringN(0, 6, 12)
	rapid.Check(t, func(t *rapid.T) {
		var in T
		v := reflect.ValueOf(&in).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch f := v.Field(i); f.Kind() {
			case reflect.String:
				f.SetString(text.Draw(t, name))
			case reflect.Bool:
				f.SetBool(rapid.Bool().Draw(t, name))
			case reflect.Slice:
				f.Set(reflect.ValueOf(rapid.SliceOfN(text, 0, 4).Draw(t, name)))
			default:
				f.Set(reflect.ValueOf(rapid.MapOfN(text, text, 0, 4).Draw(t, name)))
			}
		}
		before := digest(in)
		for i := range v.NumField() {
			f := v.Field(i)
			old := reflect.New(f.Type()).Elem()
			old.Set(f)
			switch f.Kind() {
			case reflect.String:
				f.SetString(f.String() + "x")
			case reflect.Bool:
				f.SetBool(!f.Bool())
			case reflect.Slice:
				f.Set(reflect.Append(f, reflect.ValueOf("")))
			default:
				m := maps.Clone(f.Interface().(map[string]string))
				key := rapid.SampledFrom(append(slices.Sorted(maps.Keys(m)), "new")).Draw(t, "key")
				m[key] += "x"
				f.Set(reflect.ValueOf(m))
			}
			if digest(in) == before {
				t.Fatalf("%s does not change the digest", v.Type().Field(i).Name)
			}
			f.Set(old)
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Map {
				m := map[string]string{}
				for _, k := range slices.Backward(slices.Sorted(maps.Keys(f.Interface().(map[string]string)))) {
					m[k] = f.Interface().(map[string]string)[k]
				}
				f.Set(reflect.ValueOf(m))
			}
		}
		if digest(in) != before {
			t.Fatal("the same inputs have another digest")
		}
	})
}

// Moving text from one field into its neighbor must not go unnoticed.
func TestDigestSeparatesFields(t *testing.T) {
	a := affected.TestDigest(affected.TestInputs{Run: "ab", In: "c"})
	b := affected.TestDigest(affected.TestInputs{Run: "a", In: "bc"})
	c := affected.BuildDigest(affected.BuildInputs{Args: map[string]string{"a": "b"}})
	d := affected.BuildDigest(affected.BuildInputs{Bases: map[string]string{"a": "b"}})
	if a == b || c == d {
		t.Error("equal")
	}
}
