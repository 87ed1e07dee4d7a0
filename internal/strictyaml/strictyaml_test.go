package strictyaml_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

type server struct {
	Listen string `yaml:"listen,required"`
	Port   uint16 `yaml:"port"`
	TLS    *struct {
		Cert string `yaml:"cert,required"`
	} `yaml:"tls"`
	Pos strictyaml.Pos
}

type level int

func (l *level) ReadYAML(n strictyaml.Node) {
	*l = level(len(n.Enum("a", "bb", "ccc")))
}

type config struct {
	Name    string            `yaml:"name,required"`
	Wait    time.Duration     `yaml:"wait"`
	Debug   bool              `yaml:"debug"`
	Count   int               `yaml:"count"`
	Ratio   float64           `yaml:"ratio"`
	Tags    []string          `yaml:"tags"`
	Env     map[string]string `yaml:"env"`
	Servers []server          `yaml:"servers"`
	Level   level             `yaml:"level"`
	private int
	Ignored int
}

func TestDecode(t *testing.T) {
	c := config{Wait: time.Minute, Count: 7, private: 1}
	problems := strictyaml.Decode("c.yaml", []byte(`
name: &n "x"
wait: 90s
debug: true
ratio: 0.5
tags: [a, *n]
env: { A: "1" }
level: bb
servers:
  - &s { listen: "127.0.0.1:1", port: 80 }
  - { <<: *s, port: 81, tls: { cert: c } }
`), strictyaml.DefaultLimits(), &c)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	last := c.Servers[1]
	got := fmt.Sprintln(c.Name, c.Wait, c.Debug, c.Count, c.Ratio, c.Tags, c.Env, c.Level, c.private,
		last.Listen, last.Port, last.TLS.Cert, last.Pos)
	if want := "x 1m30s true 7 0.5 [a x] map[A:1] 2 1 127.0.0.1:1 81 c c.yaml:11:5\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"unknown key", "name: x\nwiat: 1s", `c.yaml:2:1: unknown key "wiat" in the file; did you mean "wait"?`},
		{"unknown key, nothing near", "name: x\nzzz: 1s", `c.yaml:2:1: unknown key "zzz" in the file; known keys: count, debug, env, level, name, ratio, servers, tags, wait`},
		{"duplicate", "name: x\nname: y", `c.yaml:2:1: "name" is written twice: first on line 1; remove one of them`},
		{"required", "servers:\n  - port: 1", "c.yaml:1:1: the file has no \"name\", which is required\nc.yaml:2:5: servers has no \"listen\", which is required"},
		{"no value", "name:", `c.yaml:1:6: name: no value; write one, or remove the key`},
		{"number as text", "name: 1.10", `c.yaml:1:7: name: want a text, got the number "1.10"; put it in quotes: "1.10"`},
		{"true as text", "name: true", `c.yaml:1:7: name: want a text, got true; put it in quotes: "true"`},
		{"list as text", "name: [x]", `c.yaml:1:7: name: want a text, got a list`},
		{"own tag", "name: !x y", `c.yaml:1:7: name: want a text, got "y"`},
		{"text as bool", "name: x\ndebug: yes", `c.yaml:2:8: debug: want true or false, got "yes"`},
		{"duration", "name: x\nwait: 15", `c.yaml:2:7: wait: want a duration, got the number "15"; write a unit: 15s, 15m or 15h`},
		{"negative duration", "name: x\nwait: -1s", `c.yaml:2:7: wait: want a duration from 0s to 2562047h47m16.854775807s, got -1s`},
		{"enum", "name: x\nlevel: cc", `c.yaml:2:8: level: want a, bb or ccc, got "cc"; did you mean "ccc"?`},
		{"list", "name: x\ntags: a", `c.yaml:2:7: tags: want a list, got "a"; write [a]`},
		{"item", "name: x\ntags: [a, {}]", `c.yaml:2:11: tags[1]: want a text, got a mapping`},
		{"range", "name: x\nservers: [{listen: x, port: 70000}]", `c.yaml:2:29: servers[0].port: want a whole number from 0 to 65535, got 70000`},
		{"null key", "name: x\n~: 1", `c.yaml:2:1: a key must be a name, got nothing; write a name`},
		{"list as key", "name: x\n? [a]\n: 1", `c.yaml:2:3: a key must be a name, got a list; write a name`},
		{"bad merge", "name: x\n<<: 5", `c.yaml:2:5: a merge key needs a mapping, got the number "5"; write an alias, as <<: *name`},
		{"bad merges", "name: x\n<<: [5]", `c.yaml:2:6: a merge key needs mappings, got the number "5"`},
		{"once per anchor", "name: x\nservers: [&a {listen: x, prt: 1}, *a, *a]", `c.yaml:2:26: unknown key "prt" in servers; did you mean "port"?`},
		{"runes", "name: x\ntags: [é, ü, 5]", `c.yaml:2:14: tags[2]: want a text, got the number "5"; put it in quotes: "5"`},
		{"not UTF-8", "name: x\ntags: [\xff]", `c.yaml:2:8: byte 0xff is not UTF-8; save the file as UTF-8`},
		{"empty", "# nothing\n", `c.yaml:1:1: the file is empty`},
		{"control character", "name: \x01", `c.yaml:1:7: a control character, U+0001; remove it`},
		{"line break of another kind", "name: x\rtags: [y]", `c.yaml:1:8: a line ends with U+000D; end lines with a newline`},
		{"lines of Windows", "name: x\r\ntags: 5\r\n", `c.yaml:2:7: tags: want a list, got the number "5"; write [5]`},
		{"too deep", "name: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), `c.yaml:1:39: not YAML: exceeded max depth of 32 while increasing flow level`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out config
			problems := strictyaml.Decode("c.yaml", []byte(c.in), strictyaml.DefaultLimits(), &out)
			if diff := cmp.Diff(c.want, problems.Error()); diff != "" {
				t.Error(diff)
			}
			if problems.Err() == nil {
				t.Error("Err is nil")
			}
		})
	}
}

// A few kilobytes must not expand to gigabytes, however the aliases are nested.
func TestLimits(t *testing.T) {
	var bomb, deep strings.Builder
	bomb.WriteString("a0: &a0 {k: v}\n")
	deep.WriteString("a0: &a0 [x]\n")
	for i := range 40 {
		fmt.Fprintf(&bomb, "a%d: &a%d {x: *a%d, y: *a%d, z: *a%d}\n", i+1, i+1, i, i, i)
		fmt.Fprintf(&deep, "a%d: &a%d [*a%d]\n", i+1, i+1, i)
	}
	var merges strings.Builder
	merges.WriteString("a0: &a0 {k: v}\n")
	for i := range 40 {
		fmt.Fprintf(&merges, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i)
	}
	for _, c := range []struct{ name, in, want string }{
		{"bomb", bomb.String(), "more than 1000 keys and values, aliases expanded"},
		{"merges", merges.String(), "more than 1000 keys and values, aliases expanded"},
		{"deep", deep.String(), "nested deeper than 32, aliases expanded"},
		{"cycle", "a: &a {b: *a}", "this anchor contains an alias of itself; remove the alias"},
		{"long", strings.Repeat("#", 100_001), "c.yaml: the file has 100001 bytes; at most 100000 are read"},
		{"many", strings.Repeat("- x\n", 1000), "more than 1000 keys and values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := strictyaml.NewReporter(10)
			_, ok := strictyaml.Parse("c.yaml", []byte(c.in), strictyaml.Limits{Bytes: 100_000, Depth: 32, Nodes: 1000}, report)
			got := report.Problems().Error()
			if ok || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestReporter(t *testing.T) {
	var in strings.Builder
	for i := range 300 {
		fmt.Fprintf(&in, "key%d: x\n", i)
	}
	var out struct{}
	problems := strictyaml.Decode("c.yaml", []byte(in.String()), strictyaml.DefaultLimits(), &out)
	if len(problems) != 201 || problems[200].Message != "more than 200 mistakes" {
		t.Errorf("%d problems, the last: %v", len(problems), problems[len(problems)-1])
	}
	if got := problems[0].Excerpt; got != "    1 | key0: x\n      | ^" {
		t.Errorf("excerpt:\n%s", got)
	}
	var list strictyaml.Problems
	if !errors.As(problems.Err(), &list) || strictyaml.Problems(nil).Err() != nil {
		t.Error("Err does not keep the problems")
	}
}

// Whatever is in a line, its excerpt is two lines, printable, with the caret inside.
func TestExcerpt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := strings.NewReplacer("\n", "", "\r", "").Replace(rapid.String().Draw(t, "line"))
		column := rapid.IntRange(1, len([]rune(line))+1).Draw(t, "column")
		report := strictyaml.NewReporter(1)
		report.Add(strictyaml.At("x", []byte("first\n"+line), 2, column), "", "m")
		text, caret, _ := strings.Cut(report.Problems()[0].Excerpt, "\n")
		if strings.ContainsAny(text+caret, "\x1b\n\t\r") || !strings.HasSuffix(caret, "^") || len([]rune(caret)) > 130 {
			t.Fatalf("%q\n%q", text, caret)
		}
	})
}

func TestSuggest(t *testing.T) {
	for _, c := range []struct{ wrong, want string }{
		{"tset", `did you mean "test"?`}, {"Test", `did you mean "test"?`}, {"tests", `did you mean "test"?`},
		{"build", `did you mean "build"?`}, {"bulid", `did you mean "build"?`}, {"deplyo", `did you mean "deploy"?`},
		{"x", ""}, {"", ""}, {"sidecar", ""}, {strings.Repeat("t", 100), ""},
	} {
		if got := strictyaml.Suggest(c.wrong, []string{"test", "build", "deploy"}); got != c.want {
			t.Errorf("%q: got %s", c.wrong, got)
		}
	}
}
