//go:build e2e

package rollout_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard is what was answered in a namespace of a cluster: each time that it was another version.
type heard struct {
	mu  sync.Mutex
	all map[string][]string // by cluster and namespace
}

func (h *heard) answer(where, version string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if list := h.all[where]; len(list) == 0 || list[len(list)-1] != version {
		h.all[where] = append(list, version)
	}
}

// versions are the answers of one place.
func (h *heard) versions(cluster, namespace string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all[cluster+"/"+namespace])
}

// traffic asks the service in a namespace of each cluster, through the API server, until stop.
func (w *world) traffic(t *testing.T, namespaces ...string) (h *heard, stop func()) {
	t.Helper()
	h = &heard{all: map[string][]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, c := range w.clusters {
		client := w.client(t, c.Name)
		for _, namespace := range namespaces {
			all.Go(func() {
				tick := time.NewTicker(25 * time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					answer, err := client.CoreV1().Services(namespace).ProxyGet("http", "api", "http", "/", nil).DoRaw(ctx)
					if err == nil { // what is no answer is for the analysis
						h.answer(c.Name+"/"+namespace, strings.TrimSpace(string(answer)))
					}
					select {
					case <-tick.C:
					case <-ctx.Done():
					}
				}
			})
		}
	}
	return h, func() { cancel(); all.Wait() }
}
