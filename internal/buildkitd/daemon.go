package buildkitd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"
)

const (
	// stopWait is how long the daemon may take to stop in order; its builds were canceled before.
	stopWait = 15 * time.Second
	// startWait is how long the API may take to answer; a large cache on a slow disk takes some seconds to open.
	startWait = 60 * time.Second
	pollEvery = 50 * time.Millisecond
	// stable is how long a daemon must have run for its end to count as news, not as one more failed start.
	stable = time.Minute
	// maxLog is the size at which the daemon's log is begun anew.
	maxLog = 16 << 20
)

// Daemon is a buildkitd under watch. Make it with New and give it to Run.
type Daemon struct {
	cfg     Config
	program string
	config  string // path of buildkitd.toml

	mu      sync.Mutex
	pid     int           // of the running child, 0 between two
	answers chan struct{} // closed while the API answers, replaced when the child ends
	starts  int
	last    error // why the child last ended that was not told to
}

// New checks that the daemon can run here and writes its configuration. Nothing is started yet.
func New(cfg Config) (*Daemon, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := supported(); err != nil {
		return nil, err
	}
	program, err := find(cfg.Path, cfg.ToolDir)
	if err != nil {
		return nil, err
	}
	runc, err := findRunc()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Root, filepath.Dir(cfg.Socket), filepath.Dir(cfg.LogFile)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("buildkitd: %w", err)
		}
	}
	config := filepath.Join(cfg.Root, "buildkitd.toml")
	if err := os.WriteFile(config, []byte(cfg.toml(runc)), 0o600); err != nil {
		return nil, fmt.Errorf("buildkitd configuration: %w", err)
	}
	return &Daemon{cfg: cfg, program: program, config: config, answers: make(chan struct{})}, nil
}

// Address is what BuildKit's client dials.
func (d *Daemon) Address() string { return "unix://" + d.cfg.Socket }

// PID is the running daemon's process id, 0 while none runs.
func (d *Daemon) PID() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pid
}

// Starts counts how often the daemon was started.
func (d *Daemon) Starts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.starts
}

// Ready waits until the API answers, or says why it does not.
func (d *Daemon) Ready(ctx context.Context) error {
	d.mu.Lock()
	answers := d.answers
	d.mu.Unlock()
	select {
	case <-answers:
		return nil
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		return errors.Join(fmt.Errorf("buildkitd does not answer on %s: %w", d.cfg.Socket, context.Cause(ctx)), d.last)
	}
}

// Run keeps a daemon running until the context ends, then stops it and removes what it left mounted. It returns an
// error only when the daemon cannot be started at all; a daemon that dies is started again, at growing intervals.
func (d *Daemon) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 200 * time.Millisecond
	pause.MaxInterval = 15 * time.Second
	for {
		if err := d.clean(); err != nil {
			return err
		}
		begin := time.Now()
		err := d.once(ctx)
		if ctx.Err() != nil {
			return errors.Join(err, d.clean())
		}
		var start *startError
		if errors.As(err, &start) {
			return err
		}
		if time.Since(begin) > stable {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		d.cfg.Log.Warn("buildkitd ended, starting it again", "err", err, "after", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return d.clean()
		}
	}
}

// startError is an error that starting again would only repeat.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

// once runs one daemon until it ends or the context does. After an orderly stop it returns nil.
func (d *Daemon) once(ctx context.Context) error {
	if err := os.Remove(d.cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return &startError{fmt.Errorf("buildkitd socket: %w", err)}
	}
	log, err := openLog(d.cfg.LogFile)
	if err != nil {
		return &startError{err}
	}
	defer log.Close()
	tail := &tail{}
	// Not bound to ctx, which would kill it: stop ends it in order.
	cmd := exec.Command(d.program, "--config", d.config) //nolint:noctx // see above
	cmd.Env = d.cfg.Env
	cmd.Stdout = io.MultiWriter(log, tail)
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = attributes()

	var group errgroup.Group
	child, stopProbe := context.WithCancel(ctx)
	defer stopProbe()
	ended := make(chan error, 1)
	started := make(chan error, 1)
	group.Go(func() error {
		unlock := holdThread() // The kernel ties the child's life to this thread.
		defer unlock()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
		return nil
	})
	if err := <-started; err != nil {
		_ = group.Wait() // It has nothing to report.
		return &startError{fmt.Errorf("start %s: %w", d.program, err)}
	}
	d.begun(cmd.Process.Pid)
	group.Go(func() error { d.probe(child); return nil })

	var end error
	select {
	case end = <-ended:
		end = fmt.Errorf("buildkitd: %w%s", orUnexpected(end), tail.quote())
	case <-ctx.Done():
		end = stop(cmd.Process, ended)
	}
	d.finished(end)
	stopProbe()
	_ = group.Wait() // Its functions return no errors.
	return end
}

func orUnexpected(err error) error {
	if err == nil {
		return errors.New("ended without being told to")
	}
	return err
}

// stop asks the daemon to end, and ends it when it does not. That it had to be killed is reported.
func stop(p *os.Process, ended <-chan error) error {
	if err := terminate(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop buildkitd: %w", err)
	}
	select {
	case <-ended:
		return nil
	case <-time.After(stopWait):
		err := p.Kill()
		<-ended
		return errors.Join(fmt.Errorf("buildkitd did not stop within %s and was killed", stopWait), err)
	}
}

func (d *Daemon) begun(pid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pid = pid
	d.starts++
	d.cfg.Log.Info("buildkitd started", "pid", pid, "socket", d.cfg.Socket)
}

func (d *Daemon) finished(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pid = 0
	if err != nil {
		d.last = err
	}
	select {
	case <-d.answers:
		d.answers = make(chan struct{})
	default: // It never answered; whoever waits goes on waiting for the next one.
	}
}

// probe asks the API until it answers once.
func (d *Daemon) probe(ctx context.Context) {
	deadline, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if d.ask(deadline) == nil {
			d.mu.Lock()
			if d.pid != 0 { // Else it ended between the answer and this line.
				close(d.answers)
			}
			d.mu.Unlock()
			return
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			if ctx.Err() == nil {
				d.cfg.Log.Warn("buildkitd runs but does not answer", "socket", d.cfg.Socket, "waited", startWait)
			}
			return
		}
	}
}

func (d *Daemon) ask(ctx context.Context) error {
	if _, err := os.Stat(d.cfg.Socket); err != nil {
		return err
	}
	c, err := client.New(ctx, d.Address())
	if err != nil {
		return err
	}
	defer c.Close()
	workers, err := c.ListWorkers(ctx)
	if err == nil && len(workers) == 0 {
		return errors.New("no worker yet")
	}
	return err
}

func openLog(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("buildkitd log: %w", err)
	}
	return f, nil
}

// tail keeps the end of what the daemon wrote, to say why it ended.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

// quote is the last line or two, as the end of an error message.
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	lines = lines[max(0, len(lines)-2):]
	if len(lines[len(lines)-1]) == 0 {
		return ""
	}
	return "; it said: " + strings.Join(lines, " / ")
}
