// Package release keeps Helm's own record of what Slipway applied, so that `helm list`, `helm history` and `helm get` answer:
// one Secret per revision in the target's namespace, written through Helm's storage library.
//
// What holds:
//
//   - The record follows the objects: it is written once they work, and one that would say the same as the newest is not
//     written again, however often an attempt is repeated.
//   - The next revision is created, never written over. Of two attempts that see the same newest one, the second finds it taken,
//     looks again, and stops if a newer fence wrote it.
//   - A release that Slipway did not write is refused before anything is written to the cluster, and taken over on request.
//
// It applies nothing, and nothing that Slipway does is decided by a record: what `helm upgrade`, `rollback` or `uninstall` do to
// the objects is met as any other change by others is.
package release
