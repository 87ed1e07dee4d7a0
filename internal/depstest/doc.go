// Package depstest checks that the tree keeps the rules of ARCHITECTURE.md: which package may import which, which may reach
// NATS, Kubernetes or BuildKit, where the names of streams are spelled, and who reads the environment. The tables of
// ARCHITECTURE.md are its only configuration, so the map cannot become wrong without a test that says so.
//
// It holds tests alone. What a package's own tests import is not its business.
package depstest
