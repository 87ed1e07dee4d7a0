// Package shop tests whole farms: real NATS, registry, BuildKit, git and API servers,
// with examples/shop going in at one end and healthy pods coming out at the other.
//
// What needs minutes or a real node is behind the build tag e2e (make e2e).
package shop
