// Package cluster turns a context of a kubeconfig into the clients the deployer works with, and says in one sentence what is
// wrong when a cluster cannot be used.
//
// Every error that leaves it is either a *Error ("the farm could not tell": the cluster does not answer, or does not let the
// deployer in) or an answer of the API server about the objects that were sent to it.
//
// Rollouts that go on side by side share what they read (Shared: who asks together is answered together, never by a request that
// began before), what they watch (Pool: kept for a minute after the last), and what they know of objects from before (Memory).
//
// It decides nothing about releases, and it keeps no connection to a cluster that nobody uses.
package cluster
