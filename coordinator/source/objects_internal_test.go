package source

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/gitcmd"
)

// narrow makes a pipe as small as Linux makes those of users who have very many.
func narrow(t *testing.T, pipe any) {
	t.Helper()
	c, ok := pipe.(syscall.Conn)
	if !ok {
		t.Fatalf("%T is not a pipe", pipe)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { _, failed = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 4096) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// TestNarrowPipes: git is asked for many objects through pipes that hold few of its answers.
func TestNarrowPipes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	g, err := gitcmd.New(gitcmd.Options{Home: filepath.Join(t.TempDir(), "home"), Env: gitcmd.PassThrough(os.Environ())})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := g.Output(ctx, dir, "init", "--bare", "--quiet"); err != nil {
		t.Fatal(err)
	}
	var id strings.Builder
	if err := g.Run(ctx, gitcmd.Command{Dir: dir, Args: []string{"hash-object", "-w", "--stdin"}, Stdin: strings.NewReader(strings.Repeat("x", 10_000)), Stdout: &id}); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 2000)
	for i := range ids {
		ids[i] = strings.TrimSpace(id.String())
	}
	p := newPool(g, 1)
	defer p.close()
	a, err := p.get(dir, "--batch")
	if err != nil {
		t.Fatal(err)
	}
	narrow(t, a.process.In)
	narrow(t, a.process.Out)
	p.put(a)
	n := 0
	err = p.contents(ctx, dir, ids, func(i int, o object, content io.Reader) error {
		if got, err := io.Copy(io.Discard, content); err != nil || got != 10_000 || i != n {
			return fmt.Errorf("object %d, at %d, has %d bytes: %w", i, n, got, err)
		}
		n++
		return nil
	})
	if err != nil || n != len(ids) {
		t.Errorf("%d objects of %d: %v", n, len(ids), err)
	}
}
