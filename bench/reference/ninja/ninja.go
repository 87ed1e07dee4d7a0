// Package ninja carries out a graph of tasks that take time with Debian's ninja, which has
// nothing to do but to start the next command when one has ended.
package ninja

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/bench/graph"
)

const (
	manifest = "build.ninja"
	record   = ".ninja_log"
)

// Manifest is the graph as ninja reads it. The shell that ninja starts becomes the command,
// so that a task is one process, as in ours.
func Manifest(t graph.Timed) string {
	var b strings.Builder
	b.WriteString("rule sleep\n  command = exec sleep $t\n")
	names := make(map[string]string, len(t.Plan.Tasks))
	for i, task := range t.Plan.Tasks {
		names[task.ID] = task.Service
		fmt.Fprintf(&b, "build %s: sleep", task.Service)
		for k, need := range task.Needs {
			if k == 0 {
				b.WriteString(" |")
			}
			b.WriteString(" " + names[need])
		}
		fmt.Fprintf(&b, "\n  t = %s\n", graph.Seconds(t.Take[i]))
	}
	return b.String()
}

// Report is what a run took: from ninja's start to its end.
type Report struct {
	Elapsed time.Duration
	CPU     float64 // seconds, of the commands too
}

// Run carries out the whole graph in a folder, with so many commands at once.
func Run(ctx context.Context, dir string, t graph.Timed, slots int) (Report, error) {
	program, err := exec.LookPath("ninja")
	if err != nil {
		return Report{}, fmt.Errorf("find ninja, Debian's package ninja-build: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifest), []byte(Manifest(t)), 0o644); err != nil {
		return Report{}, fmt.Errorf("write ninja's graph: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, record)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("forget ninja's last run: %w", err)
	}
	cmd := exec.CommandContext(ctx, program, "-C", dir, "--quiet", "-j", strconv.Itoa(slots))
	start := time.Now()
	out, err := cmd.CombinedOutput()
	rep := Report{Elapsed: time.Since(start)}
	if err != nil {
		return rep, fmt.Errorf("ninja: %w: %s", err, out)
	}
	rep.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	data, err := os.ReadFile(filepath.Join(dir, record))
	if err != nil {
		return rep, fmt.Errorf("read what ninja did: %w", err)
	}
	if n := done(string(data)); n != len(t.Take) {
		return rep, fmt.Errorf("ninja carried out %d of %d tasks", n, len(t.Take))
	}
	return rep, nil
}

// done counts the outputs that ninja's log names.
func done(log string) int {
	seen := map[string]bool{}
	for line := range strings.Lines(log) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 5 { // start, end, time of change, output, hash
			seen[f[3]] = true
		}
	}
	return len(seen)
}
