package trust

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/run"
)

func at(s int) time.Time { return time.Unix(int64(1_000_000+s), 0) }

func test(n int) Test { return Test{fmt.Sprint("t", n), fmt.Sprint("test", n)} }

// TestWhatIsDoubted: of a worker on which no test passed the first failure is, of another one the second in a row; then all that were under
// way there.
func TestWhatIsDoubted(t *testing.T) {
	for _, c := range []struct {
		what string
		ends string // p passed, f failed and was believed, d failed and was doubted
	}{
		{"new", "ddd"},
		{"proven", "pfdd"},
		{"now and then", "pfpfpfpfd"},
	} {
		l := ledger{}
		for i, end := range c.ends {
			if end == 'p' {
				l.passed("w", at(i))
			} else if doubted := l.failed("w", test(i), true, at(i)); doubted != (end == 'd') {
				t.Errorf("%s: end %d of %s is doubted: %t", c.what, i, c.ends, doubted)
			}
		}
	}
	l := ledger{}
	if l.failed("w", test(1), false, at(0)) {
		t.Error("doubted, though nobody else could carry it out")
	}
	l = ledger{}
	l.failed("w", test(1), true, at(0))
	if l.failed("v", test(2), true, at(0)) {
		t.Error("two workers are suspected at once")
	}
}

func TestWhoIsGuilty(t *testing.T) {
	l := ledger{}
	fail := func(n int) {
		t.Helper()
		if !l.failed("w", test(n), true, at(n)) {
			t.Fatalf("test %d is not doubted", n)
		}
		if reason, since, ok := l.suspected("w"); !ok || !strings.Contains(reason, fmt.Sprint("test", n)) || !since.Equal(at(n)) {
			t.Fatalf("after test %d: %q since %s, %t", n, reason, since, ok)
		}
	}
	judge := func(n int, v run.TaskState, want string) {
		t.Helper()
		worker, reason := l.judged(fmt.Sprint("t", n), v)
		if _, _, ok := l.suspected("w"); ok {
			t.Errorf("test %d was judged, and the worker is suspected still", n)
		}
		if reason != want || (worker != "") != (want != "") {
			t.Errorf("test %d: %q %q, want %q", n, worker, reason, want)
		}
	}
	fail(1)
	judge(1, run.TaskSucceeded, "")
	fail(2)
	judge(2, run.TaskCanceled, "")
	fail(3)
	judge(3, run.TaskSucceeded, "")
	fail(4)
	judge(4, run.TaskSucceeded, "3 tests failed here and passed on other workers, and none passed here: test1, test3, test4")
	if len(l) != 0 {
		t.Errorf("remembered of who is cordoned: %+v", l["w"])
	}

	fail(5)
	judge(5, run.TaskSucceeded, "")
	fail(6)
	judge(6, run.TaskSucceeded, "")
	l.passed("w", at(7)) // so it is not the machine
	if l.failed("w", test(8), true, at(8)) {
		t.Error("the first failure after a test passed is doubted")
	}
	fail(9)
	judge(9, run.TaskSucceeded, "")
}

func TestASuspicionEnds(t *testing.T) {
	everybody := func(string) bool { return true }
	begin := func() ledger {
		l := ledger{}
		l.failed("w", test(1), true, at(0))
		return l
	}
	l := begin()
	if l.expire(at(0).Add(suspicion-time.Second), everybody) {
		t.Error("before its time is over")
	}
	if !l.expire(at(0).Add(suspicion), everybody) {
		t.Error("its time is over, and it goes on")
	}
	l = begin()
	if !l.expire(at(1), func(string) bool { return false }) {
		t.Error("the others are gone, and it goes on")
	}
	if l.expire(at(0).Add(memory), everybody); len(l) > 0 {
		t.Error("a worker of a day ago is remembered")
	}
}

// farm carries tests out on workers, each of which may be broken, with what the ledger says.
type farm struct {
	ledger

	workers  []string
	broken   map[string]bool
	cordoned map[string]bool
	tried    int // attempts
	n        int
}

// free is a worker that is given tasks; empty: none is.
func (f *farm) free(dice *rand.Rand) string {
	for _, i := range dice.Perm(len(f.workers)) {
		w := f.workers[i]
		if _, _, ok := f.suspected(w); !ok && !f.cordoned[w] {
			return w
		}
	}
	return ""
}

// carry carries one test out, and says whether it is blamed.
func (f *farm) carry(dice *rand.Rand, bad bool) (blamed bool) {
	f.n++
	for doubted := false; ; {
		w := f.free(dice)
		f.tried++
		if !bad && !f.broken[w] {
			f.passed(w, at(f.n))
			if doubted {
				f.verdict(run.TaskSucceeded)
			}
			return false
		}
		others := 0
		for _, o := range f.workers {
			if _, _, ok := f.suspected(o); !ok && !f.cordoned[o] && o != w {
				others++
			}
		}
		if doubted || !f.failed(w, test(f.n), others > 0, at(f.n)) {
			if doubted {
				f.verdict(run.TaskFailed)
			}
			return true
		}
		doubted = true
	}
}

func (f *farm) verdict(v run.TaskState) {
	if w, _ := f.judged(fmt.Sprint("t", f.n), v); w != "" {
		f.cordoned[w] = true
	}
}

// TestABrokenMachineIsFoundAndNoTestBlamed: one of several workers is broken from the beginning. It is cordoned, whatever the order is
// in which they take tests, and no good one is. No test is blamed for it, unless bad tests have made its failures credible before.
func TestABrokenMachineIsFoundAndNoTestBlamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "dice"), 2))
		f := &farm{ledger: ledger{}, broken: map[string]bool{"w0": true}, cordoned: map[string]bool{}}
		for i := range rapid.IntRange(2, 6).Draw(t, "workers") {
			f.workers = append(f.workers, fmt.Sprint("w", i))
		}
		rate := rapid.SampledFrom([]int{0, 0, 1, 5, 30}).Draw(t, "bad of a hundred")
		for range 3000 {
			bad := dice.IntN(100) < rate
			if blamed := f.carry(dice, bad); blamed && !bad && rate == 0 {
				t.Fatalf("test %d is blamed for a machine", f.n)
			}
			if f.cordoned["w0"] {
				break
			}
		}
		if !f.cordoned["w0"] || len(f.cordoned) != 1 {
			t.Fatalf("cordoned after %d tests: %v", f.n, f.cordoned)
		}
	})
}

// TestACommitThatBreaksEverything costs few second opinions, and nobody is cordoned.
func TestACommitThatBreaksEverything(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	f := &farm{ledger: ledger{}, cordoned: map[string]bool{}, workers: []string{"w0", "w1", "w2", "w3"}}
	for range 20 {
		f.carry(dice, false)
	}
	f.tried = 0
	const tests = 200
	for range tests {
		if !f.carry(dice, true) {
			t.Fatal("a bad test passed")
		}
	}
	if len(f.cordoned) > 0 || f.tried > tests*6/5 {
		t.Errorf("%d attempts of %d tests, cordoned %v", f.tried, tests, f.cordoned)
	}
}
