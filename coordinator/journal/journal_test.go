package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/natstest"
)

func open(t *testing.T, js jetstream.JetStream, owner string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), js, journal.Config{Owner: owner, Resend: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func claim(t *testing.T, j *journal.Journal) (uint64, []run.Event) {
	t.Helper()
	var got []run.Event
	epoch, err := j.Claim(t.Context(), func(r journal.Record) error { got = append(got, r.Events...); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return epoch, got
}

func events(n string) []run.Event {
	return []run.Event{
		run.RolloutEntered{Run: n, Environment: "dev"},
		run.TaskFinished{Run: n, Task: "build/api", State: run.TaskSucceeded, Digest: "sha256:1"},
	}
}

func TestWhatWasAppendedIsReplayed(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	a := open(t, js, "a")
	if epoch, got := claim(t, a); epoch != 1 || len(got) != 0 {
		t.Fatalf("claim of an empty journal: epoch %d, events %v", epoch, got)
	}
	var want []run.Event
	for _, n := range []string{"r1", "r2", "r3"} {
		if _, err := a.Append(t.Context(), a.Now(), events(n)); err != nil {
			t.Fatal(err)
		}
		want = append(want, events(n)...)
	}
	epoch, got := claim(t, open(t, js, "b"))
	if epoch != 2 {
		t.Errorf("epoch %d, want 2", epoch)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("replayed events (-want +got):\n%s", d)
	}
}

func TestAnOwnerThatWasReplacedCannotAppend(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	a, b := open(t, js, "a"), open(t, js, "b")
	claim(t, a)
	claim(t, b)
	if _, err := a.Append(t.Context(), a.Now(), events("late")); !errors.Is(err, journal.ErrLost) {
		t.Fatalf("append of the old owner: %v, want ErrLost", err)
	}
	if _, err := b.Append(t.Context(), b.Now(), events("r1")); err != nil {
		t.Fatalf("append of the new owner: %v", err)
	}
	if epoch, got := claim(t, a); epoch != 3 || len(got) != 2 {
		t.Fatalf("the old owner claims again: epoch %d, %d events, want 3 and 2", epoch, len(got))
	}
}

// deaf loses the answers to the next appends, after the server has stored them.
type deaf struct {
	jetstream.JetStream
	lose int
}

func (d *deaf) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := d.JetStream.Publish(ctx, subject, data, opts...)
	if err == nil && d.lose > 0 {
		d.lose--
		return nil, context.DeadlineExceeded
	}
	return ack, err
}

func TestAppendInDoubtIsStoredOnce(t *testing.T) {
	d := &deaf{JetStream: natstest.Start(t).JetStream(t)}
	j := open(t, d, "a")
	claim(t, j)
	d.lose = 1
	if _, err := j.Append(t.Context(), j.Now(), events("r1")); err != nil {
		t.Fatalf("append whose answer was lost: %v", err)
	}
	if _, err := j.Append(t.Context(), j.Now(), events("r2")); err != nil {
		t.Fatal(err)
	}
	if _, got := claim(t, open(t, d.JetStream, "b")); len(got) != 4 {
		t.Errorf("%d events are stored, want 4", len(got))
	}
}

func TestAppendWaitsForAServerThatComesBack(t *testing.T) {
	srv := natstest.Start(t)
	j := open(t, srv.JetStream(t), "a")
	claim(t, j)
	srv.Restart(t)
	if _, err := j.Append(t.Context(), j.Now(), events("r1")); err != nil {
		t.Fatalf("append after a restart of the server: %v", err)
	}
}

func TestCorruptionIsReported(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	j := open(t, js, "a")
	claim(t, j)
	if _, err := js.Publish(t.Context(), "journal.0", []byte("SLJ1 not a frame")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(t.Context(), j.Now(), events("r1")); !errors.Is(err, journal.ErrLost) {
		t.Errorf("append after a foreign record: %v, want ErrLost", err)
	}
	_, err := open(t, js, "b").Claim(t.Context(), func(journal.Record) error { return nil })
	if !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("claim: %v, want ErrCorrupt", err)
	}
}

func TestARecordThatIsTooLargeIsRefused(t *testing.T) {
	j := open(t, natstest.Start(t).JetStream(t), "a")
	claim(t, j)
	big := run.StopRequested{Run: "r", Message: string(make([]byte, journal.MaxRecord))}
	if _, err := j.Append(t.Context(), j.Now(), []run.Event{big}); !errors.Is(err, journal.ErrTooLarge) {
		t.Fatalf("append: %v, want ErrTooLarge", err)
	}
	if _, err := j.Append(t.Context(), j.Now(), events("r1")); err != nil {
		t.Errorf("append after a refused one: %v", err)
	}
}
