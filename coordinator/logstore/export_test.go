package logstore

import "github.com/slipway-build/slipway/internal/logblock"

// Put stores a frame as it is, whatever was stored before.
func (s *Store) Put(k Key, offset int64, data []byte) bool {
	_, ok := s.store(k, found{offset: offset, data: data, blocks: []logblock.Block{logblock.Raw(data)}})
	return ok
}

// Keep bounds what is kept for followers.
func (s *Store) Keep(bytes int) { s.kept = bytes }
