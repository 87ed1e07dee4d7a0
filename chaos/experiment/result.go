package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Entry of a file of results: one run of an experiment. Counts add up over entries.
type Entry struct {
	Experiment string    `json:"experiment"`
	What       string    `json:"what"`
	Count      int       `json:"count"`
	Violations int       `json:"violations"`
	Control    string    `json:"control"` // the mistake that was caught
	Outcome    *Outcome  `json:"outcome"`
	At         time.Time `json:"at"`
	Commit     string    `json:"commit"`
	Machine    machine   `json:"machine"`
}

type machine struct {
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Load   string `json:"load"` // of the last minutes, at the end
}

// Keep adds what came of an experiment to a file.
func Keep(path string, x Experiment, e *Env, o *Outcome) error {
	var all []Entry
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read results: %w", err)
	default:
		if err := json.Unmarshal(data, &all); err != nil {
			return fmt.Errorf("read results %s: %w", path, err)
		}
	}
	all = append(all, Entry{
		Experiment: x.Name, What: x.What, Count: x.Counts[e.Form], Violations: len(o.Verdict.Wrong), Control: x.Mistake, Outcome: o,
		At: time.Now().UTC().Round(time.Second), Commit: commit(), Machine: machine{Cores: runtime.NumCPU(), Kernel: line("/proc/sys/kernel/osrelease"), Load: line("/proc/loadavg")},
	})
	if data, err = json.MarshalIndent(all, "", "  "); err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644) //nolint:gosec // committed, for everybody to read
	}
	if err != nil {
		return fmt.Errorf("keep results: %w", err)
	}
	return nil
}

func line(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// commit of the tree, "-dirty" if it holds more.
func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	c := strings.TrimSpace(string(out))
	if changed, err := exec.Command("git", "status", "--porcelain", "--", "..", ":!../chaos/results").Output(); err == nil && len(changed) > 0 {
		c += "-dirty"
	}
	return c
}
