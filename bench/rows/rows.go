// Package rows is the rows of the table: what each measures, against what, with which
// goal. How a pair becomes a figure is pairs' business, the processes are farm's.
package rows

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/pairs"
)

// Options of a measurement.
type Options struct {
	Pairs   int    // 0: nine
	Results string // folder of the files
	Disk    string // folder on a disk
	Tmpfs   string // folder in memory
	Out     io.Writer
	// Try measures two pairs of small sizes, to see that a row works; it writes no file.
	Try bool
}

// Row is measured together: each part writes a file of its own.
type Row struct {
	Name  string
	Parts []string
	run   func(context.Context, *bench) error
}

// All rows, in the order of the table.
func All() []Row {
	return []Row{
		{"P1", []string{"P1-disk", "P1-slow", "P1-tmpfs"}, p1},
		{"P2", []string{"P2-queue"}, p2},
		{"P3", []string{"P3-p50", "P3-p99"}, p3},
		{"P4", []string{"P4-bound", "P4-ninja"}, p4},
		{"P5", []string{"P5"}, p5},
		{"P6", []string{"P6-solve", "P6-identity"}, p6},
		{"P7", []string{"P7"}, p7},
		{"P8", []string{"P8-hits", "P8-balance"}, p8},
		{"planning", []string{"planning"}, planning},
		{"shards", []string{"shards"}, splitting},
		{"P9", []string{"P9-rate", "P9-p99"}, p9},
		{"P10", []string{"P10-first", "P10-unchanged", "P10-kubectl", "P10-helm"}, p10},
		{"P11", []string{"P11", "P11-snapshot"}, p11},
		{"P12", []string{"P12-tracing", "P12-idle"}, p12},
		{"scale", []string{"scale-one", "scale-many"}, scale},
	}
}

// bench is one run of a row.
type bench struct {
	Options

	only   string // a part; empty: all
	broken int
}

// wants says whether a part was asked for.
func (b *bench) wants(part string) bool { return b.only == "" || b.only == part }

// Run measures a row or a part of it by name. It answers how many invariants broke.
func Run(ctx context.Context, name string, o Options) (broken int, err error) {
	for _, r := range All() {
		only := ""
		for _, p := range r.Parts {
			if p == name && p != r.Name {
				only = p
			}
		}
		if r.Name != name && only == "" {
			continue
		}
		b := &bench{Options: o, only: only}
		if err := r.run(ctx, b); err != nil {
			return b.broken, fmt.Errorf("row %s: %w", name, err)
		}
		return b.broken, nil
	}
	return 0, fmt.Errorf("there is no row %q", name)
}

// scratch makes a folder that is gone afterwards, and answers its absolute path.
func scratch(parent string) (dir string, remove func(), err error) {
	if parent, err = filepath.Abs(parent); err != nil {
		return "", nil, fmt.Errorf("make a folder: %w", err)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, fmt.Errorf("make a folder: %w", err)
	}
	dir, err = os.MkdirTemp(parent, "slipway-bench-")
	if err != nil {
		return "", nil, fmt.Errorf("make a folder: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// size is how much of something is measured.
func (b *bench) size(full, try int) int {
	if b.Try {
		return try
	}
	return full
}

// interleave measures A B A B …: reference, then ours.
func (b *bench) interleave(what string, reference, ours func(i int) (pairs.Half, error)) ([]pairs.Pair, error) {
	one := func(half func(int) (pairs.Half, error)) func(int) ([]pairs.Half, error) {
		return func(i int) ([]pairs.Half, error) {
			h, err := half(i)
			return []pairs.Half{h}, err
		}
	}
	all, err := b.interleaveAll([]string{what}, one(reference), one(ours))
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// interleaveAll measures several things in each half: the first index of the answer is the
// one of the names.
func (b *bench) interleaveAll(names []string, reference, ours func(i int) ([]pairs.Half, error)) ([][]pairs.Pair, error) {
	out := make([][]pairs.Pair, len(names))
	n := max(b.Pairs, b.size(pairs.Counted+1, 2))
	for i := range n {
		theirs, err := reference(i)
		if err != nil {
			return nil, fmt.Errorf("reference of pair %d: %w", i+1, err)
		}
		own, err := ours(i)
		if err != nil {
			return nil, fmt.Errorf("ours of pair %d: %w", i+1, err)
		}
		for k, name := range names {
			p := pairs.Pair{Ours: own[k], Reference: theirs[k]}
			out[k] = append(out[k], p)
			fmt.Fprintf(b.Out, "%s pair %d of %d: ours %.5g (%.2f CPU-s), reference %.5g (%.2f CPU-s), ratio %.3f, load %.1f\n",
				name, i+1, n, p.Ours.Value, p.Ours.CPU, p.Reference.Value, p.Reference.CPU, p.Ours.Value/p.Reference.Value, farm.Load())
		}
	}
	return out, nil
}

// finish writes a row's file and says what it says.
func (b *bench) finish(r pairs.Result, goal pairs.Goal, machine pairs.Machine) error {
	return b.write(r, machine, func(r *pairs.Result) error { return r.Fill(goal) })
}

// worst does that for a row which counts as the worst of its parts.
func (b *bench) worst(r pairs.Result, parts []pairs.Part, goal pairs.Goal, machine pairs.Machine) error {
	return b.write(r, machine, func(r *pairs.Result) error { return r.Worst(parts, goal) })
}

func (b *bench) write(r pairs.Result, machine pairs.Machine, fill func(*pairs.Result) error) error {
	for _, n := range r.Notes {
		fmt.Fprintf(b.Out, "%s: %s\n", r.Row, n)
	}
	for _, s := range r.Broken {
		fmt.Fprintf(b.Out, "%s BROKEN %s\n", r.Row, s)
	}
	b.broken += len(r.Broken)
	if b.Try {
		fmt.Fprintf(b.Out, "%s: only tried: no file\n", r.Row)
		return nil
	}
	machine.After = farm.Load()
	r.Machine, r.Commit, r.Date = machine, farm.Commit(), time.Now().UTC().Format(time.RFC3339)
	if err := fill(&r); err != nil {
		return err
	}
	data, err := r.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.Results, 0o755); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.Results, r.Row+".json"), data, 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	met := "met"
	if !r.Met {
		met = "MISSED"
	}
	fmt.Fprintf(b.Out, "%s: ours %.5g, reference %.5g %s; ratio %.3f [%.3f, %.3f], goal %s: %s\n",
		r.Row, pairs.Median(r.Ours), pairs.Median(r.Reference), r.Unit, r.Ratio, r.CI95[0], r.CI95[1], r.Goal, met)
	return nil
}
