package bake_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/internal/strictyaml"
	"github.com/slipway-build/slipway/slipway/scaffold/bake"
)

func read(name, text string, env map[string]string) (*bake.Definition, error) {
	return bake.Read(bake.Config{
		Files: []bake.File{{Name: name, Data: []byte(text)}},
		Env:   func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
}

// names of what is built.
func names(d *bake.Definition) string {
	var out []string
	for _, t := range d.Targets {
		name := t.Name
		if t.Linked {
			name = "(" + name + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// TestMistakes are told with the place, what is wrong, and what is expected.
func TestMistakes(t *testing.T) {
	const hint = "; let bake evaluate it: docker buildx bake --print | slipway init --bake -"
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "target \"a\" {\n  context = \n}", "b.hcl:2:13: Expected the start of an expression, but found an invalid expression token"},
		{"key", "target \"a\" {\n  contex = \".\"\n}", `b.hcl:2:3: An argument named "contex" is not expected here. Did you mean "context"?`},
		{"block", "service \"a\" {\n}", "b.hcl:1:1: Blocks are not allowed here"},
		{"no name", "target {\n}", "b.hcl:1:8: All target blocks must have 1 labels (name)"},
		{"variable", `target "a" { context = CONTEXT }`, `b.hcl:1:24: There is no variable named "CONTEXT"`},
		{"own function", "function \"f\" {\n  params = [a]\n  result = a\n}\ntarget \"a\" {}", `b.hcl:1:10: the function "f" is defined here, and functions of a file are not evaluated` + hint},
		{"function", `target "a" { args = { T = timestamp() } }`, `b.hcl:1:27: the function "timestamp" is not evaluated here` + hint},
		{"inline", "target \"a\" {\n  dockerfile-inline = \"FROM scratch\"\n}", `b.hcl:2:3: a Dockerfile inside of a bake file is not built: a has one; write it into a file, and name that with dockerfile`},
		{"inherits", `target "a" { inherits = ["aple"] }` + "\n" + `target "apple" {}`, `b.hcl:1:26: there is no target "aple"; did you mean "apple"?`},
		{"itself", `target "a" { inherits = ["b"] }` + "\n" + `target "b" { inherits = ["a"] }`, `b.hcl:1:26: the target "b" inherits from itself` + "\n" + `b.hcl:2:26: the target "a" inherits from itself`},
		{"group", `group "default" { targets = ["b"] }` + "\n" + `target "a" {}`, `b.hcl:1:30: there is no target or group "b"; there are: a`},
		{"empty group", `group "default" { targets = [] }`, "b.hcl:1:1: the group default has no targets; list targets in it, or remove it to have all"},
		{"context", `target "a" { contexts = { b = "target:b" } }`, `b.hcl:1:27: there is no target "b"; there are: a`},
		{"circle", `target "a" { contexts = { x = "target:a" } }`, `b.hcl:1:27: the target "a" is built upon itself`},
		{"variables", "variable \"A\" { default = B }\nvariable \"B\" { default = A }\ntarget \"a\" { target = A }", `b.hcl:2:26: the variable "A" refers to itself`},
		{"references", `target "a" { args = { X = target.a.args.X } }`, "b.hcl:1:27: target.a.args refers to itself"},
		{"reference", `target "a" { target = target.b.target }`, `b.hcl:1:23: there is no target "b"; there are: a`},
		{"matrix", `target "a" { matrix = { x = ["1", "2"] } }`, "b.hcl:1:14: a matrix of 2 targets that all have one name; add name, with the variables of the matrix in it"},
		{"matrix names", "target \"a\" {\n  name = \"a-${x}\"\n  matrix = { x = [1, 2], y = [1, 2] }\n}", `b.hcl:2:10: two targets of the matrix have the name "a-1"; use every variable of the matrix in it`},
		{"name", `target "a b" {}`, `b.hcl:1:8: "a b" is no name of a target; use letters, digits, _ and -`},
		{"name alone", `target "a" { name = "b" }`, "b.hcl:1:14: the name of a target is that of its block; name is for a matrix; remove it, or add a matrix"},
		{"matrix value", `target "a" { matrix = { x = "1" } }`, `b.hcl:1:25: want a list of values for "x"`},
		{"list", `target "a" { platforms = "linux/amd64" }`, "b.hcl:1:26: want a list, got string"},
		{"mapping", `target "a" { args = ["A=b"] }`, "b.hcl:1:21: want a mapping, got tuple; write { NAME = value }"},
		{"text", `target "a" { context = ["."] }`, "b.hcl:1:24: want a text, got tuple"},
		{"secret", `target "a" { secret = ["src=x"] }`, "b.hcl:1:24: a secret without an id; write id=NAME"},
		{"secret field", `target "a" { secret = ["npm"] }`, `b.hcl:1:24: want key=value, got "npm"`},
		{"type", `variable "N" { type = number }` + "\n" + `target "a" { args = { N = N } }`, `b.hcl:1:1: the environment has N="many", and a number is wanted; unset it, or let bake evaluate it: docker buildx bake --print | slipway init --bake -`},
		{"all of them", "target \"a\" {\n  target = X\n  context = Y\n}", "b.hcl:2:12: There is no variable named \"X\"\nb.hcl:3:13: There is no variable named \"Y\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read("b.hcl", c.text, map[string]string{"N": "many"})
			var problems strictyaml.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want mistakes", err)
			}
			if diff := cmp.Diff(c.want, problems.Error()); diff != "" {
				t.Error("-want +got:\n" + diff)
			}
			for _, p := range problems {
				if p.Line > 0 && p.Excerpt == "" {
					t.Errorf("%v shows no line", p)
				}
			}
		})
	}
	if _, err := read("b.json", `{"target": {"a": {"contex": "."}}}`, nil); err == nil || !strings.Contains(err.Error(), `b.json:1:19: `) {
		t.Errorf("JSON: %v", err)
	}
}

// TestWhichAreBuilt says which targets are, by groups, names, and what is inherited.
func TestWhichAreBuilt(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`target "a" {}` + "\n" + `target "b" {}`, "a b"},
		{`target "default" {}` + "\n" + `target "b" {}`, "default"},
		{`group "all" { targets = ["b"] }` + "\n" + `target "a" {}` + "\n" + `target "b" {}`, "a b"},
		{`group "default" { targets = ["more", "b", "default"] }` + "\n" + `group "more" { targets = ["b"] }` + "\n" + `target "b" {}` + "\n" + `target "a" {}`, "b"},
		{`group "default" { targets = ["m"] }` + "\n" + `target "m" {` + "\n" + `matrix = { x = ["1", "2"] }` + "\n" + `name = "m${x}"` + "\n" + `}`, "m1 m2"},
		{`group "default" { targets = ["a"] }` + "\n" + `target "a" { contexts = { x = "target:b" } }` + "\n" + `target "b" { contexts = { x = "target:c" } }` + "\n" + `target "c" {}`, "a (b) (c)"},
		{`target "tags" { tags = ["x"] }` + "\n" + `target "_c" { context = "." }` + "\n" + `target "a" { inherits = ["tags", "_c"] }` + "\n" + `target "dev" {` + "\n" + `inherits = ["real"]` + "\n" + `}` + "\n" + `target "real" { target = "x" }`, "a dev real"},
		{``, ""},
	} {
		d, err := read("b.hcl", c.text, nil)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := names(d); got != c.want {
			t.Errorf("%s:\nbuilds %s, want %s", c.text, got, c.want)
		}
	}
}

// TestTheEnvironment sets variables, those that look like a secret apart: what is read is written into a file.
func TestTheEnvironment(t *testing.T) {
	const text = `
variable "TAG" { default = "latest" }
variable "DEBUG" { default = false }
variable "N" { type = number }
variable "NONE" {}
variable "NPM_TOKEN" { default = "" }
top = "is no variable"
target "a" { args = { TAG = upper(TAG), DEBUG = DEBUG ? "on" : "off", N = N, NONE = NONE, T = NPM_TOKEN, TOP = top } }
`
	d, err := read("b.hcl", text, map[string]string{"TAG": "v1", "DEBUG": "1", "N": "3", "NONE": "x", "NPM_TOKEN": "secret", "top": "no"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"TAG": "V1", "DEBUG": "on", "N": "3", "NONE": "x", "T": "", "TOP": "is no variable"}
	if diff := cmp.Diff(want, d.Targets[0].Args); diff != "" {
		t.Error("-want +got:\n" + diff)
	}
	if diff := cmp.Diff([]string{"DEBUG", "N", "NONE", "TAG"}, d.Env); diff != "" {
		t.Error("-want +got:\n" + diff)
	}
	if diff := cmp.Diff([]string{"NPM_TOKEN"}, d.Kept); diff != "" {
		t.Error("-want +got:\n" + diff)
	}
	d, err = read("b.hcl", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]string{"TAG": "LATEST", "DEBUG": "off", "NONE": "", "T": "", "TOP": "is no variable"}
	if diff := cmp.Diff(want, maps.Clone(d.Targets[0].Args)); diff != "" {
		t.Error("-want +got:\n" + diff)
	}
}

// TestAnythingIsRead without a panic, and mistakes have a place.
func TestAnythingIsRead(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		`target "a" {`, `target "b" {`, `group "default" {`, `variable "V" {`, `function "f" {`, "}", "\n", "\n", "matrix = { v = [1, null] }", `name = "x-${v}"`, "default = V", "default = null",
		`contexts = { x = "target:a" }`, "args = V", "args = null", "args = { A = null, B = V }", `inherits = ["a", "b"]`, "inherits = [null]", `targets = ["a", "default"]`, "targets = V",
		`secret = [null, {}, "id=x"]`, "attest = [1]", "context = target.a.context", "target = target.b", "tags = [timestamp()]", "type = list(string)", "type = 5", "${", "\x00", "é",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 20).Draw(t, "pieces"), rapid.SampledFrom([]string{"\n", " "}).Draw(t, "between"))
		_, err := read(rapid.SampledFrom([]string{"b.hcl", "b.json", "b"}).Draw(t, "name"), text, map[string]string{"V": "5"})
		var problems strictyaml.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatal(err)
		}
	})
}
