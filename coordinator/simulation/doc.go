// Package simulation has no code but its tests: the coordinator's engine (partition, run,
// project, journal, dispatch) as it is, on a fake clock, network and disk, inside
// testing/synctest. A seed decides everything: what users ask for, what workers do and
// when they are stopped, which messages are late, lost or doubled, what becomes of each
// append, and when coordinators are killed or replaced. Invariants I1 to I6 and I9 are
// checked while it goes on and at its end.
//
//	go test ./coordinator/simulation -run TestSeeds -seeds 10000
//	go test ./coordinator/simulation -run TestSeeds -first 4711 -seeds 1 -v
//	go test -tags planted ./coordinator/simulation -run TestPlanted
//
// What it leaves out: sessions and their stream (their rules for leases are repeated here,
// their code is not run), election (a coordinator that was replaced gives no lease and
// renews none, as if its own time as owner were over), logs, and the clusters (a sink
// that refuses older fences stands for them).
package simulation
