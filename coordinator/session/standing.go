package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/cordon"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Cordons are the workers that are given no task.
type Cordons interface {
	Of(name string) (cordon.Cordon, bool)
	// Changed is closed at the next change.
	Changed() <-chan struct{}
}

// errCordoned: the task is for others.
var errCordoned = errors.New("the worker is cordoned")

// standing is why a worker is given no task; the zero value: it is given some.
type standing struct {
	draining bool
	pressed  string
	cordoned bool
	reason   string // of the cordon
}

func (s standing) aside() bool { return s.draining || s.cordoned || s.pressed != "" }

// why the worker of a name is given no task, for people; empty: it is given some.
func (s standing) why(name string) string {
	switch {
	case s.draining:
		return name + " is about to stop"
	case s.cordoned && s.reason != "":
		return fmt.Sprintf("%s is cordoned (%s)", name, s.reason)
	case s.cordoned:
		return name + " is cordoned"
	case s.pressed != "":
		return fmt.Sprintf("%s is pressed (%s)", name, s.pressed)
	}
	return ""
}

func (st *stream) cordon() (cordon.Cordon, bool) {
	if st.cfg.Cordons == nil {
		return cordon.Cordon{}, false
	}
	return st.cfg.Cordons.Of(st.worker.Name)
}

// cordoned is the error with which a cordoned worker is refused a lease; nil: it is not one.
func (st *stream) cordoned() error {
	c, ok := st.cordon()
	switch {
	case !ok:
		return nil
	case c.Reason == "":
		return errCordoned
	}
	return fmt.Errorf("%w: %s", errCordoned, c.Reason)
}

// standing of the worker now.
func (st *stream) standing() standing {
	st.mu.Lock()
	s := st.says
	st.mu.Unlock()
	c, ok := st.cordon()
	s.cordoned, s.reason = ok, c.Reason
	return s
}

// stand has dispatch, the relay and the worker hear of a change of its standing.
func (st *stream) stand() {
	st.Server.mu.Lock()
	defer st.Server.mu.Unlock()
	now, before := st.standing(), st.stood
	if now == before || st.streams[st.worker.Instance] != st || st.ctx.Err() != nil {
		return
	}
	st.stood = now
	st.place()
	if !st.forwarded && (now.cordoned != before.cordoned || now.reason != before.reason) {
		st.later(func(m *pb.SessionResponse) { m.Standing = &pb.Standing{Cordoned: now.cordoned, Reason: now.reason} })
	}
}

// place tells dispatch and the relay how the worker stands; Server.mu is held.
func (st *stream) place() {
	why := st.stood.why(st.worker.Name)
	for _, c := range st.hello.GetCapacity() {
		n := int(c.GetSlots())
		if why != "" {
			n = 0
		}
		st.cfg.Presence.Worker(c.GetCapability(), st.worker.Instance, n)
		st.cfg.Presence.Aside(c.GetCapability(), st.worker.Instance, why)
	}
	if st.relay != nil {
		st.relay.hold(why != "")
	}
}

// Steer has the workers hear of cordons, until the context ends.
func (s *Server) Steer(ctx context.Context) error {
	for {
		changed := s.cfg.Cordons.Changed()
		for _, st := range s.all() {
			st.stand()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) all() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.streams))
}

// Seen is a worker that has a session with this coordinator, or with another that keeps one
// here on its behalf.
type Seen struct {
	Name, Instance, Version string
	Since                   time.Time
	Slots                   map[string]int32
	Held                    int // leases that it says it has, of those that concern this coordinator
	Draining                bool
	Pressed                 string // why it takes no task, as it says
	Cordoned                bool
}

// Aside: it is given no task.
func (w Seen) Aside() bool { return w.State() != "ready" }

// State of the worker, as a word.
func (w Seen) State() string {
	switch {
	case w.Draining:
		return "draining"
	case w.Cordoned:
		return "cordoned"
	case w.Pressed != "":
		return "pressed"
	}
	return "ready"
}

// Workers that have a session.
func (s *Server) Workers() []Seen {
	all := s.all()
	out := make([]Seen, 0, len(all))
	for _, st := range all {
		_, cordoned := st.cordon()
		st.mu.Lock()
		out = append(out, Seen{
			Name: st.worker.Name, Instance: st.worker.Instance, Version: st.hello.GetVersion(), Since: st.since, Slots: capacity(st.hello.GetCapacity()),
			Held: st.held, Draining: st.says.draining, Pressed: st.says.pressed, Cordoned: cordoned,
		})
		st.mu.Unlock()
	}
	return out
}
