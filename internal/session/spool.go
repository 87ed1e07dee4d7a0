package session

import (
	"fmt"
	"slices"
	"sync"
)

// MaxLog is the largest log of one attempt, in bytes. What comes after it is dropped
// and the log says so.
const MaxLog = 128 << 20

// Blocks of a spool: the first is small, for most logs are, and each is twice as large as the
// one before.
const (
	minBlock = 4 << 10
	maxBlock = logFrame
)

// spool is the part of an attempt's log that is not acknowledged. It is kept in blocks that
// only grow, so that what is sent need not be copied and what is acknowledged is let go.
type spool struct {
	mu     sync.Mutex
	room   *sync.Cond
	limit  int
	base   int64 // offset of the first byte that is not acknowledged
	end    int64 // offset behind the last one
	next   int64 // offset of the first byte that was not sent on this stream
	blocks []block
	size   int  // of the last block that was made
	full   bool // MaxLog was reached
	ended  bool
}

// block is bytes from an offset on. Those that are there never change.
type block struct {
	at   int64
	data []byte
}

// write appends, and waits while too much is unacknowledged. For room to drop bytes it waits not. sending is called when there is
// something to send where there was nothing; it must not block.
func (q *spool) write(p []byte, sending func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(p) > 0 {
		for q.end < MaxLog && q.end-q.base >= int64(q.limit) && !q.ended {
			q.room.Wait()
		}
		if q.ended || q.full {
			return
		}
		sent := q.next >= q.end
		if q.end >= MaxLog {
			q.full = true
			q.append(fmt.Appendf(nil, "\n[log cut: an attempt may write at most %d MiB]\n", MaxLog>>20))
			p = nil
		} else {
			n := min(int64(len(p)), int64(q.limit)-(q.end-q.base), MaxLog-q.end)
			q.append(p[:n])
			p = p[n:]
		}
		if sent { // else whoever sends goes on until nothing is left
			sending()
		}
	}
}

// append adds to the last block, and to new ones; mu is held.
func (q *spool) append(p []byte) {
	for len(p) > 0 {
		last := len(q.blocks) - 1
		if last < 0 || len(q.blocks[last].data) == cap(q.blocks[last].data) {
			q.size = min(max(minBlock, 2*q.size), maxBlock)
			q.blocks = append(q.blocks, block{at: q.end, data: make([]byte, 0, q.size)})
			last++
		}
		b := &q.blocks[last]
		n := min(len(p), cap(b.data)-len(b.data))
		b.data = append(b.data, p[:n]...)
		q.end += int64(n)
		p = p[n:]
	}
}

// chunk is what may be sent next, at most n bytes, which nobody changes. more: there is
// something behind it.
func (q *spool) chunk(n int) (offset int64, data []byte, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = max(q.next, q.base)
	offset = q.next
	if offset == q.end {
		return offset, nil, false
	}
	i, found := slices.BinarySearchFunc(q.blocks, offset, func(b block, at int64) int { return int(b.at - at) })
	if !found {
		i-- // the one that begins before it
	}
	b := q.blocks[i]
	from := int(offset - b.at)
	to := min(len(b.data), from+n)
	q.next += int64(to - from)
	return offset, b.data[from:to:to], q.next < q.end
}

// acknowledge lets go of what is durable. A block that is not full goes on.
func (q *spool) acknowledge(offset int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if offset <= q.base || offset > q.end {
		return
	}
	q.base = offset
	gone := 0
	for gone < len(q.blocks) {
		b := q.blocks[gone]
		if b.at+int64(len(b.data)) > offset || len(b.data) < cap(b.data) {
			break
		}
		gone++
	}
	q.blocks = slices.Delete(q.blocks, 0, gone) // which also clears what it leaves behind
	q.room.Broadcast()
}

// rewind sends again what was not acknowledged, on a new stream.
func (q *spool) rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = q.base
}

func (q *spool) written() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.end
}

func (q *spool) unsent() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next < q.end
}

// widen lets writers go on without waiting for acknowledgements.
func (q *spool) widen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = MaxLog
	q.room.Broadcast()
}

// stop lets writers go on without keeping anything.
func (q *spool) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.room.Broadcast()
}
