package runnertest

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/enginetest"
)

// SmallDisk is a folder on a disk of its own with so many bytes.
func SmallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		enginetest.Missing(t, "a disk of the test's own needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}
