// Package toolchain provides the third-party programs that Slipway starts or is checked with: it builds them from Go
// modules, or installs them from npm, into one folder, once, and says what it does and why while it does so. What the
// system's package manager must provide it names, and installs when it is allowed to.
//
// Steps are data. A step whose inputs have not changed since it was done is skipped; one that was interrupted goes on
// from Go's own build cache; a program appears in the folder only when it is whole.
//
// It does not update anything by itself: versions are pinned here and in the go.mod files below scripts.
package toolchain
