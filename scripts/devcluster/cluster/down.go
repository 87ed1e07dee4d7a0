package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
)

// stopPatience is how long a cluster may take to stop in order; a real node has pods to end first.
const stopPatience = 90 * time.Second

// Down stops the cluster of a folder, however it ended or did not end, and removes what it kept but for its logs. Running it
// twice, or on a folder without a cluster, is fine.
func Down(ctx context.Context, path string, progress func(format string, args ...any)) error {
	dir, err := clusterdir.Open(path)
	if err != nil {
		return err
	}
	release, err := dir.Lock()
	if errors.Is(err, clusterdir.ErrBusy) {
		release, err = stopHolder(ctx, dir, progress)
	}
	if err != nil {
		return err
	}
	defer release()
	if err := cleanNode(ctx, dir, progress); err != nil {
		return err
	}
	return dir.Wipe()
}

// stopHolder asks the process that holds the lock to stop, waits until it has let go, and in the end kills it. While the lock is
// held its pid cannot have passed to another process, so nobody else is ever hit.
func stopHolder(ctx context.Context, dir clusterdir.Dir, progress func(format string, args ...any)) (release func(), err error) {
	pid := dir.Holder()
	if !isDevcluster(pid) {
		return nil, fmt.Errorf("the lock of %s names pid %d, which is not a devcluster: stop whoever holds it first", dir.Root, pid)
	}
	progress("stopping pid %d", pid)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return nil, fmt.Errorf("stop pid %d: %w", pid, err)
	}
	if release, err = waitLock(ctx, dir, stopPatience); err == nil || !errors.Is(err, clusterdir.ErrBusy) {
		return release, err
	}
	progress("pid %d did not stop within %s: killing it", pid, stopPatience)
	if dir.Holder() == pid {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("kill pid %d: %w", pid, err)
		}
	}
	return waitLock(ctx, dir, stopPatience)
}

func waitLock(ctx context.Context, dir clusterdir.Dir, patience time.Duration) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		release, err = dir.Lock()
		if err == nil || !errors.Is(err, clusterdir.ErrBusy) {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// isDevcluster looks at the command line where the system shows it; elsewhere the held lock has to do.
func isDevcluster(pid int) bool {
	if pid <= 1 {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return true
	}
	program, _, _ := strings.Cut(string(b), "\x00")
	return strings.Contains(program, "devcluster")
}
