package journal

// Claimed is what the claim in a frame says of its format.
func Claimed(frame []byte) (schema, leastReader int32, err error) {
	m, err := open(frame)
	if err != nil {
		return 0, 0, err
	}
	c := m.GetEvents()[0].GetEpochClaimed()
	return c.GetSchema(), c.GetLeastReader(), nil
}
