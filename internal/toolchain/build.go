package toolchain

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
)

// Config says where tools are kept and built from.
type Config struct {
	// Cache is ~/.cache/slipway: programs in bin, and stamps, logs and npm packages beside it.
	Cache string
	// Root is the root of Slipway's repository.
	Root string
	// Progress is called from several goroutines at once; nil says nothing.
	Progress func(Event)
}

// Bin is the folder with the programs.
func (c Config) Bin() string { return filepath.Join(c.Cache, "bin") }

// Event is news of one step.
type Event struct {
	Step  Step
	State State
	// Took is since the step began; Compiled how many Go packages were compiled so far.
	Took     time.Duration
	Compiled int
	Err      error
}

// State is where a step is.
type State int

// The states of a step. Only Working is told more than once.
const (
	Skipped State = iota + 1 // done before, from the same inputs
	Waiting                  // another process builds it
	Started
	Working
	Done
	Failed
)

// beat is how often a step that works says so.
const beat = 15 * time.Second

// Result is what became of one step.
type Result struct {
	Name    string
	Skipped bool
	Took    time.Duration
}

type builder struct {
	cfg       Config
	goVersion string
}

// Build does the steps that are not done yet. Steps of different lanes run side by side, as many as half of the
// processors: the compiler uses several by itself, the linker one. The first that goes wrong stops the others, which go
// on where they were the next time.
func Build(ctx context.Context, cfg Config, steps []Step) ([]Result, error) {
	if cfg.Progress == nil {
		cfg.Progress = func(Event) {}
	}
	version, err := goVersion(ctx, cfg.Root)
	if err != nil {
		return nil, err
	}
	b := &builder{cfg: cfg, goVersion: version}
	for _, dir := range []string{cfg.Bin(), filepath.Join(cfg.Cache, "stamps"), filepath.Join(cfg.Cache, "log")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("tool folder: %w", err)
		}
	}
	var lanes []string
	for _, s := range steps {
		if !slices.Contains(lanes, s.Lane) {
			lanes = append(lanes, s.Lane)
		}
	}
	results := make([]Result, len(steps))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.NumCPU()/2))
	for _, lane := range lanes {
		group.Go(func() error {
			for i, s := range steps {
				if s.Lane != lane {
					continue
				}
				result, err := b.run(ctx, s)
				if err != nil {
					return err
				}
				results[i] = result
			}
			return nil
		})
	}
	return results, group.Wait()
}

// run does one step unless it is done. Only one process works on a step at a time: a second one waits and finds it done.
func (b *builder) run(ctx context.Context, step Step) (Result, error) {
	stamp, err := b.stamp(step)
	if err != nil {
		return Result{}, err
	}
	if b.done(step, stamp) {
		b.cfg.Progress(Event{Step: step, State: Skipped})
		return Result{Name: step.Name, Skipped: true}, nil
	}
	lock := flock.New(b.stampFile(step) + ".lock")
	if free, err := lock.TryLock(); err == nil && !free {
		b.cfg.Progress(Event{Step: step, State: Waiting})
	}
	if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
		return Result{}, fmt.Errorf("wait for another process that builds %s: %w", step.Name, err)
	}
	defer lock.Unlock() //nolint:errcheck // the lock ends with the process at the latest
	if b.done(step, stamp) {
		b.cfg.Progress(Event{Step: step, State: Skipped})
		return Result{Name: step.Name, Skipped: true}, nil
	}
	begin := time.Now()
	b.cfg.Progress(Event{Step: step, State: Started})
	if err := b.make(ctx, step, begin); err != nil {
		b.cfg.Progress(Event{Step: step, State: Failed, Took: time.Since(begin), Err: err})
		return Result{}, err
	}
	if err := os.WriteFile(b.stampFile(step), []byte(stamp), 0o644); err != nil {
		return Result{}, fmt.Errorf("stamp of %s: %w", step.Name, err)
	}
	b.cfg.Progress(Event{Step: step, State: Done, Took: time.Since(begin)})
	return Result{Name: step.Name, Took: time.Since(begin)}, nil
}

// make produces the program aside and then moves it to its place in one go.
func (b *builder) make(ctx context.Context, step Step, begin time.Time) error {
	work, err := os.MkdirTemp(b.cfg.Cache, "build-"+step.Name+"-*")
	if err != nil {
		return fmt.Errorf("build %s: %w", step.Name, err)
	}
	defer os.RemoveAll(work)
	cmd, made := b.command(ctx, step, work)
	if err := b.exec(ctx, step, cmd, begin); err != nil {
		return err
	}
	if err := os.Chmod(made, 0o755); err != nil {
		return fmt.Errorf("build %s: it made no program: %w", step.Name, err)
	}
	if err := os.Rename(made, b.program(step)); err != nil {
		return fmt.Errorf("build %s: %w", step.Name, err)
	}
	return nil
}

// command is what makes the program, and where in work it will be.
func (b *builder) command(ctx context.Context, step Step, work string) (cmd *exec.Cmd, made string) {
	made = filepath.Join(work, step.Name)
	switch {
	case step.NPM != "":
		cmd = exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix", work, step.NPM)
		name := step.NPM[:strings.LastIndex(step.NPM, "@")]
		return cmd, filepath.Join(work, "node_modules", filepath.FromSlash(name), filepath.FromSlash(step.File))
	case step.Install != "":
		cmd = exec.CommandContext(ctx, "go", append(append([]string{"install", "-v"}, step.Flags...), step.Install)...)
		cmd.Env = append(cmd.Environ(), "GOBIN="+work, "GOWORK=off")
	default:
		cmd = exec.CommandContext(ctx, "go", append(append([]string{"build", "-v", "-o", made}, step.Flags...), step.Package)...)
		cmd.Dir = filepath.Join(b.cfg.Root, step.Dir)
		cmd.Env = append(cmd.Environ(), "GOWORK=off")
	}
	cmd.Env = append(cmd.Env, step.Env...)
	return cmd, made
}

// exec runs the command, with its output in a log file, and says every now and then how far it is.
func (b *builder) exec(ctx context.Context, step Step, cmd *exec.Cmd, begin time.Time) error {
	logFile := filepath.Join(b.cfg.Cache, "log", step.Name+".log")
	log, err := os.Create(logFile)
	if err != nil {
		return fmt.Errorf("build %s: %w", step.Name, err)
	}
	defer log.Close()
	lines := &counter{}
	var tail lastLines
	cmd.Stdout = io.MultiWriter(log, &tail)
	cmd.Stderr = io.MultiWriter(log, &tail, lines)
	cmd.WaitDelay = 10 * time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }

	ended := make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.cfg.Progress(Event{Step: step, State: Working, Took: time.Since(begin), Compiled: int(lines.n.Load())})
			case <-ended:
				return nil
			}
		}
	})
	err = cmd.Run()
	close(ended)
	_ = group.Wait() // It returns no error.
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("build %s: %w", step.Name, context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("build %s: %w: install %s first", step.Name, err, filepath.Base(cmd.Path))
	case err != nil:
		return fmt.Errorf("build %s: %s: %w\n%sall of it: %s", step.Name, filepath.Base(cmd.Path), err, tail.String(), logFile)
	}
	return nil
}

// counter counts lines: go build -v writes one for each package that it compiles.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(bytes.Count(p, []byte("\n"))))
	return len(p), nil
}

// lastLines keeps the end of a command's output.
type lastLines struct{ text []byte }

func (l *lastLines) Write(p []byte) (int, error) {
	const keep = 4 << 10
	l.text = append(l.text, p...)
	if extra := len(l.text) - keep; extra > 0 {
		l.text = append(l.text[:0], l.text[extra:]...)
	}
	return len(p), nil
}

// String is up to fifteen lines, indented.
func (l *lastLines) String() string {
	var all []string
	lines := bufio.NewScanner(bytes.NewReader(l.text))
	for lines.Scan() {
		all = append(all, "    "+lines.Text()+"\n")
	}
	return strings.Join(all[max(0, len(all)-15):], "")
}
