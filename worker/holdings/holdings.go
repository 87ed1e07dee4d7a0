// Package holdings remembers what earlier work has left in the cache of a worker's BuildKit: keys that grants name,
// whose meaning is the coordinator's. It is kept in a file, for the cache outlives the process; what belongs to the
// cache of another daemon is forgotten. That a key is here is a hint and no more.
package holdings

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Most is how many keys are remembered. The least recently used are forgotten first.
const Most = 2000

// Holdings may be used from many goroutines.
type Holdings struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	state  state
	before state // of a file whose cache is not known to be the one that is there
}

// state is what the file has.
type state struct {
	Cache string               `json:"cache"` // whose it is
	Used  map[uint64]time.Time `json:"used"`  // when each key was last used
}

// Open reads what a file has of a cache. A file that is not there, cannot be understood or is another cache's means that nothing is
// held. So does an empty name of the cache, until Of says which it is.
func Open(path, cache string, now func() time.Time) (*Holdings, error) {
	h := &Holdings{path: path, now: now, state: state{Cache: cache, Used: map[uint64]time.Time{}}}
	data, err := os.ReadFile(path) //nolint:gosec // below the worker's own folder
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what BuildKit's cache holds: %w", err)
	}
	before := parse(data)
	switch {
	case before.Used == nil:
	case cache == "":
		h.before = before
	case before.Cache == cache:
		h.state = before
	}
	return h, nil
}

// parse answers what a file has; nothing of one that is not there, or cannot be understood.
func parse(data []byte) (s state) {
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}
	}
	return s
}

// Keys are those that are held, the most recently used last.
func (h *Holdings) Keys() []uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.oldestFirst()
}

func (h *Holdings) oldestFirst() []uint64 {
	return slices.SortedFunc(maps.Keys(h.state.Used), func(a, b uint64) int {
		return cmp.Or(h.state.Used[a].Compare(h.state.Used[b]), cmp.Compare(a, b))
	})
}

// Add notes that keys were used, and answers those that were not held, and those that are forgotten for them.
func (h *Holdings) Add(keys ...uint64) (added, dropped []uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	for _, k := range keys {
		if _, have := h.state.Used[k]; !have {
			added = append(added, k)
		}
		h.state.Used[k] = now
	}
	if n := len(h.state.Used) - Most; n > 0 {
		dropped = h.drop(h.oldestFirst()[:n])
	}
	return added, dropped, h.write()
}

// Of says whose cache it is now, and answers what is held besides, as the file had it, and what is held no more since it
// is another one's.
func (h *Holdings) Of(cache string) (added, dropped []uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch h.state.Cache {
	case cache:
		return nil, nil, nil
	case "": // what was added since is its
		if h.before.Cache == cache {
			for k, used := range h.before.Used {
				if _, have := h.state.Used[k]; !have {
					h.state.Used[k] = used
					added = append(added, k)
				}
			}
		}
		h.before = state{}
	default:
		dropped = h.drop(h.oldestFirst())
	}
	h.state.Cache = cache
	return added, dropped, h.write()
}

// Forget drops what was last used before a time, and answers it.
func (h *Holdings) Forget(before time.Time) (dropped []uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.oldestFirst() {
		if !h.state.Used[k].Before(before) {
			break
		}
		dropped = append(dropped, k)
	}
	if len(dropped) == 0 {
		return nil, nil
	}
	h.drop(dropped)
	return dropped, h.write()
}

func (h *Holdings) drop(keys []uint64) []uint64 {
	for _, k := range keys {
		delete(h.state.Used, k)
	}
	return keys
}

// write replaces the file. One that is lost or cut short costs time once.
func (h *Holdings) write() error {
	if h.state.Cache == "" {
		return nil
	}
	data, err := json.Marshal(h.state)
	if err == nil {
		err = os.WriteFile(h.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(h.path+".new", h.path)
	}
	if err != nil {
		return fmt.Errorf("remember what BuildKit's cache holds in %s: %w", filepath.Base(h.path), err)
	}
	return nil
}
