package poll

import (
	"maps"
	"slices"
	"time"
)

// Push is a branch whose head is another than the one that was dealt with last.
type Push struct {
	Branch string
	Commit string
	Before string // empty: the branch is new
}

// seen is what is known of one repository. The zero seen: nothing yet.
type seen struct {
	known bool              // it was looked at before
	heads map[string]string // branch → head that was dealt with; remembered
	since map[string]since  // branch → head that was not; forgotten by a restart
}

type since struct {
	commit string
	at     time.Time
}

// decide answers what is to be done about the branches as they are now, sorted. What
// was there when a repository was looked at for the first time is nobody's push. A head
// is left to the host for as long as grace says: its own event is the better one.
func (s *seen) decide(heads map[string]string, now time.Time, grace time.Duration) (due []Push) {
	if !s.known {
		s.known, s.heads, s.since = true, maps.Clone(heads), map[string]since{}
		return nil
	}
	gone := func(branch string) bool { _, there := heads[branch]; return !there }
	maps.DeleteFunc(s.heads, func(branch, _ string) bool { return gone(branch) })
	maps.DeleteFunc(s.since, func(branch string, _ since) bool { return gone(branch) })
	for _, branch := range slices.Sorted(maps.Keys(heads)) {
		head := heads[branch]
		if s.heads[branch] == head {
			delete(s.since, branch)
			continue
		}
		if s.since[branch].commit != head {
			s.since[branch] = since{head, now}
		}
		if now.Sub(s.since[branch].at) >= grace {
			due = append(due, Push{branch, head, s.heads[branch]})
		}
	}
	return due
}

// done takes note that a push was dealt with.
func (s *seen) done(p Push) {
	s.heads[p.Branch] = p.Commit
	delete(s.since, p.Branch)
}
