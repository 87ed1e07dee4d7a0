// Package cosigncheck tests internal/cosign with cosign itself: its command line verifies what was
// signed with a key that it generated, and refuses what was changed by one bit.
//
// It is a module of its own because cosign has more than two hundred modules, and compiles for longer
// than Slipway. It reaches nothing but a registry on loopback.
package cosigncheck
