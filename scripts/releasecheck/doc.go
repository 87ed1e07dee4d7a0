// Package releasecheck tests .goreleaser.yaml with the reader of goreleaser itself: keys
// that it does not know, deprecated keys, templates, and that nothing is published but a
// draft.
//
// It is a module of its own, and only this reader of goreleaser, because all of goreleaser
// has more than a hundred modules and compiles for longer than Slipway. It builds no release.
package releasecheck
