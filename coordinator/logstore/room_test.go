package logstore_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/internal/natstest"
)

// Each step is a start of a coordinator; NATS gets more room, or less, between them.
func TestLogsTakeWhatRoomNATSHas(t *testing.T) {
	const gib = 1 << 30
	srv := natstest.StartSmall(t, 3*gib)
	for _, step := range []struct {
		what       string
		room, says int64
		limit      int64
		warns      bool
		err        string
	}{
		{what: "a volume for half of the half", room: 3 * gib, limit: 2 * gib, warns: true},
		{what: "the same again, with what may grow", room: 3 * gib, limit: 2 * gib, warns: true},
		{what: "a larger one", room: 20 * gib, limit: 8 * gib},
		{what: "one that is nearly full: what there was stays", room: gib, limit: 8 * gib, warns: true},
		{what: "one that cannot hold what was said", room: gib, says: 9 * gib, err: "NATS has no room for it"},
		{what: "one that can", room: 20 * gib, says: 9 * gib, limit: 9 * gib},
		{what: "one that is nearly full, with what there was said", room: gib, says: 9 * gib, limit: 9 * gib, warns: true},
		{what: "what is usual again", room: 20 * gib, limit: 8 * gib},
	} {
		srv.Resize(t, step.room)
		var said bytes.Buffer
		s, err := logstore.Open(t.Context(), srv.JetStream(t), 1, step.says, slog.New(slog.NewTextHandler(&said, nil)))
		if step.err != "" {
			if err == nil || !strings.Contains(err.Error(), step.err) {
				t.Errorf("%s: %v, want %q", step.what, err, step.err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		_, limit, err := s.Usage(t.Context())
		s.Close()
		if err != nil || limit != step.limit {
			t.Errorf("%s: a limit of %d bytes, %v, want %d", step.what, limit, err, step.limit)
		}
		if warned := strings.Contains(said.String(), "NATS has l"); warned != step.warns {
			t.Errorf("%s: warned: %t, want %t: %s", step.what, warned, step.warns, &said)
		}
	}
}

func TestNoRoomAtAllIsSaid(t *testing.T) {
	_, err := logstore.Open(t.Context(), natstest.StartSmall(t, 280<<20).JetStream(t), 1, 0, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "give its volume more") {
		t.Errorf("%v, want what to do", err)
	}
}
