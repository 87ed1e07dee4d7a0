package schedule_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/schedule"
)

func fill(q *schedule.Queue, project, run string, class schedule.Class, tasks int) {
	for i := range tasks {
		q.Add(schedule.Task{Token: fmt.Sprintf("%s-%d", run, i), Project: project, Run: run, Class: class, Index: i})
	}
}

// served counts by run which tasks the next n are.
func served(q *schedule.Queue, n int) map[string]int {
	out := map[string]int{}
	for range n {
		t, ok := q.Next()
		if !ok {
			break
		}
		out[t.Run]++
	}
	return out
}

func TestALongRunDoesNotStarveAShortOne(t *testing.T) {
	var q schedule.Queue
	fill(&q, "shop", "long", schedule.Normal, 10_000)
	served(&q, 1000)
	fill(&q, "shop", "short", schedule.Normal, 5)
	if got := served(&q, 10); got["short"] != 5 {
		t.Errorf("of the next 10 tasks %d are the short run's, want all 5: %v", got["short"], got)
	}
	if q.Len() != 10_000-1000-5 {
		t.Errorf("%d wait", q.Len())
	}
}

func TestProjectsShareWhateverTheyHave(t *testing.T) {
	var q schedule.Queue
	for i := range 100 {
		fill(&q, "busy", fmt.Sprint("busy", i), schedule.Normal, 20)
	}
	fill(&q, "quiet", "quiet", schedule.Normal, 20)
	if got := served(&q, 40); got["quiet"] != 20 {
		t.Errorf("of the next 40 tasks %d are the quiet project's, want 20", got["quiet"])
	}
}

func TestClassesByWeight(t *testing.T) {
	var q schedule.Queue
	fill(&q, "shop", "low", schedule.Low, 1000)
	fill(&q, "shop", "normal", schedule.Normal, 1000)
	fill(&q, "shop", "urgent", schedule.Urgent, 1000)
	got := served(&q, 730)
	for run, want := range map[string]int{"urgent": 640, "normal": 80, "low": 10} {
		if got[run] < want-1 || got[run] > want+1 {
			t.Errorf("%s: %d of 730, want about %d", run, got[run], want)
		}
	}
}

func TestTheLongestPathGoesFirst(t *testing.T) {
	var q schedule.Queue
	for i, bottom := range []int64{5, 90, 30, 90} {
		q.Add(schedule.Task{Token: fmt.Sprint(i), Run: "r", Bottom: bottom, Index: i})
	}
	if got := q.Order(); !slices.Equal(got, []string{"1", "3", "2", "0"}) {
		t.Errorf("order %v", got)
	}
	if q.Len() != 4 {
		t.Errorf("Order took tasks out: %d are left", q.Len())
	}
}

func ofTeam(q *schedule.Queue, team string, share int, run string, class schedule.Class, tasks int) {
	for i := range tasks {
		q.Add(schedule.Task{Token: fmt.Sprintf("%s-%d", run, i), Team: team, Share: share, Project: "shop", Run: run, Class: class, Index: i})
	}
}

// TestTeamsByShare: a team with a share of three is given three tasks for one of a team
// that has none, however many runs either has.
func TestTeamsByShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q schedule.Queue
		shares := map[string]int{}
		for i := range rapid.IntRange(2, 5).Draw(t, "teams") {
			team := fmt.Sprint("team", i)
			shares[team] = rapid.IntRange(0, 7).Draw(t, "share")
			for r := range rapid.IntRange(1, 3).Draw(t, "runs") {
				ofTeam(&q, team, shares[team], fmt.Sprintf("%s/%d", team, r), schedule.Normal, 300)
			}
		}
		given := map[string]int{}
		for range 250 {
			task, _ := q.Next()
			given[task.Team]++
			for team, share := range shares { // whoever is ahead is so by less than a task of each
				mine, other := float64(given[task.Team]-1)/float64(max(1, shares[task.Team])), float64(given[team])/float64(max(1, share))
				if mine > other+1e-3 {
					t.Fatalf("%s (share %d) was given task %d, and %s (share %d) has %d", task.Team, shares[task.Team], given[task.Team], team, share, given[team])
				}
			}
		}
	})
}

func TestTheShareThatCameLastCounts(t *testing.T) {
	var q schedule.Queue
	ofTeam(&q, "core", 5, "old", schedule.Normal, 100)
	ofTeam(&q, "core", 1, "new", schedule.Normal, 1)
	ofTeam(&q, "web", 1, "web", schedule.Normal, 100)
	if got := served(&q, 40); got["web"] != 20 {
		t.Errorf("the other team was given %d of 40, want 20", got["web"])
	}
}

func TestATeamThatIsHeld(t *testing.T) {
	var q schedule.Queue
	ofTeam(&q, "core", 9, "core", schedule.Normal, 3)
	ofTeam(&q, "web", 1, "web", schedule.Normal, 100)
	q.Hold("core")
	ofTeam(&q, "core", 9, "more", schedule.Low, 2)
	ofTeam(&q, "core", 9, "undo", schedule.Urgent, 1)
	order := q.Order()
	if last := slices.Sorted(slices.Values(order[101:])); !slices.Equal(last, []string{"core-0", "core-1", "core-2", "more-0", "more-1"}) {
		t.Errorf("the last 5 are %v, want those that are held", last)
	}
	if got := served(&q, 51); got["web"] != 50 || got["undo"] != 1 {
		t.Errorf("while it is held: %v", got)
	}
	q.Free("core")
	if got := served(&q, 7); got["core"] != 3 || got["web"] < 3 {
		t.Errorf("of the 7 tasks after, core was given %v, want all 3 that it has", got)
	}
	ofTeam(&q, "core", 9, "again", schedule.Normal, 4)
	q.Hold("core")
	served(&q, 1000)
	if task, ok := q.Next(); ok || q.Len() < 4 {
		t.Errorf("with only a held team left: given %v, %d wait", task, q.Len())
	}
	q.Remove("again-1")
	q.Free("core")
	if got := served(&q, 1000); got["again"] != 3 || q.Len() != 0 {
		t.Errorf("in the end: %v, %d wait", got, q.Len())
	}
}

// TestSharesOfWhoeverWaits: between any two runs of a project that both wait, and any two
// projects of a class, the difference in what they were given never exceeds one task.
func TestSharesOfWhoeverWaits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q schedule.Queue
		projects := rapid.IntRange(1, 5).Draw(t, "projects")
		runs := rapid.IntRange(1, 5).Draw(t, "runs")
		for p := range projects {
			for r := range runs {
				fill(&q, fmt.Sprint("p", p), fmt.Sprintf("p%d/%d", p, r), schedule.Normal, 100)
			}
		}
		given, ofProject := map[string]int{}, map[string]int{}
		for range rapid.IntRange(1, 90).Draw(t, "tasks") {
			task, _ := q.Next()
			given[task.Run]++
			ofProject[task.Project]++
			for p := range projects {
				for r := range runs {
					if d := given[task.Run] - given[fmt.Sprintf("%s/%d", task.Project, r)]; d > 1 {
						t.Fatalf("run %s is %d tasks ahead of run %d", task.Run, d, r)
					}
				}
				if d := ofProject[task.Project] - ofProject[fmt.Sprint("p", p)]; d > 1 {
					t.Fatalf("project %s is %d tasks ahead of project %d", task.Project, d, p)
				}
			}
		}
	})
}

// TestEveryTaskIsGivenOnce: whatever comes and goes, the queue gives out what waits, once,
// as long as something waits, in the order that it said, and the same each time.
func TestEveryTaskIsGivenOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q, twin schedule.Queue
		waits := map[string]bool{}
		ahead := map[string]int{} // token → tasks given since it waits, and may be given
		ofTeam, held := map[string]string{}, ""
		free := func() (n int) {
			for token := range waits {
				if ofTeam[token] != held || held == "" {
					n++
				}
			}
			return n
		}
		for step := range rapid.IntRange(1, 200).Draw(t, "steps") {
			what := rapid.SampledFrom([]string{"add", "add", "add", "remove", "next", "next", "hold", "free"}).Draw(t, "what")
			switch what {
			case "add":
				run := rapid.IntRange(0, 6).Draw(t, "run")
				task := schedule.Task{
					Token: fmt.Sprint(step), Run: fmt.Sprint("r", run), Project: fmt.Sprint("p", run%3), Since: uint64(run),
					Class: schedule.Class(run % 3), Index: step, Bottom: rapid.Int64Range(0, 9).Draw(t, "bottom"),
					Team: fmt.Sprint("t", run%2), Share: rapid.IntRange(0, 3).Draw(t, "share"),
				}
				if task.Class != schedule.Urgent {
					ofTeam[task.Token] = task.Team
				}
				q.Add(task)
				q.Add(task)
				twin.Add(task)
				waits[task.Token] = true
			case "remove":
				token := fmt.Sprint(rapid.IntRange(0, step).Draw(t, "token"))
				q.Remove(token)
				twin.Remove(token)
				delete(waits, token)
				delete(ahead, token)
			case "hold", "free":
				q.Free(held)
				twin.Free(held)
				clear(ahead)
				if held = ""; what == "hold" {
					held = fmt.Sprint("t", rapid.IntRange(0, 1).Draw(t, "team"))
					q.Hold(held)
					twin.Hold(held)
				}
			case "next":
				order := q.Order()
				task, ok := q.Next()
				same, _ := twin.Next()
				switch {
				case ok != (free() > 0):
					t.Fatalf("next: %t, and %d wait, %d of them held", ok, len(waits), len(waits)-free())
				case !ok:
				case held != "" && ofTeam[task.Token] == held:
					t.Fatalf("%s is of %s, which is held", task.Token, held)
				case !waits[task.Token]:
					t.Fatalf("%s does not wait", task.Token)
				case !cmp.Equal(same, task) || len(order) != len(waits) || order[0] != task.Token:
					t.Fatalf("next is %v, once %v, and %s was foretold", task, same, order[0])
				}
				delete(waits, task.Token)
				delete(ahead, task.Token)
				for token := range waits {
					if !ok || held != "" && ofTeam[token] == held {
						continue
					}
					if ahead[token]++; ahead[token] > 73*len(waits)+200 {
						t.Fatalf("%s waits while %d tasks are given", token, ahead[token])
					}
				}
			}
			if q.Len() != len(waits) {
				t.Fatalf("%d wait, want %d", q.Len(), len(waits))
			}
		}
	})
}

// TestWhoComesBackClaimsNothing: a run that has one task at a time gets no more than its
// share, and one that was away does not get what it did not use.
func TestWhoComesBackClaimsNothing(t *testing.T) {
	var q schedule.Queue
	fill(&q, "shop", "steady", schedule.Normal, 1000)
	served(&q, 300)
	trickle := 0
	for i := range 200 {
		q.Add(schedule.Task{Token: fmt.Sprint("t", i), Project: "shop", Run: "trickle"})
		if task, _ := q.Next(); task.Run == "trickle" {
			trickle++
		}
	}
	if trickle < 99 || trickle > 101 {
		t.Errorf("the run that came later got %d of 200, want half", trickle)
	}
}

func BenchmarkNext(b *testing.B) {
	for _, waiting := range []int{1000, 20_000} {
		b.Run(fmt.Sprint(waiting), func(b *testing.B) {
			var q schedule.Queue
			for i := range waiting {
				run := fmt.Sprint("r", i%100)
				q.Add(schedule.Task{Token: fmt.Sprint(i), Project: fmt.Sprint("p", i%10), Run: run, Index: i})
			}
			b.ReportAllocs()
			for b.Loop() {
				t, _ := q.Next()
				q.Add(t)
			}
		})
	}
}
