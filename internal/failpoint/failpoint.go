// Package failpoint names the places at which `make chaos` kills a coordinator or a deployer:
// between the steps whose order matters. They are in a build with the tag `chaos` alone, and there
// one at a time, when Arm says so. In every other build Hit is nothing, and the compiler
// leaves it out.
package failpoint

// Point is one place.
type Point string

// The places of a coordinator, in the order in which a run comes by them.
const (
	SubmitPlanned    Point = "submit.planned"    // a plan is made, and nowhere yet
	SubmitStored     Point = "submit.stored"     // a plan is stored, and no run yet
	SubmitAccepted   Point = "submit.accepted"   // a run is accepted, and not answered yet
	BatchDecided     Point = "batch.decided"     // a batch is decided, and not appended yet
	AppendBefore     Point = "append.before"     // a record is about to be sent
	AppendAfter      Point = "append.after"      // a record is stored, and its owner does not know yet
	BatchDurable     Point = "batch.durable"     // a batch is durable, and nobody has been answered
	BatchAnswered    Point = "batch.answered"    // everybody has been answered, and nothing done yet
	BatchActed       Point = "batch.acted"       // what follows is begun, and nobody was shown it
	HintPublished    Point = "hint.published"    // hints are in the queue
	LeaseDecided     Point = "lease.decided"     // a lease is given, and its holder does not know
	LeaseAnswered    Point = "lease.answered"    // its holder is told, and the journal perhaps not
	LeaseRenewed     Point = "lease.renewed"     // a heartbeat was taken, and not acknowledged
	LeaseLost        Point = "lease.lost"        // a lease has run out, and the journal does not know
	CompleteReceived Point = "complete.received" // the end of an attempt has come
	CompleteDecided  Point = "complete.decided"  // it is taken, and not durable
	CompleteDurable  Point = "complete.durable"  // it is durable, and not acknowledged
	EffectDone       Point = "effect.done"       // a task of the coordinator's is done, and nobody was told
	OwnerTaken       Point = "owner.taken"       // a partition is won, and its journal not claimed
	OwnerClaimed     Point = "owner.claimed"     // the journal is claimed, and what it says not taken over
	OwnerInherited   Point = "owner.inherited"   // what the owner before left is taken over, and nobody served
	LogStored        Point = "log.stored"        // a frame of log is stored, and not acknowledged
	LogAhead         Point = "log.ahead"         // what came of logs is written ahead, and nobody was shown it
)

// The places of a deployer, in the order in which a rollout comes by them.
const (
	DeployLeased    Point = "deploy.leased"    // a lease is taken, and nothing begun
	ApplyPlanned    Point = "apply.planned"    // everything was asked, and nothing written
	ApplyWriting    Point = "apply.writing"    // an object is about to be written
	ApplyWritten    Point = "apply.written"    // an object is written, and perhaps others not
	ApplyDone       Point = "apply.done"       // everything is written, and nobody has looked whether it works
	HealthWaiting   Point = "health.waiting"   // what was written does not work yet
	DeleteBefore    Point = "delete.before"    // an object that is not wanted any more is about to be deleted
	DeleteDone      Point = "delete.done"      // it is deleted, and perhaps others not
	RecordBefore    Point = "record.before"    // Helm's record of the release is about to be written
	RecordWritten   Point = "record.written"   // it is written, and the one before it goes for current too
	ShiftDerived    Point = "shift.derived"    // it is known what stands beside what serves, and nothing written
	ShiftWritten    Point = "shift.written"    // the candidate stands, and nobody has looked whether it works
	AnalyzeWatching Point = "analyze.watching" // a candidate is watched
	RollbackBegun   Point = "rollback.begun"   // a candidate may be taken back, and nothing is
	RollbackRemoved Point = "rollback.removed" // what only the candidate has is gone, and what served perhaps not whole
	DeployEnded     Point = "deploy.ended"     // the work is done, and nobody was told
)

// Coordinator has those of a coordinator, in order.
func Coordinator() []Point {
	return []Point{
		SubmitPlanned, SubmitStored, SubmitAccepted, BatchDecided, AppendBefore, AppendAfter, BatchDurable, BatchAnswered, BatchActed, HintPublished,
		LeaseDecided, LeaseAnswered, LeaseRenewed, LeaseLost, CompleteReceived, CompleteDecided, CompleteDurable, EffectDone, OwnerTaken, OwnerClaimed,
		OwnerInherited, LogStored, LogAhead,
	}
}

// Deployer has those of a deployer, in order.
func Deployer() []Point {
	return []Point{
		DeployLeased, ApplyPlanned, ApplyWriting, ApplyWritten, ApplyDone, HealthWaiting, DeleteBefore, DeleteDone, RecordBefore, RecordWritten,
		ShiftDerived, ShiftWritten, AnalyzeWatching, RollbackBegun, RollbackRemoved, DeployEnded,
	}
}
