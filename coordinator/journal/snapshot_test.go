package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/journal/journaltest"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/snapshot/snapshottest"
	"github.com/slipway-build/slipway/internal/natstest"
)

// kept is a journal with a place for snapshots.
type kept struct {
	t      *testing.T
	stream journal.Stream
	blobs  *snapshottest.Blobs
	count  int
}

func noPlan(string) (*plan.Plan, error) { return &plan.Plan{Version: plan.Version}, nil }

func (k *kept) open(owner string) *journal.Journal {
	return journal.New(k.stream, journal.Config{Partition: 3, Owner: owner, Snapshots: k.blobs, Log: slog.New(slog.DiscardHandler), Now: time.Now})
}

// resume claims, and answers the state and how many records were read for it.
func (k *kept) resume(j *journal.Journal) (st *project.State, records int, err error) {
	st = project.New(noPlan)
	_, err = j.Resume(k.t.Context(), func(s project.Saved) (err error) {
		st, err = project.Restore(s, noPlan)
		return err
	}, func(rec journal.Record) error {
		records++
		return st.Fold(rec.Events, rec.Time)
	})
	return st, records, err
}

func (k *kept) claimed(owner string) *journal.Journal {
	k.t.Helper()
	j := k.open(owner)
	if _, _, err := k.resume(j); err != nil {
		k.t.Fatal(err)
	}
	return j
}

// append makes n runs, in a record each.
func (k *kept) append(j *journal.Journal, n int) {
	k.t.Helper()
	for range n {
		k.count++
		e := run.Accepted{Run: fmt.Sprintf("shop-%d-x", k.count), Number: uint64(k.count), Project: "shop", PlanHash: "p"}
		if _, err := j.Append(k.t.Context(), j.Now(), []run.Event{e}); err != nil {
			k.t.Fatal(err)
		}
	}
}

// take takes a snapshot, and answers it with what trims the journal.
func (k *kept) take(j *journal.Journal) (journal.Taken, func()) {
	k.t.Helper()
	taken, err := j.Draft().Take(k.t.Context(), noPlan)
	if err != nil {
		k.t.Fatal(err)
	}
	trim, err := j.Took(k.t.Context(), j.Now(), taken)
	if err != nil {
		k.t.Fatal(err)
	}
	return taken, func() {
		k.t.Helper()
		if err := trim(k.t.Context()); err != nil {
			k.t.Fatal(err)
		}
	}
}

func (k *kept) bounds() string {
	k.t.Helper()
	first, last, err := k.stream.Bounds(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return fmt.Sprint(first, last)
}

// same says that the next owner knows every run, having read so many records.
func (k *kept) same(want int) {
	k.t.Helper()
	st, records, err := k.resume(k.open("next"))
	if err != nil {
		k.t.Fatalf("the next owner: %v", err)
	}
	if n := len(st.Runs("", 1<<20)); n != k.count || records != want {
		k.t.Errorf("the next owner has %d runs after %d records, want %d after %d", n, records, k.count, want)
	}
}

func onMemory(t *testing.T) (*kept, *journaltest.Memory) {
	t.Helper()
	m := &journaltest.Memory{}
	return &kept{t: t, stream: m, blobs: &snapshottest.Blobs{}}, m
}

func TestAReplayBeginsWithTheNewestSnapshot(t *testing.T) {
	js := natstest.Start(t).JetStream(t)
	for name, stream := range map[string]func() journal.Stream{
		"NATS": func() journal.Stream {
			s, err := journal.OpenStream(t.Context(), js, 3, 1)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		"memory": func() journal.Stream { return &journaltest.Memory{} },
	} {
		t.Run(name, func(t *testing.T) {
			k := &kept{t: t, stream: stream(), blobs: &snapshottest.Blobs{}}
			a := k.claimed("a") // record 1
			k.append(a, 10)     // 2 to 11
			if records, size := a.Since(); records != 11 || size == 0 {
				t.Errorf("%d records of %d bytes are behind no snapshot, want 11", records, size)
			}
			_, trim := k.take(a) // 12, of 11
			trim()
			if got := k.bounds(); got != "1 12" {
				t.Errorf("with one snapshot the journal has %s, want all", got)
			}
			k.append(a, 5) // 13 to 17
			k.same(7)      // 12 to 17, and 18: its claim
			a = k.claimed("a")
			_, trim = k.take(a) // 20, of 19
			trim()
			if got := k.bounds(); got != "12 20" {
				t.Errorf("with two snapshots the journal has %s, want what is behind the first", got)
			}
			if records, _ := a.Since(); records != 1 {
				t.Errorf("%d records are behind the snapshot, want that which names it", records)
			}
			k.append(a, 1) // 21
			k.same(3)      // 20, 21 and its claim, 22
			a = k.claimed("a")
			k.append(a, 1)
			_, trim = k.take(a)
			trim()
			if got := k.bounds(); got != "20 25" {
				t.Errorf("with three snapshots the journal has %s", got)
			}
			if n := len(k.blobs.Digests()); n != 4 {
				t.Errorf("%d blobs are there, want two snapshots of two", n)
			}
			k.same(2)
		})
	}
}

func TestASnapshotThatWasHarmedIsNotUsed(t *testing.T) {
	harms := map[string]func([]byte) []byte{
		"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"cut short":     func(b []byte) []byte { return b[:len(b)/2] },
		"gone":          func([]byte) []byte { return nil },
	}
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			k, _ := onMemory(t)
			a := k.claimed("a")
			k.append(a, 3) // to 4
			k.take(a)      // 5, of 4
			k.append(a, 3) // to 8
			first, trim := k.take(a)
			trim() // 5 to 9 are left
			k.append(a, 3)
			k.blobs.Change(first.Blob, harm)
			k.same(9) // 5 to 12 from the older one, and the claim
			b := k.claimed("b")
			_, trim = k.take(b) // and the next snapshot does without it too
			trim()
			k.same(2)

			b = k.claimed("b")
			k.append(b, 1)
			second, trim := k.take(b)
			trim()
			for _, d := range k.blobs.Digests() {
				k.blobs.Change(d, harm)
			}
			if _, _, err := k.resume(k.open("c")); !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), second.Blob) {
				t.Errorf("without a snapshot that can be used: %v, want ErrCorrupt with its name", err)
			}
			if _, err := b.Draft().Take(t.Context(), noPlan); !errors.Is(err, journal.ErrCorrupt) {
				t.Errorf("another snapshot of nothing: %v", err)
			}
		})
	}
}

func TestASnapshotThatCannotBeUsedIsReplayedWhereTheRecordsAreThere(t *testing.T) {
	k, _ := onMemory(t)
	a := k.claimed("a")
	k.append(a, 3)
	taken, trim := k.take(a)
	trim()
	k.append(a, 2)
	k.blobs.Change(taken.Blob, func(b []byte) []byte { return b[1:] })
	k.same(8)
}

// TestTheChainGoesOnBehindASnapshot: a record that was changed, or another journal's
// snapshot, is found whether or not the records before are there.
func TestTheChainGoesOnBehindASnapshot(t *testing.T) {
	k, m := onMemory(t)
	a := k.claimed("a")
	k.append(a, 3)
	taken, _ := k.take(a) // of 4, in 5
	k.append(a, 3)
	for name, harm := range map[string]func(m *journaltest.Memory){
		"a flipped bit":          func(m *journaltest.Memory) { m.Change(6, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) },
		"a torn record":          func(m *journaltest.Memory) { m.Change(6, func(b []byte) []byte { return b[:len(b)/2] }) },
		"a flipped bit at last":  func(m *journaltest.Memory) { m.Change(8, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) },
		"the name of a snapshot": func(m *journaltest.Memory) { m.Change(5, func(b []byte) []byte { b[len(b)-3] ^= 1; return b }) },
	} {
		c := m.Copy()
		harm(c)
		other := &kept{t: t, stream: c, blobs: k.blobs.Copy()}
		if _, _, err := other.resume(other.open("b")); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	stranger, _ := onMemory(t)
	s := stranger.claimed("stranger")
	stranger.append(s, 3)
	theirs, err := s.Draft().Take(t.Context(), noPlan)
	if err != nil {
		t.Fatal(err)
	}
	k.blobs = stranger.blobs // in which ours is not
	if _, err := a.Took(t.Context(), a.Now(), journal.Taken{Sequence: taken.Sequence, Hash: taken.Hash, Blob: theirs.Blob}); err != nil {
		t.Fatal(err)
	}
	k.same(10) // from the beginning
}

// TestAnOldOwnerDoesNoHarm: it cannot make a snapshot known, and what it takes away late
// nobody needs.
func TestAnOldOwnerDoesNoHarm(t *testing.T) {
	k, _ := onMemory(t)
	a := k.claimed("a")
	k.append(a, 3)
	k.take(a)
	k.append(a, 3)
	_, late := k.take(a) // what this makes surplus is not taken away yet
	k.append(a, 1)
	draft := a.Draft()
	b := k.claimed("b")
	taken, err := draft.Take(t.Context(), noPlan)
	if err != nil {
		t.Fatalf("a snapshot of what was durable then: %v", err)
	}
	if _, err := a.Took(t.Context(), a.Now(), taken); !errors.Is(err, journal.ErrLost) {
		t.Errorf("an owner that was replaced makes a snapshot known: %v, want ErrLost", err)
	}
	before := k.bounds()
	late()
	if k.bounds() == before {
		t.Error("nothing was taken away late: the test is not one")
	}
	k.append(b, 2)
	k.same(6)
	c := k.claimed("c")
	k.append(c, 1)
	_, trim := k.take(c)
	trim()
	late() // again, after a newer one
	k.same(2)
}

func TestOlderReadersRefuseAJournalWithSnapshots(t *testing.T) {
	k, m := onMemory(t)
	a := k.claimed("a")
	k.append(a, 3)
	k.take(a)
	frame, err := m.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	schema, least, err := journal.Claimed(frame)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int32{5, 5}, []int32{schema, least}); d != "" {
		t.Errorf("schema and least reader of a claim (-want +got):\n%s", d)
	}
}

// overtaken is a stream that an owner goes on with when somebody begins to read it.
type overtaken struct {
	journal.Stream
	goOn func()
}

func (o *overtaken) Read(ctx context.Context, from uint64, each func(uint64, []byte) error) error {
	if goOn := o.goOn; goOn != nil {
		o.goOn = nil
		goOn()
	}
	return o.Stream.Read(ctx, from, each)
}

// An owner that is still there takes the records away that its successor wants to read
// behind an older snapshot: that one begins again, with the newest.
func TestRecordsThatAreTakenAwayMeanwhile(t *testing.T) {
	k, _ := onMemory(t)
	a := k.claimed("a")
	more := func() {
		k.append(a, 10)
		_, trim := k.take(a)
		trim()
	}
	more()
	more()
	o := &overtaken{Stream: k.stream, goOn: func() { more(); more(); k.append(a, 3) }}
	k.stream = o
	k.same(5) // the record that names the snapshot, three behind it, and its own claim
	if o.goOn != nil {
		t.Error("nobody was overtaken")
	}
	k.append(k.claimed("last"), 1)
}
