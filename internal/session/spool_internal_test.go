package session

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newTestSpool(limit int) *spool {
	q := &spool{limit: limit}
	q.room = sync.NewCond(&q.mu)
	return q
}

// Whatever is written, sent, acknowledged and sent again: it is the log, byte by byte, and
// who sends is told of it.
func TestASpoolKeepsWhatIsNotAcknowledged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 1 << 20
		q := newTestSpool(limit)
		var log []byte
		acked, told := 0, false
		var sent []block
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				n := min(rapid.SampledFrom([]int{1, 100, 5000, 300_000}).Draw(t, "bytes"), limit-(len(log)-acked))
				p := make([]byte, n)
				for i := range p {
					p[i] = byte((len(log) + i) * 7)
				}
				q.write(p, func() { told = true })
				log = append(log, p...)
				clear(p) // it is the writer's
			},
			"send": func(t *rapid.T) {
				offset, data, more := q.chunk(rapid.SampledFrom([]int{1, 4096, logFrame}).Draw(t, "most"))
				if len(data) > 0 && !told {
					t.Fatal("who sends was not told")
				}
				if more != q.unsent() || len(data) == 0 && more {
					t.Fatalf("%d bytes, more: %v", len(data), more)
				}
				told = more
				sent = append(sent, block{offset, data})
			},
			"acknowledge": func(t *rapid.T) {
				acked = rapid.IntRange(acked, int(max(q.next, q.base))).Draw(t, "offset")
				q.acknowledge(int64(acked))
				q.acknowledge(int64(rapid.IntRange(0, acked).Draw(t, "late")))
				q.acknowledge(int64(len(log) + 1)) // of another log
			},
			"rewind": func(*rapid.T) { q.rewind(); told = true },
			"": func(t *rapid.T) {
				for _, s := range sent { // nobody changed it since
					if !bytes.Equal(s.data, log[s.at:int(s.at)+len(s.data)]) {
						t.Fatalf("other bytes at %d", s.at)
					}
				}
				if q.written() != int64(len(log)) {
					t.Fatalf("%d bytes of %d", q.written(), len(log))
				}
			},
		})
		q.rewind()
		for next := int64(acked); ; {
			offset, data, more := q.chunk(logFrame)
			if offset != next || !bytes.Equal(data, log[next:next+int64(len(data))]) {
				t.Fatalf("bytes at %d, want those at %d", offset, next)
			}
			if next += int64(len(data)); !more {
				if next != int64(len(log)) {
					t.Fatalf("it ends at %d of %d", next, len(log))
				}
				return
			}
		}
	})
}

// It does so too when nothing of it is acknowledged any more, and no writer waits for that.
func TestALogThatIsTooLongSaysSo(t *testing.T) {
	q := newTestSpool(1 << 20)
	q.widen()
	piece := bytes.Repeat([]byte("x"), 1<<20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range MaxLog>>20 + 3 {
			q.write(piece, func() {})
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the writer waits for good")
	}
	var all int64
	var last string
	for more := true; more; {
		var data []byte
		_, data, more = q.chunk(logFrame)
		all += int64(len(data))
		last = string(data)
	}
	const cut = "\n[log cut: an attempt may write at most 128 MiB]\n"
	if !strings.HasSuffix(last, cut) || all != MaxLog+int64(len(cut)) {
		t.Errorf("%d bytes, the last of them %q", all, last[max(0, len(last)-100):])
	}
}
