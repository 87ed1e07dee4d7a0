package testreport

import (
	"encoding/json"
	"strings"
	"time"
)

// jestReport is what `jest --json` and Vitest's json reporter write (jestjs.io/docs/cli).
type jestReport struct {
	Results []jestFile `json:"testResults"`
}

type jestFile struct {
	Name    string     `json:"name"`
	Status  string     `json:"status"`
	Message string     `json:"message"`
	Tests   []jestTest `json:"assertionResults"`
}

type jestTest struct {
	FullName string   `json:"fullName"`
	Title    string   `json:"title"`
	Status   string   `json:"status"`
	Duration float64  `json:"duration"` // ms
	Messages []string `json:"failureMessages"`
}

// parseJest reads a report of Jest; not ok: it is none.
func parseJest(data []byte) (s Summary, ok bool, err error) {
	var r jestReport
	if err := json.Unmarshal(data, &r); err != nil || r.Results == nil {
		return Summary{}, false, nil //nolint:nilerr // it is something else, and whoever reads that says what is wrong
	}
	for _, f := range r.Results {
		failures := 0
		for _, t := range f.Tests {
			c := Case{Suite: f.Name, File: f.Name, Name: t.FullName, Output: strings.Join(t.Messages, "\n")}
			if c.Name == "" {
				c.Name = t.Title
			}
			if t.Duration > 0 && t.Duration < 1e10 {
				c.Duration = time.Duration(t.Duration * float64(time.Millisecond))
			}
			s.Duration += c.Duration
			st := skipped // pending, todo, disabled, skipped
			switch t.Status {
			case "passed":
				st = passed
			case "failed":
				st, failures = failed, failures+1
			}
			if err := s.add(st, c); err != nil {
				return Summary{}, true, err
			}
		}
		if f.Status == "failed" && failures == 0 { // it could not be loaded
			if err := s.add(failed, Case{Suite: f.Name, Name: "(file)", Output: f.Message}); err != nil {
				return Summary{}, true, err
			}
		}
	}
	return s, true, nil
}
