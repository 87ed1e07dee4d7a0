package placement_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/placement"
	"github.com/slipway-build/slipway/coordinator/plan"
)

func build(service string, on ...string) *plan.Task {
	b := &plan.Build{Platform: "linux/amd64", Contexts: map[string]string{}, Bases: map[string]string{"alpine:3": "sha256:a"}}
	for _, o := range on {
		b.Contexts[o] = o
	}
	return &plan.Task{Kind: plan.KindBuild, Service: service, Build: b}
}

func test(service, name string) *plan.Task {
	return &plan.Task{Kind: plan.KindTest, Service: service, Test: &plan.Test{Name: name, Build: *build(service).Build}}
}

func holding(tasks ...*plan.Task) *placement.Holdings {
	var h placement.Holdings
	for _, t := range tasks {
		h.Add(placement.Left("shop", t)...)
	}
	return &h
}

// TestWhatIsLeftIsWhatIsNeeded again: by the same task all of it, by others a part.
func TestWhatIsLeftIsWhatIsNeeded(t *testing.T) {
	missing := func(h *placement.Holdings, t *plan.Task) int { return h.Missing(placement.Needs("shop", t)) }
	nothing := missing(&placement.Holdings{}, build("api", "base"))
	for name, c := range map[string]struct {
		held *placement.Holdings
		want func(int) bool
	}{
		"the build itself":             {holding(build("api", "base")), func(n int) bool { return n == 0 }},
		"another service on the base":  {holding(build("web", "base")), func(n int) bool { return 0 < n && n < nothing }},
		"what it stands on":            {holding(build("base")), func(n int) bool { return 0 < n && n < nothing }},
		"a build of nothing like it":   {holding(&plan.Task{Service: "x", Build: &plan.Build{Platform: "linux/amd64"}}), func(n int) bool { return n == nothing }},
		"the same for another machine": {holding(&plan.Task{Service: "api", Build: &plan.Build{Platform: "linux/arm64"}}), func(n int) bool { return n == nothing }},
	} {
		if n := missing(c.held, build("api", "base")); !c.want(n) {
			t.Errorf("%s: %d is missing of %d", name, n, nothing)
		}
	}
	cold, tested, both := missing(holding(), test("api", "unit")), missing(holding(build("api")), test("api", "unit")), missing(holding(test("api", "unit"), build("api")), test("api", "unit"))
	if both != 0 || tested <= 0 || tested >= cold {
		t.Errorf("of a test there is missing: %d cold, %d where its service was built, %d where it was tested too", cold, tested, both)
	}
	if len(placement.Needs("shop", &plan.Task{Kind: plan.KindRender, Render: &plan.Render{}}))+len(placement.Left("shop", &plan.Task{Kind: plan.KindRender})) != 0 {
		t.Error("rendering needs or leaves something")
	}
	if a, b := placement.Needs("shop", build("api")), placement.Needs("other", build("api")); a[0] == b[0] {
		t.Error("projects share builds")
	}
}

// TestWhereATaskIsPlaced of two workers with a free slot each.
func TestWhereATaskIsPlaced(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	// A worker of four slots that has carried out so many tasks of ten seconds lately.
	worker := func(name string, h *placement.Holdings, busy, tasks int) placement.Candidate {
		l := &placement.Load{}
		for i := range tasks {
			at := now.Add(-time.Duration(tasks-i) * 10 * time.Second)
			l.Set(4, 0, at)
			l.Set(4, 1, at)
		}
		l.Set(4, 0, now)
		l.Set(4, busy, now)
		return placement.Candidate{Name: name, Holdings: h, Work: l.Work(now), Slots: 4, Busy: busy}
	}
	warm, cold := holding(build("api")), holding()
	for name, c := range map[string]struct {
		a, b placement.Candidate
		want string
	}{
		"the warm one":                              {worker("a", cold, 0, 0), worker("b", warm, 0, 0), "b"},
		"the warm one, though it did another":       {worker("a", cold, 0, 0), worker("b", warm, 1, 1), "b"},
		"the warm one, though it did a little more": {worker("a", cold, 0, 16), worker("b", warm, 0, 18), "b"},
		"the one that did less":                     {worker("a", cold, 0, 2), worker("b", cold, 0, 0), "b"},
		"the cold one, so much less it did":         {worker("a", warm, 0, 20), worker("b", cold, 0, 2), "b"},
		"the emptier one":                           {worker("a", warm, 2, 0), worker("b", warm, 0, 0), "b"},
		"the first by name":                         {worker("b", warm, 0, 0), worker("a", warm, 0, 0), "a"},
	} {
		all := []placement.Candidate{c.a, c.b}
		if got := all[placement.Best(placement.Needs("shop", build("api")), all, c.a.Work.Add(c.b.Work), 8)].Name; got != c.want {
			t.Errorf("%s: placed on %s", name, got)
		}
	}
}

// TestHoldingsAreASet whatever is added and dropped, and in which order.
func TestHoldingsAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h placement.Holdings
		want := map[uint64]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k := rapid.Uint64Range(0, 20).Draw(t, "key")
				h.Add(k)
				want[k] = true
			},
			"drop": func(t *rapid.T) {
				k := rapid.Uint64Range(0, 20).Draw(t, "key")
				h.Drop(k)
				delete(want, k)
			},
			"set": func(t *rapid.T) {
				keys := rapid.SliceOf(rapid.Uint64Range(0, 20)).Draw(t, "keys")
				h.Set(keys)
				clear(want)
				for _, k := range keys {
					want[k] = true
				}
			},
			"": func(t *rapid.T) {
				all := h.All()
				if len(all) != len(want) || h.Len() != len(want) || !slices.IsSorted(all) {
					t.Fatalf("held: %v, want %v", all, want)
				}
				for k := range uint64(21) {
					if missing := h.Missing([]placement.Need{{Key: k, Weight: 7}}); (missing == 0) != want[k] || h.Warm([]placement.Need{{Key: k}}) != want[k] {
						t.Fatalf("of %d there is missing %d", k, missing)
					}
				}
			},
		})
	})
}

// TestWorkOfLongAgoIsForgotten, and a slot that is always busy has worked all of what counts.
func TestWorkOfLongAgoIsForgotten(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var l placement.Load
	l.Set(2, 2, at)
	if day := l.Work(at.Add(24 * time.Hour)).Seconds; day < 599 || day > 601 {
		t.Errorf("a day of work counts %.1f s, want five minutes of each slot", day)
	}
	minute := l.Work(at.Add(time.Minute)).Seconds
	l.Set(2, 1, at.Add(time.Minute))
	half := l.Work(at.Add(2 * time.Minute)).Seconds
	if minute < 100 || minute > 120 || half <= minute || half >= 2*minute {
		t.Errorf("a minute of work counts %.1f s, and another with half the slots makes it %.1f", minute, half)
	}
	l.Set(2, 0, at.Add(2*time.Minute))
	var fresh placement.Load
	fresh.Start(placement.Work{Seconds: 80, Tasks: 8}, 8, 2, at)
	if got := fresh.Work(at); got != (placement.Work{Seconds: 20, Tasks: 2}) {
		t.Errorf("one that has just come begins with %+v, want its share of what others did", got)
	}
	if later := l.Work(at.Add(2 * time.Hour)); later.Seconds > 0.01 || later.Tasks > 0.01 {
		t.Errorf("hours later it counts %+v", later)
	}
}
