package node_test

import (
	"io"
	"testing"

	"github.com/slipway-build/slipway/bench/lines"
	"github.com/slipway-build/slipway/bench/node"
)

func TestACopyIsWholeAndIsSeenWhole(t *testing.T) {
	const logs, many = 3, 2000
	server, ask := started(t, func(in io.Reader, out io.Writer) error { return node.Copy{Dir: t.TempDir()}.Run(t.Context(), in, out) })
	_, send := started(t, func(in io.Reader, out io.Writer) error { return node.Copier{Server: server}.Run(t.Context(), in, out) })
	_, read := started(t, func(in io.Reader, out io.Writer) error { return node.Copied{Server: server}.Run(t.Context(), in, out) })
	full := func(what string) {
		t.Helper()
		var size int
		if ask("empty", struct{}{}, &size); size != logs*many*lines.Size {
			t.Errorf("%s: %d bytes, want %d", what, size, logs*many*lines.Size)
		}
	}
	send("send", node.Logs{Logs: logs, Lines: many}, nil)
	full("without readers")
	read("follow", node.Follow{LogRun: node.LogRun{Tasks: make([]string, logs)}, Lines: many, Timed: true}, nil)
	send("send", node.Logs{Logs: logs, Lines: many, PerSecond: 20_000}, nil)
	var seen node.Seen
	read("seen", struct{}{}, &seen)
	if len(seen.Broken) > 0 || seen.P99 <= 0 || seen.P50 > seen.P99 {
		t.Errorf("seen: %+v", seen)
	}
	full("with readers")
}
