package partition

import "github.com/slipway-build/slipway/coordinator/run"

// Cut is how many events go into the next record.
func Cut(events []run.Event) int { return cut(events) }

// Expire does what a tick does, when the test wants it.
func (tx *Tx) Expire() { tx.o.expire() }
