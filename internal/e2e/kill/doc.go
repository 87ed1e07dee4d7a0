// Package kill tests that a run ends right when a program of the farm is killed in the
// middle of it. Coordinator, workers and deployers are processes of their own here, with
// configuration files, and a NATS server that outlives them all. They roll out to two clusters with a real node each.
//
// Its tests are behind the build tag e2e (make e2e). The witness of what was done to a
// cluster is the API server's audit log, not what Slipway says of itself.
package kill
