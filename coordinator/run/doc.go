// Package run is the state machine of a run: its tasks, their attempts, and what
// follows from what. It is pure: Decide turns a command and the state into events,
// Apply turns an event and the state into the next state, and Next says what follows
// from the state by itself. Who leases a task, where events are stored, and what a
// project knows beyond one run are not its business.
//
// A task:
//
//	              needs done                lease               started
//	   pending ───────────────▶ ready ───────────────▶ leased ───────────▶ running
//	      │                       ▲ │                     │                   │
//	      │ a need did not        │ │ canceled            │  errored or lost, │
//	      │ succeed: skipped,     │ ▼                     │  budget left:     │
//	      │ or canceled           │ canceled              │  back to ready    │
//	      ▼                       └───────────────────────┴───────────────────┤
//	   skipped, canceled                                                      ▼
//	                                     succeeded, failed, errored, canceled
//
//	A task whose plan carries a Reuse goes from ready to reused at once.
//
// A run:
//
//	running ──(canceled)──▶ stopping ──(every task ended)──▶ canceled
//	   └───────────(every task ended)──▶ succeeded, failed
//
// A failed task ends what needs it (skipped) and nothing else: the other tests go on,
// so that every failure is seen at once. An apply that ends without success, or whose
// promotion cannot come any more, starts the rollback of that service on every target
// of the environment where it was begun.
package run
