package coverage_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/worker/runner/coverage"
)

const (
	profile = `mode: set
shop/a.go:3.10,5.2 2 1
shop/a.go:7.10,9.2 2 0
`
	lcov = `TN:
SF:/src/web/a.js
FN:1,f
DA:1,3
DA:2,0,abc
DA:4,1e+06
end_of_record
SF:web/b.js
DA:1,0
end_of_record
`
	cobertura = `<?xml version="1.0" ?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.5"><sources><source>/src</source></sources><packages><package name="p"><classes>
<class name="a.py" filename="p/a.py"><methods><method name="f"><lines><line number="1" hits="2"/></lines></method></methods>
<lines><line number="1" hits="2"/><line number="2" hits="0"/></lines></class></classes></package></packages></coverage>`
)

func TestFormats(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  coverage.Summary
	}{
		"Go":        {[]string{profile}, coverage.Summary{Covered: 3, Total: 6, Files: []coverage.File{{"shop/a.go", 3, 6}}}},
		"LCOV":      {[]string{lcov}, coverage.Summary{Covered: 2, Total: 4, Files: []coverage.File{{"web/a.js", 2, 3}, {"web/b.js", 0, 1}}}},
		"Cobertura": {[]string{cobertura}, coverage.Summary{Covered: 1, Total: 2, Files: []coverage.File{{"p/a.py", 1, 2}}}},
		"with BOM":  {[]string{"\ufeff" + cobertura, "\ufeff" + profile}, coverage.Summary{Covered: 4, Total: 8, Files: []coverage.File{{"p/a.py", 1, 2}, {"shop/a.go", 3, 6}}}},
		"several":   {[]string{lcov, "SF:web/b.js\nDA:1,1\nend_of_record\n", profile, ""}, coverage.Summary{Covered: 6, Total: 10, Files: []coverage.File{{"shop/a.go", 3, 6}, {"web/a.js", 2, 3}, {"web/b.js", 1, 1}}}},
	} {
		l := coverage.Lines{}
		for _, f := range c.files {
			if err := l.Read([]byte(f)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if d := cmp.Diff(c.want, l.Summary("/src")); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestWhatIsNoCoverage(t *testing.T) {
	for text, want := range map[string]string{
		"<testsuite><testcase name='x'/></testsuite>":      "no Cobertura XML",
		"<coverage><class filename='a'><line number='x'/>": "no Cobertura XML",
		"<coverage><class filename='a'>":                   "XML: ",
		"hello":                                            "no profile of Go",
		"mode: set\nnonsense":                              "profile of Go",
		"SF:a\nDA:x,1":                                     `line 2: "DA:x,1" says nothing`,
		"SF:a\nDA:99999999,1":                              "a has no line 99999999",
		"mode: set\na.go:1.1,99999999.2 1 1\n":             "a.go has no line 99999999",
		"mode: set\n" + strings.Join([]string{"a", "b", "c", "d", "e", ""}, ".go:1.1,1000000.2 1 1\n"): "more than 4194304 lines",
		"SF:" + strings.Repeat("x", 5000) + "\nDA:1,1":                                                 "a file with more than 4096 bytes, xxx",
		strings.Repeat(" ", coverage.MaxSize+1):                                                        "more than 32 MiB",
	} {
		if err := (&coverage.Lines{}).Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{profile, lcov, cobertura} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l := coverage.Lines{}
		_ = l.Read(data)
		if s := l.Summary("/"); s.Covered > s.Total {
			t.Errorf("%+v", s)
		}
	})
}
