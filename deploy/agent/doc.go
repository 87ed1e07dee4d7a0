// Package agent carries out the deployer's tasks: it is the handler that a session gives each lease to. A grant goes in, the
// rolling strategy or a step of a canary does the work, a completion comes out; what happens in between goes to the attempt's log and
// progress.
//
// How leases are asked for, kept and lost is internal/session's business; what a rollout does is deploy/rolling's, and what comes before
// the last step of a canary is deploy/canary's.
package agent
