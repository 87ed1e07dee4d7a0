// Package lines is what the attempts of a benchmark write, line by line, and what may be
// seen of it: some lines have a secret in them. It is pure.
package lines

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

const (
	// Size of every line as it is written, with its end.
	Size = 100
	// Every so many lines one has a secret in it: as it is, in base64, in hexadecimal, by turns.
	planted = 1000
	// Where a line's number, its time, its text and what is different in each line are; the
	// log's number is before them.
	numberAt, timeAt, textAt, sumAt = 3, 13, 33, 90
	// mask is what stands for a secret.
	mask = "*****"
)

// Secrets are the values that must not be seen: tokens and passwords as a worker has, and a
// key of several lines. The lines have the first of them.
func Secrets() []string {
	return []string{
		"hunter2-correct-horse", "slip_7Qm2xW9cVb4Rt6Yz", "registry-password-0451", "ghp_0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT",
		"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH\nBG0wawIBAQQgq8Zx1Vw2Yt3Ns4Lk5Jh6Gf7\n-----END PRIVATE KEY-----\n",
	}
}

// said is what builds say.
func said() []string {
	return []string{
		"go: downloading github.com/example/library v1.42.7 (cached 12 kB)",
		"#14 2.381 Compiling serde_derive v1.0.219 (/src/vendor/serde)",
		"[INFO] --- maven-surefire-plugin:3.2.5:test (default-test) @ api",
		"ok   example.com/shop/cart/checkout 0.031s coverage: 81.4% of st",
		"npm http fetch GET 200 https://registry.example.com/left-pad 9ms",
		"=== RUN TestOrdersAreKeptInTheOrderInWhichTheyCame/with_a_retry",
		"time=12:04:31.882 level=INFO msg=\"request served\" path=/v1/items",
		"  CC      drivers/net/ethernet/intel/e1000e/netdev.o -O2 -Wall -g",
	}
}

// Maker makes the lines of one log.
type Maker struct {
	plain  [][]byte
	secret [][2][]byte // a line with a secret, and what may be seen of it
}

// New makes the Maker of a log.
func New(log int) *Maker {
	m := &Maker{}
	line := func(text string) []byte {
		return fmt.Appendf(nil, "%02d %09d %019d %-*.*s\n", log%100, 0, 0, Size-textAt-1, Size-textAt-1, text)
	}
	for _, text := range said() {
		m.plain = append(m.plain, line(text))
	}
	value := Secrets()[0]
	for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value)), hex.EncodeToString([]byte(value))} {
		whole := line("export TOKEN=" + form + " # set")
		m.secret = append(m.secret, [2][]byte{whole, bytes.Replace(bytes.Clone(whole), []byte(form), []byte(mask), 1)})
	}
	return m
}

// Unmasked makes the Maker of a log of which all may be seen.
func Unmasked(log int) *Maker {
	m := New(log)
	for i := range m.secret {
		m.secret[i][1] = m.secret[i][0]
	}
	return m
}

// of is line n, as it is written and as it may be seen.
func (m *Maker) of(n int) (written, seen []byte) {
	if n%planted == planted-1 {
		s := m.secret[n/planted%len(m.secret)]
		return s[0], s[1]
	}
	l := m.plain[mixed(n)>>60&7]
	return l, l
}

// mixed is a number that says nothing of n (the finalizer of splitmix64).
func mixed(n int) uint64 {
	x := (uint64(n) + 1) * 0x9e3779b97f4a7c15 //nolint:gosec // any number will do
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Append adds line n, written at a time in nanoseconds, to dst.
func (m *Maker) Append(dst []byte, n int, at int64) []byte {
	written, _ := m.of(n)
	return fill(append(dst, written...), len(dst), n, at)
}

// Seen adds what may be seen of line n to dst.
func (m *Maker) Seen(dst []byte, n int, at int64) []byte {
	_, seen := m.of(n)
	return fill(append(dst, seen...), len(dst), n, at)
}

// fill writes number and time into the line that begins at from.
func fill(dst []byte, from, n int, at int64) []byte {
	digits(dst[from+numberAt:from+timeAt-1], int64(n))
	digits(dst[from+timeAt:from+textAt-1], at)
	if n%planted == planted-1 {
		return dst
	}
	// As builds write checksums, sizes and times: with it lines are as hard to compress as theirs.
	for i, x := from+sumAt, mixed(n); i < from+Size-1; i, x = i+1, x>>4 {
		dst[i] = "0123456789abcdef"[x&15]
	}
	return dst
}

func digits(to []byte, v int64) {
	for i := len(to) - 1; i >= 0 && v > 0; i-- {
		to[i] = byte('0' + v%10)
		v /= 10
	}
}

// Sum is the checksum and the size of what may be seen of the first n lines, written at 0.
func Sum(log, n int) (sum uint32, size int64) {
	m, table := New(log), crc32.MakeTable(crc32.Castagnoli)
	buf := make([]byte, 0, Size)
	for i := range n {
		buf = m.Seen(buf[:0], i, 0)
		sum = crc32.Update(sum, table, buf)
		size += int64(len(buf))
	}
	return sum, size
}

// ErrOther: a line is not the one that comes next.
var ErrOther = errors.New("another line than the one that comes next")

// Check compares a line that was seen with line n, and answers when it was written.
func (m *Maker) Check(line []byte, n int) (at int64, err error) {
	if len(line) < textAt {
		return 0, fmt.Errorf("%w: %q is too short for line %d", ErrOther, line, n)
	}
	if at, err = strconv.ParseInt(string(line[timeAt:textAt-1]), 10, 64); err != nil {
		return 0, fmt.Errorf("%w: line %d: %w", ErrOther, n, err)
	}
	var want [Size]byte
	if seen := m.Seen(want[:0], n, at); !bytes.Equal(seen, line) {
		return at, fmt.Errorf("%w: %q instead of %q", ErrOther, line, seen)
	}
	return at, nil
}
