package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/internal/logblock"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/render"
)

// patience is how long a coordinator may be away while something is followed: long
// enough to be started again.
const patience = 2 * time.Minute

// Watch hands every change of a run to yield until the run has ended. When the stream
// breaks it begins again, with a snapshot; trouble is called with the reason.
func (c *Client) Watch(ctx context.Context, run string, yield func(*pb.WatchResponse) error, trouble func(error)) error {
	b := &Backoff{Limit: patience}
	for {
		ended, err := c.watchOnce(ctx, &run, b, yield)
		var stop stopError
		switch {
		case errors.As(err, &stop):
			return stop.error
		case ended && err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !Passing(err):
			return err
		}
		if err != nil {
			trouble(err)
		}
		if !b.Wait(ctx) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err == nil {
				err = fmt.Errorf("run %s: the coordinator ends the stream again and again before the run has ended", run)
			}
			return err
		}
	}
}

// stopError is an error of the caller's own function.
type stopError struct{ error }

// watchOnce turns "latest" into the run that it was, so that the next stream is of the same.
func (c *Client) watchOnce(ctx context.Context, run *string, b *Backoff, yield func(*pb.WatchResponse) error) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.Runs.Watch(ctx, &pb.WatchRequest{Run: *run})
	if err != nil {
		return false, err
	}
	for {
		res, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return ended, nil
		}
		if err != nil {
			return ended, err
		}
		b.Reset()
		if r := res.GetSnapshot(); r != nil {
			*run = r.GetId()
		}
		if err := yield(res); err != nil {
			return false, stopError{err}
		}
		for _, r := range []*pb.Run{res.GetSnapshot(), res.GetRun()} {
			if r != nil {
				ended = render.RunEnded(r.GetState())
			}
		}
	}
}

// Tail hands the log of a task to yield, each byte once, whatever breaks meanwhile.
// With follow it goes on until the task has ended.
func (c *Client) Tail(ctx context.Context, req *pb.TailRequest, yield func(attempt int32, data []byte) error) error {
	return c.tail(ctx, req, req, position{}, yield)
}

// TailFrom is Tail, but that of one attempt the bytes before an offset are not wanted. With
// follow it goes on with those after it, unless the request names one. The request has no
// range of its own.
func (c *Client) TailFrom(ctx context.Context, req *pb.TailRequest, attempt int32, offset int64, yield func(attempt int32, data []byte) error) error {
	at := position{attempt, offset}
	ask := at.rest(req)
	if req.GetAttempt() > 0 || !req.GetFollow() {
		req = ask
	}
	return c.tail(ctx, req, ask, at, yield)
}

// tail asks for a part first, and then for the whole of what is wanted.
func (c *Client) tail(ctx context.Context, req, ask *pb.TailRequest, at position, yield func(attempt int32, data []byte) error) error {
	b := &Backoff{Limit: patience}
	for {
		err := c.tailOnce(ctx, ask, &at, b, yield)
		var stop stopError
		switch {
		case errors.As(err, &stop):
			return stop.error
		case err == nil && ask == req:
			return nil
		case err == nil:
			// The attempt at which the stream broke is read to its end. There may be later
			// ones: ask as in the beginning, and drop what was seen.
			ask = req
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !Passing(err) || !b.Wait(ctx):
			return err
		}
		if at.attempt > 0 {
			again := at.rest(req)
			if req.GetAttempt() > 0 {
				req = again // one attempt was asked for, and its rest is all that is missing
				if ask.GetBytes() > 0 && again.GetBytes() == 0 {
					return nil // and nothing is
				}
			}
			ask = again
		}
	}
}

// position is how far a log was read.
type position struct {
	attempt int32
	next    int64
}

// rest asks for what of an attempt was not read.
func (p position) rest(req *pb.TailRequest) *pb.TailRequest {
	out := &pb.TailRequest{Run: req.GetRun(), Task: req.GetTask(), Attempt: p.attempt, Offset: p.next, Follow: req.GetFollow()}
	if n := req.GetBytes(); n > 0 {
		out.Bytes = max(0, req.GetOffset()+n-p.next)
	}
	return out
}

// fresh is the part of an answer that was not seen before. data is what it has, unpacked.
func (p *position) fresh(res *pb.TailResponse, data []byte) []byte {
	end := res.GetOffset() + int64(len(data))
	switch {
	case res.GetAttempt() < p.attempt:
		return nil
	case res.GetAttempt() > p.attempt:
		p.attempt, p.next = res.GetAttempt(), end
		return data
	case end <= p.next:
		return nil
	case res.GetOffset() < p.next:
		data = data[p.next-res.GetOffset():]
	}
	p.next = end
	return data
}

func (c *Client) tailOnce(ctx context.Context, req *pb.TailRequest, at *position, b *Backoff, yield func(int32, []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req = proto.CloneOf(req)
	req.Packed = true
	s, err := c.Logs.Tail(ctx, req)
	if err != nil {
		return err
	}
	for {
		res, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b.Reset()
		data, err := logblock.Received(res.GetData(), res.GetPacked()).Bytes()
		if err != nil {
			return fmt.Errorf("log at byte %d: %w", res.GetOffset(), err)
		}
		if data = at.fresh(res, data); len(data) > 0 {
			if err := yield(res.GetAttempt(), data); err != nil {
				return stopError{err}
			}
		}
	}
}
