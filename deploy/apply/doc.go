// Package apply brings the objects of a release onto a cluster, and takes away what the release no longer has.
//
// What holds:
//
//   - Nothing is written before every object has passed the cluster's own strict validation (a server-side dry run), so a
//     mistake in the last object does not leave the first ones changed. The namespace alone is made beforehand: without it the
//     cluster validates nothing.
//   - An object that would not change is not written at all, so applying a release again, by whichever deployer, costs no write.
//   - Every write of a live object carries the uid and resourceVersion of the read that compared its fence. A deployer whose
//     lease was given to another cannot write over it. A first creation has nothing to compare; its safety is the lease's.
//   - Objects that somebody else made, and fields that somebody else holds, are reported, all at once, and left alone. Only a
//     request that adopts takes them over, together with everything their owner had set: what the release does not have goes.
//
// It does not wait for anything to become healthy.
package apply
