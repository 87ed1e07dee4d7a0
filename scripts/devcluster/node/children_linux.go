package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// children starts the init's children and collects every process that ends below it: as the first process of its namespace it
// is given the orphans too, and only one place may wait for processes.
type children struct {
	mu    sync.Mutex
	byPID map[int]*child
	env   []string
	logs  func(name string) string
	// died is told about every child that ends without having been stopped.
	died func(error)
	quit chan struct{}
	done chan struct{}
}

type child struct {
	name  string
	pid   int
	ended chan struct{}
	// stopping says that the end is wanted; it is guarded by children.mu.
	stopping bool
	status   unix.WaitStatus
}

func newChildren(env []string, logs func(name string) string, died func(error)) *children {
	c := &children{
		byPID: map[int]*child{}, env: env, logs: logs, died: died, quit: make(chan struct{}), done: make(chan struct{}),
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		defer close(c.done)
		defer signal.Stop(ended)
		for {
			select {
			case <-c.quit:
				return
			case <-ended:
				c.reap()
			}
		}
	}()
	return c
}

func (c *children) close() {
	close(c.quit)
	<-c.done
}

func (c *children) reap() {
	// The lock keeps a child from being collected between its start and its registration.
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		ch, ok := c.byPID[pid]
		if !ok {
			continue
		}
		delete(c.byPID, pid)
		ch.status = status
		close(ch.ended)
		if !ch.stopping {
			c.died(fmt.Errorf("%s ended by itself (%s): see %s", ch.name, describe(status), c.logs(ch.name)))
		}
	}
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + s.Signal().String()
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}

// start runs a program; what it prints goes to its log.
func (c *children) start(name, path string, args ...string) (*child, error) {
	return c.spawn(name, path, args, false)
}

// run is start for a program that is expected to end, with exit code 0.
func (c *children) run(name, path string, args ...string) error {
	ch, err := c.spawn(name, path, args, true)
	if err != nil {
		return err
	}
	<-ch.ended
	if ch.status.ExitStatus() != 0 {
		return fmt.Errorf("%s: %s: see %s", name, describe(ch.status), c.logs(name))
	}
	return nil
}

func (c *children) spawn(name, path string, args []string, ends bool) (*child, error) {
	log, err := os.OpenFile(c.logs(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close() // the child has its own
	cmd := &exec.Cmd{Path: path, Args: append([]string{path}, args...), Env: c.env, Stdout: log, Stderr: log}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	ch := &child{name: name, pid: cmd.Process.Pid, ended: make(chan struct{}), stopping: ends}
	c.byPID[ch.pid] = ch
	// Waiting is reap's business; without this the library would keep a file descriptor for it.
	return ch, cmd.Process.Release()
}

// stop asks a child to end and kills it when it takes too long. A nil child is fine.
func (c *children) stop(ch *child, patience time.Duration) {
	if ch == nil {
		return
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		c.mu.Lock()
		ch.stopping = true
		if _, running := c.byPID[ch.pid]; running {
			_ = unix.Kill(ch.pid, sig) // it may have ended meanwhile
		}
		c.mu.Unlock()
		timeout := time.NewTimer(patience)
		select {
		case <-ch.ended:
			timeout.Stop()
			return
		case <-timeout.C:
		}
	}
}
