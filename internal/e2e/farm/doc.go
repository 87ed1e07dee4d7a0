// Package farm tests make farm-local as its user has it: three coordinators, three NATS
// servers and four workers as processes of their own bring examples/shop to two clusters
// while each of them, and the deployer, is killed in turn, and slipway watch tells a reader
// what happened.
//
// Its test is behind the build tag e2e (make e2e). The witness of what was done to a cluster
// is its API server's audit log, not what Slipway says of itself.
package farm
