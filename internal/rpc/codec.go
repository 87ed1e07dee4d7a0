package rpc

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// large is the size from which on messages are encoded into buffers of the codec's own pool.
const large = 32 << 10

// codec is gRPC's own but for large messages: gRPC's pool has no buffers between 32 KiB and
// 1 MiB, and clears each that it hands out, which costs more than to encode a message of
// 50 KiB of log.
type codec struct {
	encoding.CodecV2

	pool mem.BufferPool
}

func newCodec() (codec, error) {
	pool, err := mem.NewBinaryTieredBufferPool(16, 17, 18, 19, 20, 21, 22)
	if err != nil {
		return codec{}, fmt.Errorf("buffers for messages: %w", err)
	}
	return codec{encoding.GetCodecV2(grpcproto.Name), pool}, nil
}

// Marshal encodes a message of protobuf.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return c.CodecV2.Marshal(v) //nolint:wrapcheck // it is gRPC's
	}
	size := proto.Size(m)
	if size < large {
		return c.CodecV2.Marshal(v) //nolint:wrapcheck // it is gRPC's
	}
	buf := c.pool.Get(size)
	if _, err := (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend((*buf)[:0], m); err != nil {
		c.pool.Put(buf)
		return nil, err //nolint:wrapcheck // as gRPC's codec
	}
	return mem.BufferSlice{mem.NewBuffer(buf, c.pool)}, nil
}

// Unmarshal decodes a message of protobuf.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok || data.Len() < large {
		return c.CodecV2.Unmarshal(data, v) //nolint:wrapcheck // it is gRPC's
	}
	buf := data.MaterializeToBuffer(c.pool)
	defer buf.Free()
	return proto.Unmarshal(buf.ReadOnlyData(), m) //nolint:wrapcheck // as gRPC's codec
}
