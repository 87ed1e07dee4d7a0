package drift

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/coordinator/project"
)

// TestWhatDriftedIsToldOnce: in the log by each change, and as a metric while it lasts.
func TestWhatDriftedIsToldOnce(t *testing.T) {
	var out bytes.Buffer
	registry := prometheus.NewRegistry()
	k := New(Config{Log: slog.New(slog.NewTextHandler(&out, nil)), Now: time.Now}, registry)
	at := place{"shop", "prod"}
	object := func(name, by string) project.Drifted {
		return project.Drifted{Cluster: "eu", Service: "cart", Object: "ConfigMap/" + name, Action: "taken over", Fields: []string{"data.greeting"}, By: by}
	}
	step := func(why, run string, want, count int, objects ...project.Drifted) {
		t.Helper()
		out.Reset()
		k.tell(t.Context(), at, project.Drift{Run: run, Objects: objects})
		if got := strings.Count(out.String(), "level="); got != want {
			t.Errorf("%s: %d lines, want %d:\n%s", why, got, want, out.String())
		}
		all, err := registry.Gather()
		if err != nil || len(all) != 1 || all[0].GetName() != "slipway_drifted_objects" || len(all[0].GetMetric()) != 1 || all[0].GetMetric()[0].GetGauge().GetValue() != float64(count) {
			t.Errorf("%s: %v, %v, want %d objects", why, all, err, count)
		}
	}
	step("what the coordinator before has told", "shop-1", 0, 1, object("a", "ann"))
	step("nothing is new", "shop-2", 0, 1, object("a", "ann"))
	step("another drifted", "shop-3", 1, 2, object("a", "ann"), object("b", "bob"))
	if text := out.String(); !strings.Contains(text, "object=ConfigMap/b fields=data.greeting by=bob") {
		t.Errorf("what is told: %s", text)
	}
	step("the same comparison", "shop-3", 0, 2, object("a", "ann"), object("b", "bob"))
	step("somebody else did it", "shop-4", 1, 2, object("a", "eve"), object("b", "bob"))
	step("nothing differs any more", "shop-5", 1, 0)
}
