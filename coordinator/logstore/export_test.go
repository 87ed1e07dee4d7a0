package logstore

import (
	"time"

	"github.com/nats-io/nats.go"

	"github.com/slipway-build/slipway/internal/logblock"
)

// Put stores a frame as it is, whatever was stored before.
func (s *Store) Put(k Key, offset int64, data []byte) bool {
	_, ok := s.store(k, found{offset: offset, data: data, blocks: []logblock.Block{logblock.Raw(data)}})
	return ok
}

// Keep bounds what is kept for followers.
func (s *Store) Keep(bytes int) { s.kept = bytes }

// Gather sets for how long frames are gathered.
func (s *Store) Gather(d time.Duration) { s.flush = d }

// Early is a message that has one stretch of a log.
func Early(subject string, k Key, offset int64, b logblock.Block) *nats.Msg {
	x := stretch{k: k, found: found{offset: offset}}
	x.add(b)
	return message(subject, []stretch{x})
}
