// Package flaky tests, on a whole farm, what becomes of tests that cannot be trusted: a case that fails one time in five is
// found, put into quarantine, and let out once it is mended.
//
// It holds no code of its own.
package flaky
