//go:build !linux

package runnertest

import "testing"

// SmallDisk is a folder on a disk of its own with so many bytes.
func SmallDisk(t *testing.T, _ int64) string {
	t.Helper()
	t.Skip("a disk of the test's own needs Linux")
	return ""
}
