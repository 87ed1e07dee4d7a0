package lines_test

import (
	"bytes"
	"hash/crc32"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/slipway-build/slipway/bench/lines"
	"github.com/slipway-build/slipway/worker/runner/mask"
)

// What the package says may be seen is what the worker's masker leaves.
func TestWhatMayBeSeenIsWhatIsLeft(t *testing.T) {
	const log, many = 7, 5000
	var values [][]byte
	for _, s := range lines.Secrets() {
		values = append(values, []byte(s))
	}
	m := lines.New(log)
	var out bytes.Buffer
	w := mask.New(values...).Stream(&out)
	for i := range many {
		line := m.Append(nil, i, 0)
		if len(line) != lines.Size || line[len(line)-1] != '\n' {
			t.Fatalf("line %d is %q", i, line)
		}
		_, _ = w.Write(line)
	}
	w.Flush()
	sum, size := lines.Sum(log, many)
	if got := crc32.Checksum(out.Bytes(), crc32.MakeTable(crc32.Castagnoli)); got != sum || int64(out.Len()) != size {
		t.Errorf("checksum %08x of %d bytes, want %08x of %d", got, out.Len(), sum, size)
	}
	if n := bytes.Count(out.Bytes(), []byte("*****")); n != many/1000 {
		t.Errorf("%d secrets were masked, want %d", n, many/1000)
	}
}

// Logs of this repository's tests become 0.13 to 0.24 of their size by S2, in pieces of 256 KiB,
// those of compilers 0.21, of apt 0.19: lines are no easier.
func TestLinesCompressAsLogsDo(t *testing.T) {
	m := lines.New(3)
	var b []byte
	for i := 0; len(b) < 256<<10; i++ {
		b = m.Append(b, i, 0)
	}
	if r := float64(len(s2.Encode(nil, b))) / float64(len(b)); r < 0.18 || r > 0.25 {
		t.Errorf("they become %.3f of their size", r)
	}
}

func TestALineIsToldFromAnother(t *testing.T) {
	m := lines.New(1)
	for _, n := range []int{0, 5, 999, 1999, 2999, 123_456_789} {
		const when = 1_700_000_000_123_456_789
		line := m.Seen(nil, n, when)
		if at, err := m.Check(line, n); err != nil || at != when {
			t.Errorf("line %d: %d, %v", n, at, err)
		}
		if _, err := m.Check(line, n+1); err == nil {
			t.Errorf("line %d passes for the next", n)
		}
		if _, err := lines.New(2).Check(line, n); err == nil {
			t.Errorf("line %d passes for another log's", n)
		}
		if _, err := m.Check(line[:10], n); err == nil {
			t.Error("half a line passes")
		}
	}
	if _, err := m.Check(m.Append(nil, 999, 1), 999); err == nil {
		t.Error("a secret passes")
	}
}
