package mask

import "encoding/binary"

// skip finds where a pattern may begin without looking at every byte, as Wu and Manber do:
// of a window as long as the shortest pattern the last two bytes say how far it may be
// moved. Most text has no secret in it, and this is all that is done with it.
type skip struct {
	least int                  // length of the shortest pattern: 4 or more
	shift [1 << 16]uint8       // by the last two bytes of the window
	heads [1 << 16 >> 6]uint64 // bits: hashes of the first four bytes of patterns
}

func newSkip(patterns []string) *skip {
	s := &skip{least: 1<<8 - 1}
	for _, p := range patterns {
		s.least = min(s.least, len(p))
	}
	for i := range s.shift {
		s.shift[i] = uint8(s.least - 1) //nolint:gosec // least is below 256
	}
	for _, p := range patterns {
		for i := 1; i < s.least; i++ {
			pair := &s.shift[uint16(p[i-1])|uint16(p[i])<<8]
			*pair = min(*pair, uint8(s.least-1-i)) //nolint:gosec // least is below 256
		}
		h := head([]byte(p[:4]))
		s.heads[h>>6] |= 1 << (h & 63)
	}
	return s
}

// head is a hash of four bytes.
func head(b []byte) uint16 {
	return uint16(binary.LittleEndian.Uint32(b) * 0x9E3779B1 >> 16) //nolint:gosec // 16 bits are left
}

// next is the first place, at from or behind it, where a pattern may begin: where one seems
// to, or else where too little of p is left to say that none does.
func (s *skip) next(p []byte, from int) int {
	last := s.least - 2
	i := from
	for i <= len(p)-s.least {
		if n := s.shift[binary.LittleEndian.Uint16(p[i+last:])]; n > 0 {
			i += int(n)
			continue
		}
		if h := head(p[i:]); s.heads[h>>6]&(1<<(h&63)) != 0 {
			return i
		}
		i++
	}
	return min(i, len(p))
}
