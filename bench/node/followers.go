package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/bench/lines"
	"github.com/slipway-build/slipway/internal/logblock"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Followers read logs while they are written, each on a connection of its own, as so many
// command lines do.
type Followers struct {
	Coordinator string `json:"coordinator"`
	Token       string `json:"token"`
}

// Follow says which logs are read, and what is expected of each.
type Follow struct {
	LogRun

	Lines int  `json:"lines"`
	Timed bool `json:"timed"` // lines have the time at which they were written
	// Sums and Sizes of what may be seen of each log; of those that are not timed.
	Sums  []uint32 `json:"sums,omitempty"`
	Sizes []int64  `json:"sizes,omitempty"`
}

// Seen is what the followers saw.
type Seen struct {
	Last   int64    `json:"last"`  // when the last of them had seen all, in nanoseconds
	Bytes  int64    `json:"bytes"` // that were seen by all
	P50    float64  `json:"p50"`   // milliseconds from a line's time until it was seen
	P99    float64  `json:"p99"`
	Broken []string `json:"broken,omitempty"`
}

// Run follows until the input ends.
func (f Followers) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	r := &readers{maker: lines.New, open: func(ctx context.Context, want Follow, i int) (func() (int64, []byte, error), error) {
		return f.tail(ctx, want.Run, want.Tasks[i])
	}}
	return Serve(ctx, in, out, struct{}{}, r.ops())
}

// tail follows one task's log.
func (f Followers) tail(ctx context.Context, run, task string) (func() (int64, []byte, error), error) {
	conn, err := rpc.Dial(ctx, f.Coordinator, rpc.DialOptions{Token: f.Token})
	if err != nil {
		return nil, fmt.Errorf("coordinator: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	s, err := pb.NewLogServiceClient(conn).Tail(ctx, &pb.TailRequest{Run: run, Task: task, Follow: true, Packed: true}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", task, err)
	}
	var buf []byte
	return func() (int64, []byte, error) {
		m, err := s.Recv()
		switch {
		case err != nil:
			return 0, nil, err
		case m.GetAttempt() > 1:
			return 0, nil, fmt.Errorf("I5: %s has another attempt: its lease was lost", task)
		case m.GetPacked() == 0:
			return m.GetOffset(), m.GetData(), nil
		}
		buf, err = logblock.Received(m.GetData(), m.GetPacked()).Into(buf)
		return m.GetOffset(), buf, err
	}, nil
}

// readers read several logs at once, from wherever open gets them.
type readers struct {
	open  func(ctx context.Context, want Follow, i int) (next func() (int64, []byte, error), err error)
	maker func(log int) *lines.Maker

	each  []*reader
	group *errgroup.Group
	stop  context.CancelFunc
}

func (r *readers) ops() Ops {
	return Ops{"follow": Handle(r.follow), "seen": Handle(r.seen)}
}

// follow begins to read, and answers when each has seen the first line.
func (r *readers) follow(ctx context.Context, want Follow) (any, error) {
	ctx, r.stop = context.WithTimeout(ctx, 10*time.Minute)
	r.group, ctx = errgroup.WithContext(ctx)
	r.each = nil
	var there atomic.Int64
	attached := make(chan struct{})
	for i := range want.Tasks {
		c := &reader{want: want, log: i, maker: r.maker(i), ready: func() {
			if there.Add(1) == int64(len(want.Tasks)) {
				close(attached)
			}
		}}
		r.each = append(r.each, c)
		r.group.Go(func() error {
			next, err := r.open(ctx, want, i)
			if err != nil {
				return err
			}
			return c.read(next)
		})
	}
	select {
	case <-attached:
		return nil, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the first line of each log: %w", errors.Join(context.Cause(ctx), r.group.Wait()))
	}
}

// seen waits until all logs have ended.
func (r *readers) seen(context.Context, struct{}) (any, error) {
	defer r.stop()
	if err := r.group.Wait(); err != nil {
		return nil, err
	}
	var out Seen
	var late []int64
	for _, c := range r.each {
		out.Last, out.Bytes = max(out.Last, c.last), out.Bytes+c.next
		late = append(late, c.late...)
		if broken := c.broken(); broken != "" {
			out.Broken = append(out.Broken, fmt.Sprintf("I7: log %d: %s", c.log, broken))
		}
	}
	slices.Sort(late)
	if n := len(late); n > 0 {
		out.P50, out.P99 = float64(late[n/2])/1e6, float64(late[n*99/100])/1e6
	}
	return out, nil
}

// reader sees one log: every byte of it once and in order.
type reader struct {
	want  Follow
	log   int
	maker *lines.Maker
	ready func()

	next  int64 // offset of what comes next
	sum   uint32
	last  int64 // when something came last
	rest  []byte
	lines int
	late  []int64 // of each line
	wrong string
}

func (r *reader) read(next func() (int64, []byte, error)) error {
	table := crc32.MakeTable(crc32.Castagnoli)
	for {
		offset, data, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("log %d at byte %d: %w", r.log, r.next, err)
		}
		r.last = time.Now().UnixNano()
		if offset != r.next {
			r.say(fmt.Sprintf("byte %d came where %d was expected", offset, r.next))
		}
		r.next = offset + int64(len(data))
		if offset < int64(len(ready)) {
			if len(data) < len(ready) || string(data[:len(ready)]) != ready {
				r.say(fmt.Sprintf("it begins with %q", data[:min(20, len(data))]))
				continue
			}
			data = data[len(ready):]
			r.ready()
		}
		if r.want.Timed {
			r.split(data)
		} else {
			r.sum = crc32.Update(r.sum, table, data)
		}
	}
}

// split looks at the lines that are whole.
func (r *reader) split(data []byte) {
	r.rest = append(r.rest, data...)
	from := 0
	for {
		n := bytes.IndexByte(r.rest[from:], '\n')
		if n < 0 {
			r.rest = r.rest[:copy(r.rest, r.rest[from:])]
			return
		}
		at, err := r.maker.Check(r.rest[from:from+n+1], r.lines)
		if err != nil {
			r.say(err.Error())
		}
		r.late = append(r.late, r.last-at)
		r.lines++
		from += n + 1
	}
}

func (r *reader) say(what string) {
	if r.wrong == "" {
		r.wrong = what
	}
}

// broken says what is wrong with what was seen.
func (r *reader) broken() string {
	switch {
	case r.wrong != "":
		return r.wrong
	case r.want.Timed && (r.lines != r.want.Lines || len(r.rest) > 0):
		return fmt.Sprintf("%d lines and %d bytes were seen of %d lines", r.lines, len(r.rest), r.want.Lines)
	case !r.want.Timed && (r.next != r.want.Sizes[r.log]+int64(len(ready)) || r.sum != r.want.Sums[r.log]):
		return fmt.Sprintf("%d bytes with checksum %08x were seen, %d with %08x may be", r.next-int64(len(ready)), r.sum, r.want.Sizes[r.log], r.want.Sums[r.log])
	}
	return ""
}
