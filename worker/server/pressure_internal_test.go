package server

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/worker/room"
)

func TestTheSessionIsPressedWhileTheMachineIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gib = 1 << 30
		var mu sync.Mutex
		free := int64(8 * gib)
		leave := func(bytes int64) {
			mu.Lock()
			free = bytes
			mu.Unlock()
			time.Sleep(every) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
		}
		var said []string
		var log bytes.Buffer
		registry := prometheus.NewPedanticRegistry()
		w := newWatch(registry, room.Limits{Memory: 5}, func() room.Measured {
			mu.Lock()
			defer mu.Unlock()
			return room.Measured{Memory: room.Free{Bytes: free, Of: 100 * gib}}
		}, func(why string) { said = append(said, why) }, slog.New(slog.NewTextHandler(&log, nil)))
		stop := w.start(context.Background())
		gauge := func() float64 {
			families, err := registry.Gather()
			if err != nil || len(families) != 1 || families[0].GetName() != "slipway_worker_pressed" || len(families[0].GetMetric()) != int(room.Parts) {
				t.Fatalf("metrics: %v, %v", families, err)
			}
			for _, m := range families[0].GetMetric() {
				if m.GetLabel()[0].GetValue() == "memory" {
					return m.GetGauge().GetValue()
				}
			}
			return -1
		}
		leave(8 * gib)
		if len(said) > 0 || gauge() != 0 {
			t.Errorf("with room it says %q", said)
		}
		leave(4 * gib)
		leave(3 * gib) // nothing new
		leave(6 * gib) // not enough yet
		if gauge() != 1 {
			t.Error("the metric does not say it")
		}
		leave(8 * gib)
		if gauge() != 0 {
			t.Error("the metric says it still")
		}
		stop()
		if diff := cmp.Diff([]string{"4.0 GiB of memory is free (4.0 %, wanted 5 %)", ""}, said); diff != "" {
			t.Errorf("said (-want +got):\n%s", diff)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "no new task is taken") {
			t.Errorf("%d lines in the log:\n%s", n, log.String())
		}
	})
}
