package command

import (
	"bytes"
	"context"
	"slices"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
)

// part is what of the log of an attempt is wanted.
type part struct {
	offset, bytes int64
	last, tail    int64 // bytes and lines before the end
	// It begins there, and not with the offset.
	fromLast, fromTail bool
}

func (p part) some() bool { return p.offset > 0 || p.bytes > 0 || p.fromLast || p.fromTail }

// show hands the part to yield. An attempt that has not begun has no end to count from: it
// is shown whole.
func (p part) show(ctx context.Context, c *client.Client, r *pb.Run, req *pb.TailRequest, yield func(int32, []byte) error) error {
	i := slices.IndexFunc(r.GetTasks(), func(t *pb.Task) bool { return t.GetId() == req.GetTask() })
	if !p.some() || i < 0 || len(r.GetTasks()[i].GetAttempts()) == 0 {
		return c.Tail(ctx, req, yield)
	}
	s, err := c.Logs.Stat(ctx, &pb.StatRequest{Run: req.GetRun(), Task: req.GetTask(), Attempt: req.GetAttempt()})
	if err != nil {
		return err
	}
	offset := p.offset
	switch {
	case p.fromLast:
		offset = max(0, s.GetSize()-p.last)
	case p.fromTail:
		if offset, err = lastLines(s.GetSize(), p.tail, reader(ctx, c, req, s.GetAttempt())); err != nil {
			return err
		}
	}
	if p.bytes > 0 {
		return c.Tail(ctx, &pb.TailRequest{
			Run: req.GetRun(), Task: req.GetTask(), Attempt: s.GetAttempt(), Offset: offset, Bytes: p.bytes, Follow: req.GetFollow(),
		}, yield)
	}
	return c.TailFrom(ctx, req, s.GetAttempt(), offset, yield)
}

// reader reads bytes of an attempt's log.
func reader(ctx context.Context, c *client.Client, req *pb.TailRequest, attempt int32) func(from, to int64) ([]byte, error) {
	return func(from, to int64) (data []byte, err error) {
		part := &pb.TailRequest{Run: req.GetRun(), Task: req.GetTask(), Attempt: attempt, Offset: from, Bytes: to - from}
		err = c.Tail(ctx, part, func(_ int32, b []byte) error { data = append(data, b...); return nil })
		return data, err
	}
}

// block is how much is read at a time to find the beginning of a line.
const block = 64 << 10

// lastLines finds where the last lines of a log begin, from its end. A line break at the end
// begins no line.
func lastLines(size, lines int64, read func(from, to int64) ([]byte, error)) (offset int64, err error) {
	for to := size; lines > 0 && to > 0; {
		from := max(0, to-block)
		data, err := read(from, to)
		if err != nil {
			return 0, err
		}
		if to == size && bytes.HasSuffix(data, []byte("\n")) {
			data = data[:len(data)-1]
		}
		for i := bytes.LastIndexByte(data, '\n'); i >= 0; i = bytes.LastIndexByte(data[:i], '\n') {
			if lines--; lines == 0 {
				return from + int64(i) + 1, nil
			}
		}
		to = from
	}
	if lines == 0 {
		return size, nil
	}
	return 0, nil
}
