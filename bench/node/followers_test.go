package node

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/lines"
)

// shown is a log as a follower sees it, in pieces that begin at offsets.
func shown(pieces ...any) func() (int64, []byte, error) {
	return func() (int64, []byte, error) {
		if len(pieces) == 0 {
			return 0, nil, io.EOF
		}
		at, data := pieces[0].(int), pieces[1].([]byte)
		pieces = pieces[2:]
		return int64(at), data, nil
	}
}

func TestEveryByteIsSeenOnceAndInOrder(t *testing.T) {
	const many = 2000
	m := lines.New(0)
	log := []byte(ready)
	for i := range many {
		log = m.Seen(log, i, 0)
	}
	sum, size := lines.Sum(0, many)
	swapped := append([]byte(nil), log...)
	copy(swapped[len(ready):], log[len(ready)+100:len(ready)+200])
	copy(swapped[len(ready)+100:], log[len(ready):len(ready)+100])
	n := len(log)
	for _, c := range []struct {
		name string
		next func() (int64, []byte, error)
		want string
	}{
		{"all", shown(0, log[:6], 6, log[6:1000], 1000, log[1000:]), ""},
		{"at once", shown(0, log), ""},
		{"a gap", shown(0, log[:1000], 1100, log[1100:]), "where"},
		{"a repeat", shown(0, log[:1000], 900, log[900:]), "where"},
		{"another order", shown(0, swapped), "checksum"},
		{"an end that lacks", shown(0, log[:n-100]), "checksum"},
		{"too much", shown(0, log, n, []byte("more\n")), "checksum"},
	} {
		r := &reader{want: Follow{Lines: many, Sums: []uint32{sum}, Sizes: []int64{size}}, maker: m, ready: func() {}}
		if err := r.read(c.next); err != nil {
			t.Fatal(err)
		}
		if got := r.broken(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	for name, log := range map[string][]byte{"": log, "instead of": swapped, "lines": log[:n-100]} {
		r := &reader{want: Follow{Lines: many, Timed: true}, maker: m, ready: func() {}}
		if err := r.read(shown(0, log[:777], 777, log[777:])); err != nil {
			t.Fatal(err)
		}
		if got := r.broken(); (got == "") != (name == "") || !strings.Contains(got, name) {
			t.Errorf("want %q, got %q", name, got)
		}
		if name == "" && (len(r.late) != many || time.Duration(r.late[0]) < time.Hour) {
			t.Errorf("%d times, the first %d", len(r.late), r.late[0])
		}
	}
}
