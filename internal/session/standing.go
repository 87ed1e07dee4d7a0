package session

import (
	"context"
	"strings"

	"github.com/slipway-build/slipway/internal/queue"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// A process takes no new task while the coordinator says that it is cordoned, or it says of
// itself that it is pressed. What it carries out goes on, and it asks for nothing.

// maxPressed bounds what a heartbeat says.
const maxPressed = 1000

// Press says why no new task is taken for now; empty: they are taken again.
func (s *Session) Press(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why = strings.ToValidUTF8(why[:min(len(why), maxPressed)], ""); why != s.pressed {
		before := s.aside()
		s.pressed = why
		s.turned(before)
	}
}

// stand is told by the coordinator; nil: it has nothing to say. mu is held.
func (s *Session) stand(ctx context.Context, as *pb.Standing) {
	if as.GetCordoned() == s.cordoned {
		return
	}
	before := s.aside()
	s.cordoned = as.GetCordoned()
	if s.cordoned {
		s.cfg.Log.InfoContext(ctx, "cordoned: no new task is taken", "reason", as.GetReason(), "running", len(s.held))
	} else {
		s.cfg.Log.InfoContext(ctx, "uncordoned: tasks are taken again")
	}
	s.turned(before)
}

func (s *Session) aside() bool { return s.cordoned || s.pressed != "" }

// turned stops or begins what asks for tasks, and says so at once; mu is held.
func (s *Session) turned(before bool) {
	switch now := s.aside(); {
	case now && !before:
		s.taking.lost()
	case before && !now:
		s.taking.open()
	}
	s.out.beat = true
	s.signal()
}

// leave gives a hint back that is for others.
func (s *Session) leave(ctx context.Context, h *queue.Hint) {
	if h == nil {
		return
	}
	if err := h.NakLater(); err != nil {
		s.cfg.Log.WarnContext(ctx, "answer hint", "token", h.Token, "err", err)
	}
}
