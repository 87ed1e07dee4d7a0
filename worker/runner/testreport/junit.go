package testreport

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDepth is how deep suites may lie within suites.
const maxDepth = 100

// parseJUnit reads what test tools agree on: testsuites and testsuite elements of any
// depth with testcase elements that may hold failure, error, skipped, system-out and
// system-err. Counts are those of the cases, since the attributes of tools differ.
func parseJUnit(data []byte) (Summary, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	var s Summary
	var suites []string
	seen := false
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Summary{}, positioned(d, "malformed XML: %v", err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "testsuites":
				seen = true
			case "testsuite":
				seen = true
				if suites = append(suites, attr(e, "name")); len(suites) > maxDepth {
					return Summary{}, positioned(d, "suites lie more than %d deep", maxDepth)
				}
			case "testcase":
				if err := readCase(d, e, suites, &s); err != nil {
					return Summary{}, err
				}
			default:
				if !seen {
					return Summary{}, positioned(d, "root element is <%s>, expected <testsuites> or <testsuite>", e.Name.Local)
				}
			}
		case xml.EndElement:
			if e.Name.Local == "testsuite" && len(suites) > 0 {
				suites = suites[:len(suites)-1]
			}
		}
	}
	if !seen {
		return Summary{}, ErrFormat
	}
	return s, nil
}

type junitCase struct {
	Failures []junitText `xml:"failure"`
	Errors   []junitText `xml:"error"`
	Skipped  *junitText  `xml:"skipped"`
	Out      string      `xml:"system-out"`
	Err      string      `xml:"system-err"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func readCase(d *xml.Decoder, e xml.StartElement, suites []string, s *Summary) error {
	var c junitCase
	if err := d.DecodeElement(&c, &e); err != nil {
		return positioned(d, "malformed test case: %v", err)
	}
	out := Case{Name: attr(e, "name"), Suite: attr(e, "classname"), Duration: seconds(attr(e, "time")), File: attr(e, "file")}
	if out.Suite == "" && len(suites) > 0 {
		out.Suite = suites[len(suites)-1]
	}
	s.Duration += out.Duration
	st := passed
	switch bad := slices.Concat(c.Failures, c.Errors); {
	case len(bad) > 0:
		st = failed
		out.Output = caseOutput(bad, c)
	case c.Skipped != nil:
		st = skipped
	}
	return s.add(st, out)
}

// caseOutput puts what the case printed before why it failed: the end is what is kept.
func caseOutput(bad []junitText, c junitCase) string {
	var parts []string
	for _, p := range []string{c.Out, c.Err} {
		if p = strings.Trim(p, "\n"); strings.TrimSpace(p) != "" {
			parts = append(parts, p)
		}
	}
	for _, b := range bad {
		text := strings.Trim(b.Text, "\n")
		if b.Message != "" && !strings.Contains(text, b.Message) {
			parts = append(parts, b.Message)
		}
		if strings.TrimSpace(text) != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "\n")
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// seconds reads "1.5" and "1,234.5"; anything else is 0: a time is no reason to refuse a report.
func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", ""), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 1e7 {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

func positioned(d *xml.Decoder, format string, a ...any) error {
	line, col := d.InputPos()
	return fmt.Errorf("line %d, column %d: %s", line, col, fmt.Sprintf(format, a...))
}
