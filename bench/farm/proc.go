// Package farm starts the processes of a benchmark and talks to them.
package farm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/slipway-build/slipway/bench/node"
)

// Proc is a process in one of the roles of package node.
type Proc struct {
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	// Address is what the process said when it was ready.
	Address string
}

// Start executes this program in a role, with what it is configured by, and waits until it
// is ready.
func Start(ctx context.Context, role string, config any) (*Proc, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	conf, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", role, err)
	}
	p := &Proc{role: role, cmd: exec.CommandContext(context.WithoutCancel(ctx), self, "-role", role, "-config", string(conf))}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p.out = bufio.NewReaderSize(stdout, 1<<20)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	var a node.Address
	if err := p.answer(&a); err != nil {
		p.Stop()
		return nil, err
	}
	p.Address = a.URL
	return p, ctx.Err()
}

// Call asks the process for something, and waits.
func (p *Proc) Call(do string, args, answer any) error {
	a, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", p.role, do, err)
	}
	line, err := json.Marshal(node.Command{Do: do, Args: a})
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", p.role, do, err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ask %s for %s: %w", p.role, do, err)
	}
	return p.answer(answer)
}

func (p *Proc) answer(to any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s gave no answer: %w", p.role, err)
	}
	var a node.Answer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("%s answered %q: %w", p.role, line, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s", p.role, a.Error)
	}
	if to == nil || len(a.OK) == 0 {
		return nil
	}
	if err := json.Unmarshal(a.OK, to); err != nil {
		return fmt.Errorf("%s answered %q: %w", p.role, a.OK, err)
	}
	return nil
}

// Stop ends the process: it is asked first.
func (p *Proc) Stop() {
	_ = p.in.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.cmd.Wait()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// Kill ends the process as a crash would.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// PID of the process.
func (p *Proc) PID() int { return p.cmd.Process.Pid }
