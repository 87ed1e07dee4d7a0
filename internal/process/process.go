// Package process is a program of a farm as a process of its own, which can be killed and
// started again: for farms on one machine whose parts are apart, and for tests that kill them.
//
// It knows nothing of what a program does, and restarts nothing by itself but in Keep.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is a program that may run. Its output goes to the end of a file.
type Process struct {
	Name    string
	Args    []string // the program first
	Log     string
	PIDFile string // says which process it is while it runs; empty: nobody is told

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when the current one has ended
}

// Start starts it. It ends with the process that started it, and does not hear Ctrl-C.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer log.Close() // the child has its own
	cmd := exec.CommandContext(context.Background(), p.Args[0], p.Args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() { _ = cmd.Wait(); close(ended) }() // Signal and Keep wait for it
	if p.PIDFile == "" {
		return nil
	}
	if err := os.WriteFile(p.PIDFile, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	return nil
}

// current are the process that was started last, and when it has ended.
func (p *Process) current() (*exec.Cmd, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.ended
}

// PID of the process that was started last; 0: none was.
func (p *Process) PID() int {
	cmd, _ := p.current()
	if cmd == nil {
		return 0
	}
	return cmd.Process.Pid
}

// Running answers whether the process has not ended.
func (p *Process) Running() bool {
	cmd, ended := p.current()
	select {
	case <-ended:
		return false
	default:
		return cmd != nil
	}
}

// Signal sends one and waits until the process has ended. It answers its exit code.
func (p *Process) Signal(s syscall.Signal) int {
	cmd, ended := p.current()
	if cmd == nil {
		return 0
	}
	_ = cmd.Process.Signal(s) // that it has ended already is what is wanted
	<-ended
	return cmd.ProcessState.ExitCode()
}

// Kill ends it as a power cut would.
func (p *Process) Kill() { p.Signal(syscall.SIGKILL) }

// Stop asks it to end, and waits.
func (p *Process) Stop() int { return p.Signal(syscall.SIGTERM) }

// Keep starts the process again, after a pause, each time that it has ended, and tells how
// it did. When the context ends the process is stopped. Start it first.
func (p *Process) Keep(ctx context.Context, pause time.Duration, tell func(why string)) error {
	for {
		cmd, ended := p.current()
		if cmd == nil {
			return errors.New(p.Name + " was not started")
		}
		select {
		case <-ctx.Done():
			p.Stop()
			return nil
		case <-ended:
		}
		tell(cmd.ProcessState.String())
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		if err := p.Start(); err != nil {
			return err
		}
	}
}
