package node_test

import (
	"bufio"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/internal/span"
	"github.com/slipway-build/slipway/internal/telemetry"
)

// started runs a process of the benchmark within the test.
func started(t *testing.T, run func(in io.Reader, out io.Writer) error) (address string, call func(do string, args, answer any)) {
	t.Helper()
	in, toIn := io.Pipe()
	fromOut, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(in, out) }()
	t.Cleanup(func() {
		_ = toIn.Close()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	lines := bufio.NewScanner(fromOut)
	read := func(to any) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("no answer: %v", lines.Err())
		}
		var a node.Answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil || a.Error != "" {
			t.Fatalf("answered %s: %v", lines.Bytes(), err)
		}
		if to == nil {
			return
		}
		if err := json.Unmarshal(a.OK, to); err != nil {
			t.Fatal(err)
		}
	}
	var a node.Address
	read(&a)
	return a.URL, func(do string, args, answer any) {
		t.Helper()
		b, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(toIn).Encode(node.Command{Do: do, Args: b}); err != nil {
			t.Fatal(err)
		}
		read(answer)
	}
}

func TestTheCollectorCountsEverySpan(t *testing.T) {
	address, call := started(t, func(in io.Reader, out io.Writer) error { return node.Collector{}.Run(t.Context(), in, out) })
	tr, err := telemetry.NewTracing(t.Context(), telemetry.TraceConfig{Endpoint: address, Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	const many = 5000 // several requests
	id := span.NewTraceID("shop", "abc", "shop-1")
	for i := range many {
		tr.Emit(t.Context(), span.Span{
			Trace: id, ID: span.NewID(id, "task", i, "attempt"), Name: "a", Start: time.Unix(1, 0), End: time.Unix(2, 0),
			Attributes: []span.Attribute{{Key: "k", Value: "v"}},
		})
	}
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if call("spans", struct{}{}, &n); n != many {
		t.Errorf("%d spans, want %d", n, many)
	}
	if call("spans", struct{}{}, &n); n != 0 {
		t.Errorf("%d spans since, want none", n)
	}
}
