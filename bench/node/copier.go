package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/slipway-build/slipway/bench/lines"
)

// message is how much a Copier that keeps to no pace sends at once: what a worker puts into
// a frame of one log.
const message = 256 << 10

// Copier sends lines to a Copy, each log on a connection and a stream of its own.
type Copier struct {
	Server string `json:"server"`
}

// Sent is when a Copier began and when all was acknowledged, in nanoseconds.
type Sent struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	Bytes int64 `json:"bytes"`
}

// Run sends, when it is asked to, until the input ends.
func (c Copier) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	return Serve(ctx, in, out, struct{}{}, Ops{"send": Handle(c.send)})
}

// raw opens a stream of a method on a connection of its own, and says its number.
func raw(ctx context.Context, server, method string, number int) (grpc.ClientStream, func(), error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err == nil {
		err = s.SendMsg([]byte{byte(number)}) //nolint:gosec // there are a few
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("open a stream: %w", err)
	}
	return s, func() { _ = conn.Close() }, nil
}

// send copies logs, and waits until all of them are durable.
func (c Copier) send(ctx context.Context, l Logs) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	streams := make([]grpc.ClientStream, l.Logs)
	for i := range streams {
		s, hangUp, err := raw(ctx, c.Server, appendMethod, i)
		if err != nil {
			return nil, err
		}
		defer hangUp()
		streams[i] = s
	}
	var total atomic.Int64
	out := Sent{First: time.Now().UnixNano()}
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range streams {
		g.Go(func() error {
			n, err := copyLog(ctx, s, Logging{Log: i, Lines: l.Lines, PerSecond: l.PerSecond})
			total.Add(n)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out.Last, out.Bytes = time.Now().UnixNano(), total.Load()
	return out, nil
}

// copyLog sends one log, and waits for its last acknowledgement.
func copyLog(ctx context.Context, s grpc.ClientStream, w Logging) (sent int64, err error) {
	var g errgroup.Group
	all := int64(w.Lines) * lines.Size
	g.Go(func() error {
		for {
			var ack []byte
			if err := s.RecvMsg(&ack); err != nil || len(ack) != 8 {
				return fmt.Errorf("wait for an acknowledgement: %w", err)
			}
			if n := int64(binary.BigEndian.Uint64(ack)); n == all { //nolint:gosec // bytes of a log
				return nil
			}
		}
	})
	var failed error
	push := func(b []byte) {
		if failed == nil && len(b) > 0 {
			failed = s.SendMsg(b)
			sent += int64(len(b))
		}
	}
	buf := make([]byte, 0, message)
	w.Write(ctx, func(b []byte) {
		if w.PerSecond > 0 { // at once
			push(append([]byte(nil), b...))
			return
		}
		if buf = append(buf, b...); len(buf) >= message {
			push(buf)
			buf = make([]byte, 0, message) // the library may still have the other one
		}
	})
	push(buf)
	if failed != nil {
		return sent, fmt.Errorf("send: %w", failed)
	}
	if err := g.Wait(); err != nil {
		return sent, err
	}
	return sent, s.CloseSend()
}

// Copied reads what a Copy has made durable, each log on a connection of its own.
type Copied struct {
	Server string `json:"server"`
}

// Run reads until the input ends.
func (c Copied) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	r := &readers{maker: lines.Unmasked, open: func(ctx context.Context, _ Follow, i int) (func() (int64, []byte, error), error) {
		s, hangUp, err := raw(ctx, c.Server, readMethod, i)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, hangUp)
		at := int64(0)
		return func() (int64, []byte, error) {
			var data []byte
			err := s.RecvMsg(&data)
			at += int64(len(data))
			return at - int64(len(data)), data, err
		}, nil
	}}
	return Serve(ctx, in, out, struct{}{}, r.ops())
}
