package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/gitcmd"
)

const (
	// asked is how many bytes of names are asked for at once: they fit into the smallest pipe that Linux
	// makes (a page, where a user has very many of them), so that nothing waits for a process that itself waits to be read.
	asked = 4096
	// idleProcesses is how many processes of a pool wait for the next question.
	idleProcesses = 8
)

// pool has `git cat-file` processes that stay, since starting one takes longer than most
// of what it is asked. It is safe for concurrent use; a process answers one at a time.
type pool struct {
	git   *gitcmd.Git
	live  chan struct{} // a token for each process that is being asked
	mu    sync.Mutex
	idle  []*asking // the least recently used first
	ended bool
}

// asking is one process.
type asking struct {
	process *gitcmd.Process
	out     *bufio.Reader
	dir     string // of the repository
	mode    string // --batch or --batch-check
	packs   time.Time
	used    bool
}

func newPool(git *gitcmd.Git, live int) *pool {
	return &pool{git: git, live: make(chan struct{}, live)}
}

// close ends the processes that wait, and those that are asked once they have answered.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.ended = nil, true
	p.mu.Unlock()
	for _, a := range idle {
		_ = a.process.Stop()
	}
}

// object is what a repository has under a name.
type object struct {
	ID   string // empty: it has none, or an ambiguous one
	Kind string // commit, tree, blob, tag
	Size int64
}

// stat asks what objects there are, by id or by any expression of git's without spaces.
func (p *pool) stat(ctx context.Context, dir string, names []string) ([]object, error) {
	out := make([]object, 0, len(names))
	err := p.ask(ctx, dir, "--batch-check", names, func(_ int, o object, _ io.Reader) error {
		out = append(out, o)
		return nil
	})
	return out, err
}

// contents hands the content of each object to take, in the order of ids. take may leave
// content unread.
func (p *pool) contents(ctx context.Context, dir string, ids []string, take func(i int, o object, content io.Reader) error) error {
	return p.ask(ctx, dir, "--batch", ids, take)
}

func (p *pool) ask(ctx context.Context, dir, mode string, names []string, take func(i int, o object, content io.Reader) error) error {
	if len(names) == 0 {
		return nil
	}
	select {
	case p.live <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for git: %w", context.Cause(ctx))
	}
	defer func() { <-p.live }()
	for done := 0; ; {
		a, err := p.get(dir, mode)
		if err != nil {
			return err
		}
		again := a.used
		n, err := a.talk(ctx, names[done:], func(i int, o object, content io.Reader) error { return take(done+i, o, content) })
		done += n
		if err == nil {
			p.put(a)
			return nil
		}
		stopped := a.process.Stop()
		var lost *lostError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &lost) && again:
			continue // it ended while it waited, or since: another one goes on from there
		case errors.As(err, &lost) && stopped != nil:
			return stopped
		}
		return err
	}
}

// lostError: a process did not answer. It is never somebody else's.
type lostError struct{ error }

// get answers a process that waits, or a new one. One that has begun before packs came or
// went is not asked: what it keeps open may be what was removed.
func (p *pool) get(dir, mode string) (*asking, error) {
	packs := modified(filepath.Join(dir, "objects", "pack"))
	p.mu.Lock()
	var found *asking
	var stale []*asking
	p.idle = slices.DeleteFunc(p.idle, func(a *asking) bool {
		switch {
		case a.dir != dir || a.mode != mode:
			return false
		case !a.packs.Equal(packs):
			stale = append(stale, a)
			return true
		case found == nil:
			found = a
			return true
		}
		return false
	})
	p.mu.Unlock()
	for _, a := range stale {
		_ = a.process.Stop()
	}
	if found != nil {
		return found, nil
	}
	process, err := p.git.Start(gitcmd.Command{Dir: dir, Args: []string{"cat-file", mode}})
	if err != nil {
		return nil, err
	}
	return &asking{process: process, out: bufio.NewReaderSize(process.Out, 64<<10), dir: dir, mode: mode, packs: packs}, nil
}

func modified(name string) time.Time {
	info, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (p *pool) put(a *asking) {
	a.used = true
	p.mu.Lock()
	gone := a
	if !p.ended {
		gone = nil
		if p.idle = append(p.idle, a); len(p.idle) > idleProcesses {
			gone = p.idle[0]
			p.idle = slices.Delete(p.idle, 0, 1)
		}
	}
	p.mu.Unlock()
	if gone != nil {
		_ = gone.process.Stop()
	}
}

// talk asks for objects and takes the answers. It answers how many were taken whole.
func (a *asking) talk(ctx context.Context, names []string, take func(i int, o object, content io.Reader) error) (int, error) {
	stop := context.AfterFunc(ctx, a.process.Kill)
	defer stop()
	n := 0
	for n < len(names) {
		some := names[n : n+fitting(names[n:])]
		if _, err := io.WriteString(a.process.In, strings.Join(some, "\n")+"\n"); err != nil {
			return n, &lostError{fmt.Errorf("ask git: %w", err)}
		}
		for range some {
			if err := a.answer(func(o object, content io.Reader) error { return take(n, o, content) }); err != nil {
				return n, err
			}
			n++
		}
	}
	if !stop() {
		return n, context.Cause(ctx)
	}
	return n, nil
}

// fitting is how many names are asked for at once, at least one.
func fitting(names []string) (n int) {
	for size := 0; n < len(names); n++ {
		if size += len(names[n]) + 1; size > asked && n > 0 {
			break
		}
	}
	return n
}

// answer reads "<id> <type> <size>\n", with --batch then "<content>\n"; or "<name> missing\n".
func (a *asking) answer(take func(o object, content io.Reader) error) error {
	line, err := a.out.ReadString('\n')
	if err != nil {
		return &lostError{fmt.Errorf("git does not answer: %w", err)}
	}
	f := strings.Fields(line)
	if len(f) == 2 && (f[1] == "missing" || f[1] == "ambiguous") {
		return take(object{}, strings.NewReader(""))
	}
	if len(f) != 3 || !isCommit(f[0]) {
		return fmt.Errorf("git answers %q", line)
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("git answers %q", line)
	}
	o := object{ID: f[0], Kind: f[1], Size: size}
	if a.mode != "--batch" {
		return take(o, strings.NewReader(""))
	}
	content := &io.LimitedReader{R: a.out, N: size}
	if err := take(o, content); err != nil {
		return err
	}
	// A process that ends within an object has not answered; what was taken of it was half.
	if _, err := io.Copy(io.Discard, content); err != nil || content.N > 0 {
		return fmt.Errorf("git breaks off in object %s: %w", o.ID, errors.Join(err, io.ErrUnexpectedEOF))
	}
	if _, err := a.out.Discard(1); err != nil {
		return fmt.Errorf("git breaks off behind object %s: %w", o.ID, err)
	}
	return nil
}
