// Package health waits until the objects of a release work, and says why when they do not: which pod, which container, its
// state and exit code, what the cluster's events say, and its last log lines.
//
// It watches and does not poll. It gives up early when waiting is hopeless, by the rules of Grace: what usually passes by itself
// gets time, what needs a new release does not hold one up until its deadline. What cannot be told (a cluster that stopped
// answering) is an error and never a report.
//
//	every change ──▶ assess (pure) ──▶ healthy            ──▶ Report{Healthy}
//	                               ├─▶ a finding past its grace ──▶ collect logs ──▶ Report{Reasons}
//	                               └─▶ pending: wait for the next change, the next grace, or the deadline
//
// It changes nothing on a cluster, and it never dials a pod or a service: the API server's proxy does.
package health
