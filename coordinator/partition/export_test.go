package partition

import "github.com/slipway-build/slipway/coordinator/run"

// Cut is how many events go into the next record.
func Cut(events []run.Event) int { return cut(events) }

// Weight estimates an event's encoded size from above.
func Weight(e run.Event) int { return weight(e) }

// Expire does what a tick does, when the test wants it.
func (tx *Tx) Expire() { tx.o.expire() }
