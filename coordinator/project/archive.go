package project

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/run"
)

// Archive is where a run is kept that left the state.
type Archive struct {
	Run        string
	Number     uint64
	Project    string
	Blob       string
	FinishedAt time.Time
	Logs       string `json:",omitempty"` // blob of the archive of its logs; empty: there is none
}

// Archive finds a run that was archived, by its id or by "<project>-<number>".
func (s *State) Archive(name string) (Archive, bool) {
	if a, ok := s.archives[name]; ok {
		return a, true
	}
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return Archive{}, false
	}
	number, err := strconv.ParseUint(name[i+1:], 10, 64)
	p, ok := s.projects[name[:i]]
	if err != nil || !ok {
		return Archive{}, false
	}
	a, ok := s.archives[p.gone[number]]
	return a, ok
}

// Retention is how long what has ended is kept. Zero: for ever.
type Retention struct {
	Runs       time.Duration // in the state, after its end
	PerProject int           // so many of them at most, the newest
	Archives   time.Duration // of runs, after their end
	Logs       time.Duration // archives of logs, after the end of their run
	Results    time.Duration // since they were made
	Keys       time.Duration // since the run was accepted
}

// Ripe are runs that have ended and are not to be kept in the state any longer, oldest
// first, at most so many, but for those that are to wait.
func (s *State) Ripe(keep Retention, at time.Time, most int, wait func(*run.Run) bool) []*run.Run {
	newer := map[string]int{} // runs of the project that have ended and are newer
	var out []*run.Run
	for _, id := range slices.Backward(s.order) {
		r := s.runs[id]
		if !r.State.Ended() {
			continue
		}
		n := newer[r.Project]
		newer[r.Project]++
		if (keep.Runs > 0 && r.FinishedAt.Add(keep.Runs).Before(at) || keep.PerProject > 0 && n >= keep.PerProject) && !wait(r) {
			out = append(out, r)
		}
	}
	slices.Reverse(out)
	return out[:min(len(out), most)]
}

// Written are runs that ended before a time and whose logs are not archived, oldest first, at
// most so many, but for those that are to wait.
func (s *State) Written(ended time.Time, most int, wait func(id string) bool) []*run.Run {
	var out []*run.Run
	for id := range s.owing {
		if r := s.runs[id]; !r.FinishedAt.After(ended) && !wait(id) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *run.Run) int {
		return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), cmp.Compare(a.ID, b.ID))
	})
	return out[:min(len(out), most)]
}

func (s *State) archive(e run.Archived) error {
	r, ok := s.runs[e.Run]
	switch {
	case !ok:
		return fmt.Errorf("run %s is archived, and is not there", e.Run)
	case !r.State.Ended():
		return fmt.Errorf("run %s is archived, and is %s", e.Run, r.State)
	}
	delete(s.runs, e.Run)
	delete(s.owing, e.Run)
	if i := slices.Index(s.order, e.Run); i >= 0 {
		s.order = slices.Delete(s.order, i, i+1)
	}
	s.keep(Archive{Run: r.ID, Number: r.Number, Project: r.Project, Blob: e.Blob, FinishedAt: r.FinishedAt, Logs: r.Logs})
	return nil
}

func (s *State) keep(a Archive) {
	s.archives[a.Run] = a
	s.Project(a.Project).gone[a.Number] = a.Run
}

// Gone are the blobs that nobody knows once the state has forgotten them.
type Gone struct {
	Archives []Archive
	Logs     []string // archives of logs
}

// Forget decides what is too old to be known. The last green commit of a project stays,
// whatever its age: what has changed is measured against it.
func (s *State) Forget(keep Retention, at time.Time) (e run.Forgotten, gone Gone, some bool) {
	before := func(d time.Duration) time.Time {
		if d == 0 {
			return time.Time{}
		}
		return at.Add(-d)
	}
	limit := run.Forgotten{Keys: before(keep.Keys), Results: before(keep.Results), Archives: before(keep.Archives), Logs: before(keep.Logs)}
	for _, p := range s.projects {
		for _, k := range p.keys {
			if k.At.Before(limit.Keys) {
				e.Keys = limit.Keys
				break
			}
		}
		for _, k := range p.results {
			if k.At.Before(limit.Results) {
				e.Results = limit.Results
				break
			}
		}
		for _, u := range p.times {
			if u.At.Before(limit.Results) {
				e.Results = limit.Results
				break
			}
		}
		for _, f := range p.forgotten {
			if f.At.Before(limit.Results) {
				e.Results = limit.Results
				break
			}
		}
		for _, t := range p.tests {
			if t.stale(limit.Results) {
				e.Results = limit.Results
				break
			}
		}
		for of, b := range p.baselines {
			if of.ref != "" && b.at.Before(limit.Results) {
				e.Results = limit.Results
				break
			}
		}
		for ref, g := range p.green {
			if ref != "" && g.at.Before(limit.Results) {
				e.Results = limit.Results
				break
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.archives)) {
		a := s.archives[id]
		old := a.FinishedAt.Before(limit.Archives)
		if old {
			e.Archives = limit.Archives
			gone.Archives = append(gone.Archives, a)
		}
		if a.Logs != "" && a.FinishedAt.Before(limit.Logs) {
			e.Logs = limit.Logs
			gone.Logs = append(gone.Logs, a.Logs)
		} else if a.Logs != "" && old {
			gone.Logs = append(gone.Logs, a.Logs)
		}
	}
	for _, id := range s.order {
		if r := s.runs[id]; r.Logs != "" && r.FinishedAt.Before(limit.Logs) {
			e.Logs = limit.Logs
			gone.Logs = append(gone.Logs, r.Logs)
		}
	}
	return e, gone, e != run.Forgotten{}
}

func (s *State) forget(e run.Forgotten) {
	for _, p := range s.projects {
		maps.DeleteFunc(p.keys, func(_ string, k Key) bool { return k.At.Before(e.Keys) })
		maps.DeleteFunc(p.results, func(_ string, k Known) bool { return k.At.Before(e.Results) })
		maps.DeleteFunc(p.times, func(_ string, u Usual) bool { return u.At.Before(e.Results) })
		maps.DeleteFunc(p.forgotten, func(_ string, f Forgotten) bool { return f.At.Before(e.Results) })
		maps.DeleteFunc(p.tests, func(_ string, t *Test) bool { return t.stale(e.Results) })
		maps.DeleteFunc(p.baselines, func(of scanned, b baseline) bool { return of.ref != "" && b.at.Before(e.Results) })
		maps.DeleteFunc(p.green, func(ref string, g green) bool { return ref != "" && g.at.Before(e.Results) })
	}
	for id, a := range s.archives {
		if a.FinishedAt.Before(e.Archives) {
			delete(s.archives, id)
			delete(s.projects[a.Project].gone, a.Number)
		} else if a.FinishedAt.Before(e.Logs) {
			a.Logs = ""
			s.archives[id] = a
		}
	}
	for _, r := range s.runs {
		r.ForgetLogs(e.Logs)
	}
}
