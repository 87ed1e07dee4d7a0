// Package rolling is the rolling strategy: apply a release, wait until it works, ask it over HTTP, and take away what it
// no longer has. The same for a rollback.
//
// Hooks come before everything else but for configuration that is new, or after it works; each must be done before anything
// goes on, and a rollback carries out none. Pruning comes last: until the new objects work, the old ones serve.
//
// When Helm is to know of a release, what it is told comes last of all, and whether it may be told is asked first.
//
// It does not decide what happens after a failure: rolling back is a task of its own.
package rolling
