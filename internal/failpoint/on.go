//go:build chaos

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Possible: this build can be killed at a point.
const Possible = true

var (
	armed atomic.Value //nolint:gochecknoglobals // of the builds of make chaos only
	left  atomic.Int64 //nolint:gochecknoglobals // as above
)

// Hit ends this process as kill -9 does, if it was armed for this point and has come by
// often enough.
func Hit(p Point) {
	if armed.Load() == p && left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing is done after this point
	}
}

// Arm has the process killed when it comes by the point for the nth time.
func Arm(p Point, n int) {
	left.Store(int64(n))
	armed.Store(p)
}

// FromEnv arms what SLIPWAY_FAILPOINT=name:n says. It panics when that is nothing of the kind.
func FromEnv(lookup func(string) (string, bool)) {
	v, ok := lookup("SLIPWAY_FAILPOINT")
	if !ok {
		return
	}
	name, times, _ := strings.Cut(v, ":")
	n, err := strconv.Atoi(times)
	if err != nil {
		panic("SLIPWAY_FAILPOINT: " + err.Error())
	}
	Arm(Point(name), n)
}
