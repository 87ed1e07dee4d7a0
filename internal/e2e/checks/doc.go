// Package checks tests, on a whole farm, what becomes of what scans find: a planted secret, a dangerous manifest, a vulnerable
// package and what a tool of the user's says are found with file and line, only what is new fails a run, and a waiver ends on its day.
//
// It holds no code of its own.
package checks
