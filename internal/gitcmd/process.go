package gitcmd

import (
	"context"
	"fmt"
	"io"
)

// Process is a command that answers what it is asked until it is stopped:
// `git cat-file --batch`.
type Process struct {
	In  io.Writer
	Out io.Reader

	stop func()
	wait func() error
}

// Start starts a command that goes on until Stop, without a limit of time. Stdin, Stdout
// and Limit of c are not used.
func (g *Git) Start(c Command) (*Process, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd, stderr := g.command(ctx, c)
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("git %s: %w", c.Args[0], err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("git %s: %w", c.Args[0], err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, &Error{Command: c.Args[0], ExitCode: -1, Cause: err}
	}
	return &Process{In: in, Out: out, stop: cancel, wait: func() error {
		cancel()
		err := cmd.Wait()
		return failure(context.Background(), c, cmd, stderr, err)
	}}, nil
}

// Kill ends the process: reads and writes that wait for it fail. It may be called at any
// time, beside them; Stop is called all the same.
func (p *Process) Kill() { p.stop() }

// Stop kills the process and its children and waits until they are gone. Its error says
// how the process ended, when it did so by itself. Nothing may read or write any more.
func (p *Process) Stop() error { return p.wait() }
