// Package partition owns partitions: it runs commands through the pure state (run,
// project), appends what they decide to the journal, and only then acts: answers the
// caller, makes tasks known, tells workers to stop, shows changes to watchers.
//
// One goroutine per partition does all of it. While an append is on its way the next
// commands gather; they share the next append (group commit). When an append cannot be
// made, everything since the last acknowledged one is discarded and the state is built
// again from the journal, so nothing is ever shown that was not durable.
//
//	command ─▶ decide ─▶ apply to state ─┐            (many commands)
//	                                     ▼
//	                              append, one fsync
//	                                     ▼
//	             answers · hints · revocations · watchers · spans
//
// It knows neither gRPC nor NATS subjects; api, session and dispatch do.
package partition
