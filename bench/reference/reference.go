// Package reference starts the servers that others' queues need: Debian's own, on loopback,
// in a scratch folder. Each is the child of a process of the benchmark, which stops it when
// its own input ends, so that nothing stays behind.
package reference

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Batch is jobs that are put into a queue at once, and waited for.
type Batch struct {
	Jobs int `json:"jobs"`
}

// Report says how long that took, from the first put to the last job's durable end.
type Report struct {
	Elapsed time.Duration `json:"elapsed"`
}

// Server is a child process.
type Server struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // once done
}

// Start starts a server that writes to a file log in a folder.
func Start(cmd *exec.Cmd, dir string) (*Server, error) {
	s := &Server{cmd: cmd, log: filepath.Join(dir, "log"), done: make(chan struct{})}
	out, err := os.Create(s.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	go func() {
		defer close(s.done)
		s.err = cmd.Wait()
	}()
	return s, nil
}

// Await asks until the server is ready, half a minute at most.
func (s *Server) Await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.done:
			said, _ := os.ReadFile(s.log)
			return fmt.Errorf("%s has ended: %w: %s", filepath.Base(s.cmd.Path), s.err, said)
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Stop sends the signal with which this server ends, and waits; a server that does not end
// is killed.
func (s *Server) Stop(end os.Signal) {
	_ = s.cmd.Process.Signal(end)
	select {
	case <-s.done:
	case <-time.After(15 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// Port is one that is free on loopback now.
func Port() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Once notes which of a batch's jobs were done.
type Once struct {
	seen []bool
	n    int
}

// NewOnce expects the jobs 0 to n-1.
func NewOnce(n int) *Once { return &Once{seen: make([]bool, n)} }

// Did notes a job, and says whether all are done. It fails for a job that is not of the
// batch, or was done before.
func (o *Once) Did(job int) (all bool, err error) {
	if job < 0 || job >= len(o.seen) {
		return false, fmt.Errorf("job %d is not of this batch", job)
	}
	if o.seen[job] {
		return false, fmt.Errorf("job %d was done twice", job)
	}
	o.seen[job] = true
	o.n++
	return o.n == len(o.seen), nil
}
