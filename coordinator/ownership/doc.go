// Package ownership shares the partitions of a farm among its coordinators. A lease in a
// bucket of its own, whose entries die when they are not renewed, elects the owner of
// each partition; the journal decides (package journal): an owner that lost its lease
// without noticing cannot append, and does not answer beyond its lease's deadline.
//
//	        nobody's, and fewer here than the share     asked to give some away,
//	        of each: an entry is created                or the program stops
//	free ────────────────────────────────────▶ held ────────────────────────────▶ free
//	  ▲                                          │
//	  └──────────────────────────────────────────┘
//	        not renewed for one TTL: killed, paused, cut off
//
// It knows which coordinators there are, where each is reached, and who owns what. What
// an owner does is not its business.
package ownership
