package mask

// Bytewise is a Masker that looks at every byte.
func Bytewise(values ...[]byte) *Masker {
	m := New(values...)
	m.skip = &skip{least: minValue, stride: 1}
	for i := range m.skip.heads {
		m.skip.within[i] = ^uint64(0)
		m.skip.heads[i] = ^uint64(0)
	}
	return m
}
