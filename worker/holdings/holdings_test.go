package holdings_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slipway-build/slipway/worker/holdings"
)

// clock goes on by a second each time it is asked.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { c.at = c.at.Add(time.Second); return c.at }

func open(t *testing.T, path, cache string, c *clock) *holdings.Holdings {
	t.Helper()
	h, err := holdings.Open(path, cache, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func add(t *testing.T, h *holdings.Holdings, keys ...uint64) (added, dropped []uint64) {
	t.Helper()
	added, dropped, err := h.Add(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return added, dropped
}

// TestWhatIsHeldOutlivesTheProcess, while the cache is the same one.
func TestWhatIsHeldOutlivesTheProcess(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "holdings.json"), &clock{at: time.Unix(1e9, 0).UTC()}
	h := open(t, path, "cache-1", c)
	add(t, h, 7, 1<<63+1)
	if added, _ := add(t, h, 7, 9); !slices.Equal(added, []uint64{9}) {
		t.Errorf("added: %v", added)
	}
	want := []uint64{1<<63 + 1, 7, 9} // by when they were last used
	if got := open(t, path, "cache-1", c).Keys(); !slices.Equal(got, want) {
		t.Errorf("after a restart: %v, want %v", got, want)
	}
	if got := open(t, path, "cache-2", c).Keys(); len(got) != 0 {
		t.Errorf("of another cache: %v", got)
	}
	for _, broken := range []string{"", "{", `{"cache":"cache-1"}`, `{"cache":"cache-1","used":{"x":1}}`} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		h := open(t, path, "cache-1", c)
		if got := h.Keys(); len(got) != 0 {
			t.Errorf("of %q: %v", broken, got)
		}
		add(t, h, 1)
		if got := open(t, path, "cache-1", c).Keys(); !slices.Equal(got, []uint64{1}) {
			t.Errorf("after %q: %v", broken, got)
		}
	}
}

// TestWhatIsGoneIsForgotten: of a cache that began anew all of it, else what was used before anything that is left.
func TestWhatIsGoneIsForgotten(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "holdings.json"), &clock{at: time.Unix(1e9, 0).UTC()}
	h := open(t, path, "cache-1", c)
	add(t, h, 1)
	add(t, h, 2)
	before := c.at
	add(t, h, 3)
	if dropped, err := h.Forget(before); err != nil || !slices.Equal(dropped, []uint64{1}) || !slices.Equal(h.Keys(), []uint64{2, 3}) {
		t.Errorf("forgotten: %v (%v), held: %v", dropped, err, h.Keys())
	}
	if added, dropped, err := h.Of("cache-1"); err != nil || len(added)+len(dropped) != 0 {
		t.Errorf("of the same cache is forgotten: %v (%v)", dropped, err)
	}
	if _, dropped, err := h.Of("cache-2"); err != nil || !slices.Equal(dropped, []uint64{2, 3}) || len(h.Keys()) != 0 {
		t.Errorf("of another cache is forgotten: %v (%v)", dropped, err)
	}
	add(t, h, 4)
	if got := open(t, path, "cache-2", c).Keys(); !slices.Equal(got, []uint64{4}) {
		t.Errorf("after a restart: %v", got)
	}
}

// TestADaemonThatComesLater than the worker: what the file has of its cache is held from then on, and what was left meanwhile.
func TestADaemonThatComesLater(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "holdings.json"), &clock{at: time.Unix(1e9, 0).UTC()}
	add(t, open(t, path, "cache-1", c), 1, 2)
	for cache, want := range map[string][]uint64{"cache-1": {1, 2, 3}, "cache-2": {3}} {
		h := open(t, path, "", c)
		if got := h.Keys(); len(got) != 0 {
			t.Errorf("before it is known: %v", got)
		}
		add(t, h, 3)
		added, dropped, err := h.Of(cache)
		if err != nil || len(added) != len(want)-1 || len(dropped) != 0 || !slices.Equal(h.Keys(), want) {
			t.Errorf("of %s: added %v, dropped %v (%v), held %v", cache, added, dropped, err, h.Keys())
		}
		if got := open(t, path, cache, c).Keys(); !slices.Equal(got, want) {
			t.Errorf("after a restart: %v", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		add(t, open(t, path, "cache-1", c), 1, 2)
	}
}

// TestOnlySoManyAreHeld: the least recently used are forgotten.
func TestOnlySoManyAreHeld(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "holdings.json"), &clock{at: time.Unix(1e9, 0).UTC()}
	h := open(t, path, "cache-1", c)
	var all []uint64
	for i := range uint64(holdings.Most) {
		all = append(all, i)
	}
	add(t, h, all...)
	add(t, h, 0) // used again
	_, dropped := add(t, h, 5000, 5001)
	if !slices.Equal(dropped, []uint64{1, 2}) || len(h.Keys()) != holdings.Most {
		t.Errorf("dropped: %v, held: %d", dropped, len(h.Keys()))
	}
}
