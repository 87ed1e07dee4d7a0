package logstore

// Put stores a frame as it is, whatever was stored before.
func (s *Store) Put(k Key, offset int64, data []byte) bool { return s.store(k, offset, data) }
