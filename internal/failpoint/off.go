//go:build !chaos

package failpoint

// Possible: this build can be killed at a point.
const Possible = false

// Hit does nothing in this build.
func Hit(Point) {}

// Arm does nothing in this build.
func Arm(Point, int) {}

// FromEnv does nothing in this build.
func FromEnv(func(string) (string, bool)) {}
