//go:build !planted

package planted

// Possible: this build has the mistakes.
const Possible = false

// On says that the mistake is made.
func (Bug) On() bool { return false }

// Set does nothing in this build.
func Set(Bug) {}
