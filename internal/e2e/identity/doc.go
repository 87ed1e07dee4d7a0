// Package identity tests that what a run reuses is what a clean build would have made (docs/reliability.md, I8):
// random edits of a repository, each built by a farm that reuses what it can, and by a daemon that has no cache.
//
// It holds no code of its own.
package identity
