package testreport_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/worker/runner/testreport"
)

const junit = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="99">
 <testsuite name="money">
  <testcase name="adds" classname="money.Test" file="money.js" time="0.5"/>
  <testcase name="rounds" time="1,000.25"><failure message="want 2">got 3
at money.js:7</failure><system-out>printed before</system-out></testcase>
  <testsuite name="inner"><testcase name="later"><skipped/></testcase></testsuite>
  <testcase name="explodes"><error message="boom"/></testcase>
 </testsuite>
</testsuites>`

func TestJUnit(t *testing.T) {
	got, err := testreport.Parse([]byte(junit))
	if err != nil {
		t.Fatal(err)
	}
	want := testreport.Summary{
		Total: 4, Passed: 1, Failed: 2, Skipped: 1, Duration: 1000750 * time.Millisecond,
		Failures: []testreport.Case{
			{Suite: "money", Name: "rounds", Duration: 1000250 * time.Millisecond, Output: "printed before\nwant 2\ngot 3\nat money.js:7"},
			{Suite: "money", Name: "explodes", Output: "boom"},
		},
		Took: []testreport.Took{{Suite: "money.Test", Name: "adds", File: "money.js", Duration: 500 * time.Millisecond}, {Suite: "money", Name: "rounds", Duration: 1000250 * time.Millisecond}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

const events = `{"Action":"start","Package":"shop/money"}
{"Action":"run","Package":"shop/money","Test":"TestAdd"}
{"Action":"output","Package":"shop/money","Test":"TestAdd","Output":"--- PASS: TestAdd (0.00s)\n"}
{"Action":"pass","Package":"shop/money","Test":"TestAdd","Elapsed":0.01}
{"Action":"output","Package":"shop/money","Test":"TestRound","Output":"    money_test.go:9: got 3, want 2\n"}
{"Action":"fail","Package":"shop/money","Test":"TestRound","Elapsed":0.02}
{"Action":"skip","Package":"shop/money","Test":"TestSlow","Elapsed":0}
{"Action":"fail","Package":"shop/money","Elapsed":0.5}
FAIL
{"ImportPath":"shop/broken [shop/broken.test]","Action":"build-output","Output":"broken.go:3: undefined: x\n"}
{"ImportPath":"shop/broken [shop/broken.test]","Action":"build-fail"}
{"Action":"run","Package":"shop/hangs","Test":"TestForever"}
{"Action":"output","Package":"shop/hangs","Test":"TestForever","Output":"waiting\n"}
`

func TestGoEvents(t *testing.T) {
	got, err := testreport.Parse([]byte(events))
	if err != nil {
		t.Fatal(err)
	}
	want := testreport.Summary{
		Total: 5, Passed: 1, Failed: 3, Skipped: 1, Duration: 500 * time.Millisecond, Partial: true, // one did not end
		Failures: []testreport.Case{
			{Suite: "shop/money", Name: "TestRound", Duration: 20 * time.Millisecond, Output: "    money_test.go:9: got 3, want 2"},
			{Suite: "shop/broken", Name: "(package)", Output: "broken.go:3: undefined: x"},
			{Suite: "shop/hangs", Name: "TestForever", Output: "waiting\nthe test did not end: the process exited or was killed"},
		},
		Took: []testreport.Took{
			{Suite: "shop/money", Duration: 500 * time.Millisecond}, {Suite: "shop/money", Name: "TestAdd", Duration: 10 * time.Millisecond},
			{Suite: "shop/money", Name: "TestRound", Duration: 20 * time.Millisecond},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestWhatAPanicTakesAlong: the tests behind one that panicked are not in the events, and so not all is known.
func TestWhatAPanicTakesAlong(t *testing.T) {
	for name, c := range map[string]struct {
		output, pkg string
		want        bool
	}{
		"it failed":     {"    a_test.go:9: no\\n--- FAIL: TestA (0.00s)\\n", "FAIL\\nexit status 1\\n", false},
		"it panicked":   {"--- FAIL: TestA (0.00s)\\npanic: no [recovered]\\n", "FAIL\\nexit status 2\\n", true},
		"os.Exit(3)":    {"--- FAIL: TestA (0.00s)\\n", "exit status 3\\n", true},
		"its own panic": {"it says panic: and goes on\\n", "FAIL\\nexit status 1\\n", false},
	} {
		got, err := testreport.Parse([]byte(`{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"` + c.output + `"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.01}
{"Action":"output","Package":"p","Output":"` + c.pkg + `"}
{"Action":"fail","Package":"p","Elapsed":0.02}
`))
		if err != nil || got.Failed != 1 || got.Partial != c.want {
			t.Errorf("%s: partial %t, want %t; %+v, %v", name, got.Partial, c.want, got, err)
		}
	}
}

func TestBadReports(t *testing.T) {
	for name, c := range map[string]struct{ report, want string }{
		"empty":     {" \n", "report is empty"},
		"text":      {"all is well", "neither JUnit XML nor"},
		"go test":   {"ok  \tshop/money\t0.003s\n", "neither JUnit XML nor"},
		"cut off":   {junit[:200], "line 5, column"},
		"html":      {"<html></html>", "root element is <html>"},
		"not event": {"{\"a\":1}\n", "line 1 is no event"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := testreport.Parse([]byte(c.report))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	var b strings.Builder
	b.WriteString("<testsuite>")
	for range 200 {
		b.WriteString("<testcase name='t'><failure>" + strings.Repeat("a line of output\n", 1000) + "</failure></testcase>")
	}
	b.WriteString("</testsuite>")
	s, err := testreport.Parse([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if s.Failed != 200 || len(s.Failures) != testreport.MaxFailures || len(s.Failures[0].Output) > testreport.MaxOutput {
		t.Errorf("%d failed, %d kept, %d bytes of output", s.Failed, len(s.Failures), len(s.Failures[0].Output))
	}
}

func TestFromOutput(t *testing.T) {
	for name, c := range map[string]struct {
		output string
		want   []string
	}{
		"go":   {"=== RUN   TestRound\n    x_test.go:9: got 3\n--- FAIL: TestRound (0.00s)\nFAIL\n", []string{"TestRound"}},
		"tap":  {"TAP version 13\nok 1 - adds\nnot ok 2 - rounds half up\nnot ok 3 - later # TODO\n", []string{"rounds half up"}},
		"node": {"✔ adds (1.2ms)\n✖ rounds half up (0.5ms)\n✖ failing tests:\n\n✖ rounds half up (0.5ms)\n", []string{"rounds half up"}},
		"jest": {"PASS src/a.test.js\n  ✓ adds (2 ms)\n  ✕ rounds half up (5 ms)\n  ○ skipped later\n", []string{"rounds half up"}},
		"pytest": {"tests/test_a.py::test_adds PASSED      [ 50%]\ntests/test_a.py::test_rounds[a b] FAILED [100%]\n\nFAILED tests/test_a.py::test_rounds[a b] - assert 1 == 2\nERROR tests/test_b.py::test_db - no database\n",
			[]string{"tests/test_a.py::test_rounds[a b]", "tests/test_b.py::test_db"}},
		"json": {"building\n" + events, []string{"TestRound", "(package)", "TestForever"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, ok := testreport.FromOutput([]byte(c.output))
			if !ok {
				t.Fatal("nothing found")
			}
			var names []string
			for _, f := range s.Failures {
				names = append(names, f.Name)
			}
			if d := cmp.Diff(c.want, names); d != "" {
				t.Error(d)
			}
		})
	}
	if _, ok := testreport.FromOutput([]byte("all is well\n")); ok {
		t.Error("found results where there are none")
	}
}

func TestTAP(t *testing.T) {
	got, err := testreport.Parse([]byte(`TAP version 14
1..6
ok 1 - adds
not ok 2 - rounds half up
  ---
  message: got 3, want 2
  ...
# Subtest: later
    not ok 1 - inner
    1..1
ok 3 - outer
not ok 4 - later # TODO not yet
ok 5 # SKIP no database
`))
	if err != nil {
		t.Fatal(err)
	}
	want := testreport.Summary{
		Total: 6, Passed: 2, Failed: 2, Skipped: 2,
		Failures: []testreport.Case{
			{Name: "rounds half up", Output: "  ---\n  message: got 3, want 2\n  ...\n# Subtest: later\n    not ok 1 - inner\n    1..1"},
			{Name: "(plan)", Output: "6 tests were planned and 5 ran: the process exited or was killed"},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got, err = testreport.Parse([]byte("TAP version 13\nok 1\nnot ok\nBail out! no disk\nok 3\n"))
	if err != nil || got.Failed != 2 || got.Failures[0].Name != "test 2" || got.Failures[1].Output != "no disk" {
		t.Errorf("bail out: %+v, %v", got, err)
	}
	if _, err := testreport.Parse([]byte("1..99999999\n")); err == nil || !strings.Contains(err.Error(), "report plans 99999999 tests") {
		t.Errorf("a plan without end: %v", err)
	}
}

func TestJest(t *testing.T) {
	got, err := testreport.Parse([]byte(`{"numTotalTests": 3, "success": false, "testResults": [
  {"name": "/src/money.test.js", "status": "failed", "message": "…", "assertionResults": [
    {"fullName": "money adds", "title": "adds", "status": "passed", "duration": 2},
    {"fullName": "money rounds", "title": "rounds", "status": "failed", "duration": 5.5, "failureMessages": ["expected 3", "at line 9"]},
    {"fullName": "money later", "title": "later", "status": "pending"}]},
  {"name": "/src/broken.test.js", "status": "failed", "message": "SyntaxError: x", "assertionResults": []}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := testreport.Summary{
		Total: 4, Passed: 1, Failed: 2, Skipped: 1, Duration: 7500 * time.Microsecond,
		Failures: []testreport.Case{
			{Suite: "/src/money.test.js", Name: "money rounds", Duration: 5500 * time.Microsecond, Output: "expected 3\nat line 9", File: "/src/money.test.js"},
			{Suite: "/src/broken.test.js", Name: "(file)", Output: "SyntaxError: x"},
		},
		Took: []testreport.Took{
			{Suite: "/src/money.test.js", Name: "money adds", File: "/src/money.test.js", Duration: 2 * time.Millisecond},
			{Suite: "/src/money.test.js", Name: "money rounds", File: "/src/money.test.js", Duration: 5500 * time.Microsecond},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{junit, "TAP version 13\n1..2\nok 1\nnot ok 2 - x\n  y\n", `{"testResults":[{"assertionResults":[{"status":"failed"}]}]}`, events, "", "<", "{", "<testsuite><testcase>", `{"Action":"fail","Test":"a/b"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := testreport.Parse(data)
		if err != nil {
			return
		}
		if s.Passed+s.Failed+s.Skipped != s.Total || len(s.Failures) > s.Failed {
			t.Errorf("counts do not add up: %+v", s)
		}
		testreport.FromOutput(data)
	})
}
