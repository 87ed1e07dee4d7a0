// Package farm starts the processes of an experiment (coordinators, NATS servers, workers)
// and kills, stops and starts them again.
package farm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/chaos/node"
)

// Proc is a program that can be killed and started again. What it writes goes to a file.
type Proc struct {
	name string
	log  string // file
	args []string
	role bool // it is one of package node: it says when it is ready
	env  []string

	mu    sync.Mutex
	cmd   *exec.Cmd
	in    io.Closer
	ended chan struct{} // closed when the current one has ended
	gone  bool          // it was ended on purpose
}

// program is a program of the tree.
func program(dir, name string, env []string, args ...string) *Proc {
	return &Proc{name: name, log: filepath.Join(dir, name+".log"), args: args, env: env}
}

// part is this program in a role of package node.
func part(dir, name, role string, config any) (*Proc, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	conf, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", name, err)
	}
	p := program(dir, name, nil, self, "-role", role, "-config", string(conf))
	p.role = true
	return p, nil
}

// Start starts it, with more environment for this time alone, and waits until it says that it is ready,
// if it is one that does.
func (p *Proc) Start(env ...string) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(append(os.Environ(), p.env...), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var ready io.Reader
	var in io.WriteCloser
	if p.role {
		cmd.SysProcAttr = nil
		cmd.Stdout = nil
		if ready, err = cmd.StdoutPipe(); err == nil {
			in, err = cmd.StdinPipe()
		}
		if err != nil {
			return fmt.Errorf("start %s: %w", p.name, err)
		}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.in, p.ended, p.gone = cmd, in, ended, false
	p.mu.Unlock()
	if p.role {
		line, rerr := bufio.NewReader(ready).ReadBytes('\n')
		var r node.Ready
		err = errors.Join(rerr, json.Unmarshal(line, &r))
	}
	go func() { _ = cmd.Wait(); close(ended) }() // Kill and Stop wait for it
	if err != nil {
		return fmt.Errorf("%s is not ready (see %s): %w", p.name, p.log, err)
	}
	return nil
}

// current process; nil: it was never started.
func (p *Proc) current() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.ended
}

// PID of the current process.
func (p *Proc) PID() int {
	if cmd, _ := p.current(); cmd != nil {
		return cmd.Process.Pid
	}
	return 0
}

// Running reports that it was started and has not ended.
func (p *Proc) Running() bool {
	cmd, ended := p.current()
	if cmd == nil {
		return false
	}
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// Ended is closed when the current process has.
func (p *Proc) Ended() <-chan struct{} {
	_, ended := p.current()
	return ended
}

// Kill ends it as a crash does, and waits until it is gone.
func (p *Proc) Kill() { p.end(syscall.SIGKILL) }

// Stop asks it to end, and waits.
func (p *Proc) Stop() { p.end(syscall.SIGTERM) }

func (p *Proc) end(s syscall.Signal) {
	cmd, ended := p.current()
	if cmd == nil {
		return
	}
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	_ = cmd.Process.Signal(s)
	if s != syscall.SIGKILL {
		_ = cmd.Process.Signal(syscall.SIGCONT)
	}
	<-ended
	if p.in != nil {
		_ = p.in.Close()
	}
}

// keep starts it again whenever it has ended by itself, until it was ended on purpose.
func (p *Proc) keep() {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		p.mu.Lock()
		started, gone := p.cmd != nil, p.gone
		p.mu.Unlock()
		if gone || started && !p.Running() && p.Start() != nil {
			return
		}
	}
}

// Pause stops it where it is, Resume lets it go on.
func (p *Proc) Pause()  { p.signal(syscall.SIGSTOP) }
func (p *Proc) Resume() { p.signal(syscall.SIGCONT) } //nolint:revive // as above

func (p *Proc) signal(s syscall.Signal) {
	if cmd, _ := p.current(); cmd != nil {
		_ = cmd.Process.Signal(s)
	}
}
