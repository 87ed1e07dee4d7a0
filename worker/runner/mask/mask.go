// Package mask takes secrets out of text: the values, and the forms that programs
// commonly give them (base64, hexadecimal, URL and JSON escapes, single lines).
//
// It is a guard against accidents. Whoever may run a program with a secret can print
// it in a form that nobody thought of; who may not is decided by the coordinator.
package mask

import (
	"io"
	"strings"
)

// Masker finds the patterns of some values. Nil finds nothing. It may be used from
// many goroutines.
type Masker struct {
	root  [256]int32
	nodes []node
	skip  *skip
	token []byte // what stands for a secret
}

// node is a state of the automaton of Aho and Corasick. Children are a list: all but
// the root have few.
type node struct {
	char           byte
	child, sibling int32
	fail           int32
	depth          int32 // length of the text that leads here
	match          int32 // length of the longest pattern that ends here; 0: none
}

// New makes a Masker of values; nil if there is nothing to find.
func New(values ...[]byte) *Masker {
	found := patterns(values)
	if len(found) == 0 {
		return nil
	}
	m := &Masker{nodes: make([]node, 1), skip: newSkip(found), token: []byte(tokenFor(found))}
	for _, p := range found {
		m.add(p)
	}
	m.link()
	return m
}

func (m *Masker) child(at int32, c byte) int32 {
	if at == 0 {
		return m.root[c]
	}
	for n := m.nodes[at].child; n != 0; n = m.nodes[n].sibling {
		if m.nodes[n].char == c {
			return n
		}
	}
	return 0
}

func (m *Masker) add(pattern string) {
	at := int32(0)
	for i := range len(pattern) {
		next := m.child(at, pattern[i])
		if next == 0 {
			next = int32(len(m.nodes)) //nolint:gosec // bounded by the size of secrets
			m.nodes = append(m.nodes, node{char: pattern[i], depth: m.nodes[at].depth + 1})
			if at == 0 {
				m.root[pattern[i]] = next
			} else {
				m.nodes[next].sibling, m.nodes[at].child = m.nodes[at].child, next
			}
		}
		at = next
	}
	m.nodes[at].match = m.nodes[at].depth
}

// link finds for each state the longest other one whose text is an end of its own.
func (m *Masker) link() {
	var queue []int32
	for _, n := range m.root {
		if n != 0 {
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for n := m.nodes[at].child; n != 0; n = m.nodes[n].sibling {
			m.nodes[n].fail = m.step(m.nodes[at].fail, m.nodes[n].char)
			queue = append(queue, n)
		}
		if fail := m.nodes[at].fail; m.nodes[at].match == 0 {
			m.nodes[at].match = m.nodes[fail].match
		}
	}
}

func (m *Masker) step(at int32, c byte) int32 {
	for {
		if next := m.child(at, c); next != 0 {
			return next
		}
		if at == 0 {
			return 0
		}
		at = m.nodes[at].fail
	}
}

// Text masks a whole text.
func (m *Masker) Text(s string) string {
	if m == nil || s == "" {
		return s
	}
	var b strings.Builder
	w := m.Stream(&b)
	_, _ = w.Write([]byte(s)) // a Builder never fails
	w.Flush()
	return b.String()
}

// Stream masks what is written to it piece by piece, also where a secret is cut, and
// holds back no more than what may become one: less than the longest pattern.
type Stream struct {
	m    *Masker
	next io.Writer
	at   int32
	held []byte
	out  []byte // of the last Write, used again
	// Ends of held that are masked, from..to, growing; -1 for a mask that was written
	// already and goes on.
	from, to int
	open     bool // the last thing written is a mask that held goes on with
}

// Stream writes to w.
func (m *Masker) Stream(w io.Writer) *Stream { return &Stream{m: m, next: w} }

// Write answers len(p) and what the writer below says.
func (s *Stream) Write(p []byte) (int, error) {
	if s.m == nil {
		return s.next.Write(p)
	}
	out := s.out[:0]
	for i := 0; i < len(p); {
		if len(s.held) == 0 { // then no pattern has begun
			if n := s.m.skip.next(p, i); n > i {
				out, s.open = append(out, p[i:n]...), false
				i = n
				continue
			}
		}
		out = s.take(p[i], out)
		i++
	}
	s.out = out
	if len(out) == 0 {
		return len(p), nil
	}
	_, err := s.next.Write(out)
	if cap(s.out) > keep {
		s.out = nil
	}
	return len(p), err
}

// keep is how much of what was written is kept to be used again.
const keep = 64 << 10

// Flush writes what is held: nothing follows that could make a secret of it.
func (s *Stream) Flush() {
	if s.m == nil {
		return
	}
	if out := s.release(len(s.held), nil); len(out) > 0 {
		_, _ = s.next.Write(out) // as Write, whose error the caller has seen
	}
	s.at, s.open = 0, false
}

// take moves on by one byte, and adds to out what is decided.
func (s *Stream) take(c byte, out []byte) []byte {
	s.at = s.m.step(s.at, c)
	s.held = append(s.held, c)
	n := s.m.nodes[s.at]
	if n.match > 0 {
		begin := len(s.held) - int(n.match)
		if s.to > begin { // goes on with the one before
			begin = min(begin, s.from)
		} else if s.to > 0 { // the one before ends before this one begins
			out = s.release(begin, out)
			begin = 0
		}
		s.from, s.to = begin, len(s.held)
	}
	return s.release(len(s.held)-int(n.depth), out)
}

// release writes the first n bytes of held: what is not masked as it is, and one token
// for what is.
func (s *Stream) release(n int, out []byte) []byte {
	if n <= 0 {
		return out
	}
	plain := n
	if s.to > 0 {
		plain = min(n, s.from)
	}
	if plain > 0 {
		out = append(out, s.held[:plain]...)
		s.open = false
	}
	if s.to > 0 && n > s.from {
		if !s.open {
			out = append(out, s.m.token...)
			s.open = true
		}
		if n > s.to {
			out = append(out, s.held[s.to:n]...)
			s.open = false
		}
	}
	s.held = s.held[:copy(s.held, s.held[n:])]
	if s.to -= n; s.to <= 0 {
		s.from, s.to = 0, 0
	} else {
		s.from = max(0, s.from-n)
	}
	return out
}
