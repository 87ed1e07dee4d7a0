// Package rolling is the rolling strategy: apply a release, wait until it works, ask it over HTTP, and take away what it
// no longer has. The same for a rollback.
//
// Pruning comes last: until the new objects work, the old ones serve.
//
// It does not decide what happens after a failure: rolling back is a task of its own.
package rolling
