// Package rpc wires gRPC the one way that every program of Slipway uses: credentials,
// roles, validation of requests, limits, keepalive, tracing, health and reflection.
//
// Who may call what stands in the protocols themselves: each method carries a role as
// an option (auth.proto), one interceptor reads it, and a method without it can be
// called by nobody. Credentials are named tokens of high entropy of which the server
// knows only hashes. On a loopback address they travel in plain text; any other
// address needs TLS, on both sides.
//
// The package implements no service and knows no method by name except health checks
// and reflection.
package rpc
