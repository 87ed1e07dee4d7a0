package mask

// Bytewise is a Masker that looks at every byte.
func Bytewise(values ...[]byte) *Masker {
	m := New(values...)
	m.skip = &skip{least: minValue}
	for i := range m.skip.heads {
		m.skip.heads[i] = ^uint64(0)
	}
	return m
}
