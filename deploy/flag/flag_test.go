package flag_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/deploy/flag"
)

func parse(t *testing.T, text string) flag.File {
	t.Helper()
	f, err := flag.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// file has a flag whose definition ends with rest.
func file(rest string) string {
	return `{"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": {"new": {"state": "ENABLED", "variants": {"on": true, "off": false}, ` + rest + `}, "other": {"state": "ENABLED", "variants": {"a": 1.50}, "defaultVariant": "a"}}, "$evaluators": {"e": {"in": ["@", {"var": ["email"]}]}}}`
}

func TestTheVariantOfAll(t *testing.T) {
	for rest, want := range map[string]string{
		`"defaultVariant": "on"`:                   "on",
		`"defaultVariant": "off", "targeting": {}`: "off",
		`"defaultVariant": "off", "targeting": {"fractional": [["on", 100], ["off", 0]]}`:             "on",
		`"defaultVariant": "off", "targeting": {"fractional": [{"var": "email"}, ["on", 1]]}`:         "on",
		`"defaultVariant": "off", "targeting": {"fractional": [["on"]]}`:                              "on",
		`"defaultVariant": "on", "targeting": {"fractional": [["on", 50], ["off", 50]]}`:              "",
		`"defaultVariant": "on", "targeting": {"fractional": [["on"], ["off"]]}`:                      "",
		`"defaultVariant": "on", "targeting": {"if": [{"==": [{"var": "email"}, "a"]}, "on", "off"]}`: "",
		`"defaultVariant": "gone"`:                    "",
		`"defaultVariant": null`:                      "",
		`"defaultVariant": "on", "state": "DISABLED"`: "",
		`"defaultVariant": "on", "targeting": {"fractional": [["on", {"var": "share"}], ["off", 50]]}`: "",
		`"defaultVariant": "on", "targeting": {"fractional": [["on", 100]], "$ref": "e"}`:              "",
		`"defaultVariant": "on", "targeting": {"fractional": [{"var": "email"}, [{"var": "x"}, 100]]}`: "",
	} {
		got, err := parse(t, file(rest)).Variant("new")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", rest, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "flag new does not give one variant to all") {
			t.Errorf("%s: %v", rest, err)
		}
	}
	if _, err := parse(t, file(`"defaultVariant": "on"`)).Variant("nobody"); !errors.Is(err, flag.ErrNoFlag) {
		t.Error(err)
	}
}

func TestBlend(t *testing.T) {
	live, next := parse(t, file(`"defaultVariant": "off"`)), parse(t, file(`"defaultVariant": "on", "targeting": {"fractional": [{"var": "email"}, ["on", 100]]}`))
	got, err := flag.Blend(live, next, "new", "off", 10)
	if err != nil {
		t.Fatal(err)
	}
	want := file(`"defaultVariant": "off", "targeting": {"fractional": [{"var": "email"}, ["on", 10], ["off", 90]]}`)
	if diff := cmp.Diff(decoded(t, []byte(want)), decoded(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(string(got), "1.50") {
		t.Errorf("a number of another flag is written in another way:\n%s", got)
	}
	if share := parse(t, string(got)).Share("new", "on"); share != 10 {
		t.Errorf("on has %d percent", share)
	}
}

func TestBlendFromWhatIsNotThereAnyMore(t *testing.T) {
	live := parse(t, `{"flags": {"new": {"variants": {"red": "#f00", "off": ""}, "defaultVariant": "red"}}}`)
	next := parse(t, `{"flags": {"new": {"variants": {"blue": "#00f"}, "defaultVariant": "blue"}}}`)
	got, err := flag.Blend(live, next, "new", "red", 25)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"flags": {"new": {"state": "ENABLED", "variants": {"red": "#f00", "blue": "#00f"}, "defaultVariant": "red", "targeting": {"fractional": [["blue", 25], ["red", 75]]}}}}`
	if diff := cmp.Diff(decoded(t, []byte(want)), decoded(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := flag.Blend(flag.File{}, next, "new", "red", 25); err == nil || !strings.Contains(err.Error(), `no variant "red" any more`) {
		t.Error(err)
	}
}

// TestBlendsAreRead: whatever the percentage, what was blended gives no one variant to all, says its share, and is a file from which the same is blended again.
func TestBlendsAreRead(t *testing.T) {
	next := parse(t, file(`"defaultVariant": "on"`))
	rapid.Check(t, func(rt *rapid.T) {
		percent, again := rapid.IntRange(1, 99).Draw(rt, "percent"), rapid.IntRange(1, 99).Draw(rt, "again")
		data, err := flag.Blend(flag.File{}, next, "new", "off", percent)
		if err != nil {
			rt.Fatal(err)
		}
		live, err := flag.Parse(data)
		if err != nil || live.Share("new", "on") != percent || live.Share("new", "off") != 100-percent {
			rt.Fatalf("%v: %s", err, data)
		}
		if variant, err := live.Variant("new"); err == nil {
			rt.Fatalf("%s for all: %s", variant, data)
		}
		first, err := flag.Blend(live, next, "new", "off", again)
		if err != nil {
			rt.Fatal(err)
		}
		if second, err := flag.Blend(flag.File{}, next, "new", "off", again); err != nil || string(first) != string(second) {
			rt.Fatalf("%v: %s, and %s", err, first, second)
		}
	})
}

func TestWhatIsNoFile(t *testing.T) {
	for text, want := range map[string]string{"": `no "flags"`, "[1]": "is no flag file", `{"flags": 3}`: `no "flags"`, "a: [": "is no flag file"} {
		if _, err := flag.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if !parse(t, "flags:\n  new: { state: ENABLED, variants: { on: true }, defaultVariant: on }\n").Has("new") {
		t.Error("YAML is not read")
	}
}

func decoded(t *testing.T, data []byte) any {
	t.Helper()
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(fmt.Errorf("%w:\n%s", err, data))
	}
	return out
}
