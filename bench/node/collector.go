package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Collector receives spans over OTLP, counts them and forgets them. It reads no more of a
// request than the count needs, so that as little as possible of what tracing costs is the
// collector's.
type Collector struct{}

// Run serves until the input ends.
func (c Collector) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	var spans atomic.Int64
	export := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var body []byte
		if err := decode(&body); err != nil {
			return nil, err
		}
		n, err := countSpans(body)
		spans.Add(n)
		return []byte{}, err
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.MaxRecvMsgSize(64<<20))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.trace.v1.TraceService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: export}},
	}, struct{}{})
	return serveGRPC(ctx, server, in, out, Ops{
		"spans": Handle(func(context.Context, struct{}) (any, error) { return spans.Swap(0), nil }),
	})
}

// serveGRPC serves on loopback, and answers commands, until the input ends.
func serveGRPC(ctx context.Context, server *grpc.Server, in io.Reader, out io.Writer, o Ops) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	err = Serve(ctx, in, out, Address{URL: l.Addr().String()}, o)
	server.Stop()
	return errors.Join(err, <-done)
}

// rawCodec leaves messages as the bytes that they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("a %T is not bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a %T is not bytes", v)
	}
	*b = data.Materialize()
	return nil
}

// Fields of an ExportTraceServiceRequest on the way to its spans.
const (
	resourceSpans = 1
	scopeSpans    = 2
	spansOfScope  = 2
)

// countSpans counts the spans of an encoded ExportTraceServiceRequest.
func countSpans(request []byte) (n int64, err error) {
	err = fields(request, resourceSpans, func(resource []byte) error {
		return fields(resource, scopeSpans, func(scope []byte) error {
			return fields(scope, spansOfScope, func([]byte) error {
				n++
				return nil
			})
		})
	})
	return n, err
}

// fields shows each message that a message has in a field.
func fields(message []byte, number protowire.Number, each func([]byte) error) error {
	for len(message) > 0 {
		num, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("decode spans: %w", protowire.ParseError(n))
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(num, kind, message); n < 0 {
			return fmt.Errorf("decode spans: %w", protowire.ParseError(n))
		}
		if num == number && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			if err := each(value); err != nil {
				return err
			}
		}
		message = message[n:]
	}
	return nil
}
