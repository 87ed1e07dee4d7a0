// Package planted has twenty mistakes that the simulation of the coordinator must find
// (coordinator/simulation). They are in the code only of a build with the tag `planted`,
// and there one at a time, when Set turns it on. In every other build On is a constant
// false, and the compiler leaves out what stands behind it.
//
// They were chosen before the finder was run on them, to cover every invariant that it
// checks.
package planted

// Bug is one mistake.
type Bug int

// The mistakes, by the invariant that they break.
const (
	None Bug = iota

	// I1: no accepted run is lost, nothing that was acknowledged is.

	AnswerBeforeDurable  // a batch is answered before it is appended
	DoubtIsStored        // an append without an answer is taken for stored
	OthersRecordIsMine   // a record in the place of mine is taken for mine
	ChecksumNotCompared  // I10: a record is used whatever its checksum says
	RetryNotJournalled   // I9: that a lost attempt is tried again is served and not written
	InheritedNeverExpire // I2: leases of the owner before go on for ever
	NobodyUnblocked      // I2: a rollout that waits for an environment is not asked again
	LostHintStaysLost    // I2: the sweeper publishes nothing again
	BackOffForgotten     // I2: a task that waits for its next try is dropped
	OldFenceCompletes    // I3: a late report ends the attempt of another
	CancelAfterEnd       // I3: a run that has ended can be canceled
	FailedNeedIsGood     // I4: what needs a failed task becomes ready
	GrantsBeforeDurable  // I4: a lease is answered while its needs are in the same batch
	LockIgnored          // I6: two runs change an environment
	DeadlineHalved       // I5: a lease is taken back before its holder stops
	NoQuietPeriod        // I5: a new owner does not wait for the holders it does not know
	RenewKeepsDeadline   // I5: a heartbeat is answered and prolongs nothing
	FenceWithoutEpoch    // I5, I6: the fences of the next owner are not newer
	AnyFenceReclaims     // I5, I6: a lease is taken back by somebody who lost it
	LostApplyUntouched   // I6: what a lost attempt changed is not taken back

	end
)

// All of them, in order.
func All() []Bug {
	out := make([]Bug, 0, end-1)
	for b := None + 1; b < end; b++ {
		out = append(out, b)
	}
	return out
}
