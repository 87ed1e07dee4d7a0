package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/internal/logblock"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Logs is what readers of logs saw.
type Logs struct {
	Lines int // that each attempt writes

	mu       sync.Mutex
	Followed int // attempts whose log was followed while it was written
	Read     int // attempts whose log was read whole, at the end
	Again    int // times that a follower was cut off and went on where it was
	wrong    []string
}

func (g *Logs) count(n *int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*n++
}

// judge compares what was read of an attempt's log with what it wrote; whole: it wrote all.
func (g *Logs) judge(who string, a witness.Attempt, text string, whole bool) {
	var want strings.Builder
	for i := range g.Lines {
		want.WriteString(witness.Line(a, i))
	}
	if text == want.String() || !whole && strings.HasPrefix(want.String(), text) {
		return
	}
	at := 0
	for at < min(len(text), want.Len()) && text[at] == want.String()[at] {
		at++
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong = append(g.wrong, fmt.Sprintf("I7: the log of %s, attempt %d, as %s: %d bytes of %d, and byte %d is another", a.Object(), a.Number, who, len(text), want.Len(), at))
}

// Follow follows attempts that go on, one after the other, until the context ends. A slow
// one waits after each answer.
func (l *Load) Follow(ctx context.Context, g *Logs, slow time.Duration) {
	for pause(ctx) {
		l.mu.Lock()
		var id string
		for _, id = range l.live { // any of them
			break
		}
		l.mu.Unlock()
		if id == "" {
			continue
		}
		r, err := l.get(ctx, -2, "", id)
		if err != nil {
			continue
		}
		for _, t := range r.GetTasks() {
			if n := len(t.GetAttempts()); n > 0 && t.GetFinishedAt() == nil && ctx.Err() == nil {
				l.follow1(ctx, g, attempt(r, t, n-1), slow)
			}
		}
	}
}

func attempt(r *pb.Run, t *pb.Task, i int) witness.Attempt {
	a := t.GetAttempts()[i]
	return witness.Attempt{
		Run: r.GetId(), Task: t.GetId(), Number: a.GetNumber(), Fence: witness.Fence{Epoch: a.GetFence().GetEpoch(), Counter: a.GetFence().GetCounter()},
	}
}

// follow1 follows one attempt to its end, over connections that break.
func (l *Load) follow1(ctx context.Context, g *Logs, a witness.Attempt, slow time.Duration) {
	var text strings.Builder
	for ctx.Err() == nil {
		err := l.tail(ctx, a, int64(text.Len()), true, func(data []byte) {
			text.Write(data)
			if slow > 0 {
				_ = pauseFor(ctx, slow)
			}
		})
		if err == nil {
			g.count(&g.Followed)
			break
		}
		g.count(&g.Again)
		if !pause(ctx) {
			break
		}
	}
	g.judge("it was followed", a, text.String(), false)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errOffset = errors.New("I7: an answer does not begin where the one before ended")

func (l *Load) tail(ctx context.Context, a witness.Attempt, offset int64, follow bool, each func([]byte)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := pb.NewLogServiceClient(l.Conn()).Tail(ctx, &pb.TailRequest{Run: a.Run, Task: a.Task, Attempt: a.Number, Offset: offset, Follow: follow})
	if err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.GetOffset() != offset:
			l.bad("%v: %s at byte %d, answered from %d", errOffset, a.Object(), offset, m.GetOffset())
		}
		offset += int64(len(m.GetData()))
		each(m.GetData())
	}
}

// ReadLogs reads the log of every attempt that succeeded, and says what is wrong with any.
// raw is where the frames are read as they are stored, by a reader that knows nothing of
// offsets; empty: they are not.
func (l *Load) ReadLogs(ctx context.Context, g *Logs, raw string) []string {
	for _, id := range l.acknowledged() {
		r, err := l.get(ctx, -2, "", id)
		for err != nil && again(err) && pause(ctx) {
			r, err = l.get(ctx, -2, "", id)
		}
		if err != nil {
			return append(g.wrong, fmt.Sprintf("run %s: %v", id, err))
		}
		for _, t := range r.GetTasks() {
			n := len(t.GetAttempts())
			if n == 0 || t.GetState() != pb.TaskState_TASK_STATE_SUCCEEDED {
				continue
			}
			a := attempt(r, t, n-1)
			text, err := l.read(ctx, a)
			if raw != "" {
				text, err = frames(ctx, raw, a)
			}
			if err != nil {
				return append(g.wrong, fmt.Sprintf("log of %s: %v", a.Object(), err))
			}
			g.count(&g.Read)
			g.judge("it was read", a, text, true)
		}
	}
	return g.wrong
}

func (l *Load) acknowledged() []string {
	var out []string
	seen := map[string]bool{}
	for _, t := range l.Told() {
		if t.Kind == Submit && !seen[t.Run] {
			seen[t.Run] = true
			out = append(out, t.Run)
		}
	}
	return out
}

func (l *Load) read(ctx context.Context, a witness.Attempt) (string, error) {
	var text strings.Builder
	for {
		err := l.tail(ctx, a, int64(text.Len()), false, func(data []byte) { text.Write(data) })
		if err == nil || !again(err) || !pause(ctx) {
			return text.String(), err
		}
	}
}

// frames reads what is stored of a log, one frame after the other.
func frames(ctx context.Context, url string, a witness.Attempt) (string, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return "", fmt.Errorf("read frames: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return "", fmt.Errorf("read frames: %w", err)
	}
	c, err := js.OrderedConsumer(ctx, "SLIPWAY_LOGS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{fmt.Sprintf("logs.*.%d-%d", a.Fence.Epoch, a.Fence.Counter)}})
	if err != nil {
		return "", fmt.Errorf("read frames: %w", err)
	}
	var text strings.Builder
	for {
		m, err := c.Next(jetstream.FetchMaxWait(100 * time.Millisecond))
		if err != nil {
			return text.String(), nil //nolint:nilerr // the last one
		}
		if strings.Contains(m.Subject(), "_"+a.Run+"_") {
			blocks, err := logblock.Split(m.Data(), m.Headers().Get(logblock.Header))
			if err != nil {
				return "", fmt.Errorf("read frames: %w", err)
			}
			for _, b := range blocks {
				data, err := b.Bytes()
				if err != nil {
					return "", fmt.Errorf("read frames: %w", err)
				}
				text.Write(data)
			}
		}
	}
}
