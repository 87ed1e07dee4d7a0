package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/journal/journaltest"
	"github.com/slipway-build/slipway/internal/natstest"
)

func TestStreamOfNATS(t *testing.T) {
	srv := natstest.Start(t)
	partition := 0
	journaltest.Conformance(t, func(t *testing.T) func() journal.Stream {
		t.Helper()
		partition++
		js, mine := srv.JetStream(t), partition
		return func() journal.Stream {
			s, err := journal.OpenStream(t.Context(), js, mine, 1)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

func TestStreamInMemory(t *testing.T) {
	journaltest.Conformance(t, func(*testing.T) func() journal.Stream {
		m := &journaltest.Memory{}
		return func() journal.Stream { return m }
	})
}

// TestAnAppendThatGoesWrongIsStoredOnce: whatever happens to the first try.
func TestAnAppendThatGoesWrongIsStoredOnce(t *testing.T) {
	for name, fault := range map[string]journaltest.Fault{
		"the request is lost":                  {LostBefore: true},
		"the answer is lost":                   {LostAfter: true},
		"an error is answered":                 {Broken: true},
		"the answer comes late":                {Answer: 10 * time.Second},
		"the request arrives after the second": {Request: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &journaltest.Memory{}
				j := journal.New(m, journal.Config{Owner: "a", Log: slog.New(slog.DiscardHandler), Now: time.Now})
				claim(t, j)
				tries := 0
				m.Fault = func(string) journaltest.Fault {
					if tries++; tries == 1 {
						return fault
					}
					return journaltest.Fault{}
				}
				for _, id := range []string{"r1", "r2"} {
					if _, err := j.Append(t.Context(), j.Now(), events(id)); err != nil {
						t.Fatal(err)
					}
				}
				<-time.After(time.Minute) // of the bubble: what is under way arrives
				if _, got := claim(t, journal.New(m.Copy(), journal.Config{Log: slog.New(slog.DiscardHandler), Now: time.Now})); len(got) != 4 {
					t.Errorf("%d events are stored, want 4", len(got))
				}
			})
		})
	}
}

func TestARecordThatChangedOnDiskIsReported(t *testing.T) {
	whole := &journaltest.Memory{}
	open := func(m *journaltest.Memory) *journal.Journal {
		return journal.New(m, journal.Config{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	}
	j := open(whole)
	claim(t, j)
	for _, id := range []string{"r1", "r2", "r3"} {
		if _, err := j.Append(t.Context(), j.Now(), events(id)); err != nil {
			t.Fatal(err)
		}
	}
	for name, harm := range map[string]func(*journaltest.Memory){
		"a flipped bit":    func(m *journaltest.Memory) { m.Change(2, func(b []byte) []byte { b[len(b)/2] ^= 4; return b }) },
		"a torn record":    func(m *journaltest.Memory) { m.Change(3, func(b []byte) []byte { return b[:len(b)/2] }) },
		"an empty record":  func(m *journaltest.Memory) { m.Change(2, func([]byte) []byte { return nil }) },
		"a missing record": func(m *journaltest.Memory) { m.Drop(2) },
		"a repeated record": func(m *journaltest.Memory) {
			again, _ := m.Get(context.Background(), 2)
			m.Change(3, func([]byte) []byte { return again })
		},
	} {
		m := whole.Copy()
		harm(m)
		if _, err := open(m).Claim(t.Context(), func(journal.Record) error { return nil }); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}
