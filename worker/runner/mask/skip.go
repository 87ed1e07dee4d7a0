package mask

import "encoding/binary"

// gram is how many bytes of a text are looked at together.
const gram = minValue

// skip finds where a pattern may begin without looking at every byte. Only each stride-th
// place of a text is looked at: wherever a pattern begins, one of them is so near behind that
// the four bytes there are of the pattern. Most text has no secret in it, and this is all
// that is done with it.
type skip struct {
	least  int // length of the shortest pattern
	stride int
	// Bits, by hash: the four bytes with which a pattern begins, and those that are anywhere in
	// the first least bytes of one.
	heads, within bitmap
}

type bitmap [1 << 16 >> 6]uint64

func (b *bitmap) set(h uint16)      { b[h>>6] |= 1 << (h & 63) }
func (b *bitmap) has(h uint16) bool { return b[h>>6]&(1<<(h&63)) != 0 }

func newSkip(patterns []string) *skip {
	s := &skip{least: len(patterns[0])}
	for _, p := range patterns {
		s.least = min(s.least, len(p))
	}
	s.stride = s.least - gram + 1
	for _, p := range patterns {
		s.heads.set(hash([]byte(p[:gram])))
		for i := range s.stride {
			s.within.set(hash([]byte(p[i : i+gram])))
		}
	}
	return s
}

// hash of four bytes.
func hash(b []byte) uint16 {
	return uint16(binary.LittleEndian.Uint32(b) * 0x9E3779B1 >> 16) //nolint:gosec // 16 bits are left
}

// next is the first place, at from or behind it, where a pattern may begin: where one seems
// to, or else where too little of p is left to say that none does.
func (s *skip) next(p []byte, from int) int {
	end := max(from, len(p)-s.least+1)
	for i := from; i <= len(p)-gram; i += s.stride {
		if !s.within.has(hash(p[i:])) {
			continue
		}
		for at := max(from, i-s.stride+1); at <= i; at++ {
			if s.heads.has(hash(p[at:])) {
				return min(at, end)
			}
		}
	}
	return end
}
