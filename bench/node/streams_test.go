package node_test

import (
	"io"
	"testing"

	"github.com/slipway-build/slipway/bench/node"
)

func TestStreamsAreHeldOpen(t *testing.T) {
	const many = 20
	address, call := started(t, func(in io.Reader, out io.Writer) error { return node.Streams{}.Run(t.Context(), in, out) })
	// The clients' answer comes at once; the server says when every stream is there.
	started(t, func(in io.Reader, out io.Writer) error {
		return node.Clients{Server: address, N: many}.Run(t.Context(), in, out)
	})
	call("there", many, nil)
	call("settle", struct{}{}, nil)
}
