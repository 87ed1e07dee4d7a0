package logstore

// Put stores a frame as it is, whatever was stored before.
func (s *Store) Put(k Key, offset int64, data []byte) bool {
	_, ok := s.store(k, offset, data)
	return ok
}

// Keep bounds what is kept for followers.
func (s *Store) Keep(bytes int) { s.kept = bytes }
