package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
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
	// again is told about a child that ended without having been stopped and is started again; died of one that
	// did so too often.
	again func(string)
	died  func(error)
	quit  chan struct{}
	done  chan struct{}
}

type child struct {
	name  string
	path  string
	args  []string
	pid   int
	lives int // how often it is started again when it ends by itself
	ended chan struct{}
	// stopping says that the end is wanted; it is guarded by children.mu.
	stopping bool
	status   unix.WaitStatus
}

const (
	// lives is how often a program of a node is started again, as the service manager of a machine does: a kubelet gives up
	// when what it needs at its start is late.
	lives = 5
	// restart is how long it stays away.
	restart = time.Second
)

func newChildren(env []string, logs func(name string) string, again func(string), died func(error)) *children {
	c := &children{
		byPID: map[int]*child{}, env: env, logs: logs, again: again, died: died, quit: make(chan struct{}), done: make(chan struct{}),
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
		if ch.stopping {
			close(ch.ended)
			continue
		}
		what := fmt.Sprintf("%s ended by itself (%s): %s: see %s", ch.name, describe(status), lastLine(c.logs(ch.name)), c.logs(ch.name))
		if ch.lives == 0 {
			close(ch.ended)
			c.died(errors.New(what))
			continue
		}
		ch.lives--
		c.again(what + "; starting it again")
		time.AfterFunc(restart, func() { c.revive(ch) })
	}
}

// revive starts a child again that ended by itself, unless its end is wanted by now.
func (c *children) revive(ch *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.stopping {
		close(ch.ended)
		return
	}
	if err := c.launch(ch); err != nil {
		close(ch.ended)
		c.died(err)
	}
}

// lastLine is the end of a log, for a message.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "no log"
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
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
	ch := &child{name: name, path: path, args: args, ended: make(chan struct{}), stopping: ends, lives: lives}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.launch(ch); err != nil {
		return nil, err
	}
	return ch, nil
}

// launch starts a child's program. The lock keeps it from being collected before it is registered.
func (c *children) launch(ch *child) error {
	log, err := os.OpenFile(c.logs(ch.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", ch.name, err)
	}
	defer log.Close() // the child has its own
	cmd := &exec.Cmd{Path: ch.path, Args: append([]string{ch.path}, ch.args...), Env: c.env, Stdout: log, Stderr: log}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", ch.name, err)
	}
	ch.pid = cmd.Process.Pid
	c.byPID[ch.pid] = ch
	// Waiting is reap's business; without this the library would keep a file descriptor for it.
	return cmd.Process.Release()
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
