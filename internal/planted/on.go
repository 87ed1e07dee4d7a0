//go:build planted

package planted

import "sync/atomic"

// Possible: this build has the mistakes.
const Possible = true

var on atomic.Int32 //nolint:gochecknoglobals // of the builds of the finder only

// On says that the mistake is made.
func (b Bug) On() bool { return Bug(on.Load()) == b }

// Set turns one mistake on, and every other one off.
func Set(b Bug) { on.Store(int32(b)) }
