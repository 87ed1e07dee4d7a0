// Package journal is the truth of what runs are: one append-only, fenced, hash-chained
// stream per partition on JetStream (DESIGN D3).
//
// An owner claims an epoch before it serves, and every append carries the sequence
// that it expects to be last. So of two processes that both believe that they own a
// partition, one appends and the other is told ErrLost at its next append.
//
// A replay begins with the newest snapshot that can be used: the last record says which
// record names it. A snapshot is made of the one before and the records since, beside the
// owner; the records that two snapshots make surplus are purged (docs/decisions, 10).
//
// A record is all events of one group commit, in one message, so one fsync; where they
// are too many for a message, it is a part of them. What the events mean, when to append and what to do after ErrLost is the caller's business
// (package partition).
package journal
