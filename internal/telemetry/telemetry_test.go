package telemetry_test

import (
	"bytes"
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/internal/span"
	"github.com/slipway-build/slipway/internal/telemetry"
)

func spans() (root, child span.Span) {
	id := span.NewTraceID("shop", "abc", "shop-1")
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	root = span.Span{Trace: id, ID: span.NewID(id, "", 0, "root"), Name: "run accepted", Start: at, End: at.Add(time.Millisecond)}
	child = span.Span{
		Trace: id, ID: span.NewID(id, "build/api", 1, "attempt"), Parent: root.ID, Name: "build/api", Start: at.Add(time.Second), End: at.Add(time.Minute),
		Attributes: []span.Attribute{{Key: "s", Value: "x"}, {Key: "n", Value: int64(3)}, {Key: "b", Value: true}},
		Links:      []span.Link{{Trace: span.NewTraceID("a", "b", "c"), Span: root.ID}}, Failed: true, Message: "no",
	}
	return root, child
}

func TestEmitKeepsIDsAndTimes(t *testing.T) {
	e := tracetest.NewInMemoryExporter()
	tr := telemetry.NewTracingTo(e, telemetry.TraceConfig{Service: "x"})
	root, child := spans()
	tr.Emit(t.Context(), root, child)
	got := e.GetSpans()
	if len(got) != 2 {
		t.Fatalf("%d spans", len(got))
	}
	for i, want := range []span.Span{root, child} {
		g := got[i]
		if span.TraceID(g.SpanContext.TraceID()) != want.Trace || span.ID(g.SpanContext.SpanID()) != want.ID || span.ID(g.Parent.SpanID()) != want.Parent ||
			!g.StartTime.Equal(want.Start) || !g.EndTime.Equal(want.End) || g.Name != want.Name || len(g.Attributes) != len(want.Attributes) || len(g.Links) != len(want.Links) {
			t.Errorf("got %+v, want %+v", g, want)
		}
	}
	if got[1].Status.Description != "no" {
		t.Errorf("status %v", got[1].Status)
	}
}

func TestCallsJoinButDoNotBeginTraces(t *testing.T) {
	e := tracetest.NewInMemoryExporter()
	tr := telemetry.NewTracingTo(e, telemetry.TraceConfig{Service: "x"})
	tracer := tr.Provider().Tracer("calls")
	_, s := tracer.Start(t.Context(), "alone")
	s.End()
	_, child := spans()
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(child.Trace), SpanID: trace.SpanID(child.ID), TraceFlags: trace.FlagsSampled, Remote: true})
	_, s = tracer.Start(trace.ContextWithRemoteSpanContext(t.Context(), parent), "joined")
	s.End()
	got := e.GetSpans()
	if len(got) != 1 || got[0].Name != "joined" || got[0].Parent.SpanID() != parent.SpanID() || !got[0].SpanContext.SpanID().IsValid() {
		t.Errorf("exported %+v", got)
	}
}

type receiver struct {
	collector.UnimplementedTraceServiceServer
	got chan *collector.ExportTraceServiceRequest
}

func (r receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.got <- req
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestOTLP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, r := grpc.NewServer(), receiver{got: make(chan *collector.ExportTraceServiceRequest, 10)}
	collector.RegisterTraceServiceServer(srv, r)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() { srv.Stop(); <-done }()
	tr, err := telemetry.NewTracing(t.Context(), telemetry.TraceConfig{Endpoint: l.Addr().String(), Service: "slipway-coordinator", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	root, child := spans()
	tr.Emit(t.Context(), root, child)
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	req := <-r.got
	got := req.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()
	if len(got) != 2 || !bytes.Equal(got[1].GetTraceId(), child.Trace[:]) || !bytes.Equal(got[1].GetParentSpanId(), root.ID[:]) {
		t.Errorf("received %v", got)
	}
}

func TestOff(t *testing.T) {
	tr, err := telemetry.NewTracing(t.Context(), telemetry.TraceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	root, _ := spans()
	tr.Emit(t.Context(), root)
	_, s := tr.Provider().Tracer("x").Start(t.Context(), "x")
	s.End()
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"nonsense", "ftp://x:1", "http://x", "http://x:1/path", "http://u:p@x:1"} {
		if _, err := telemetry.NewTracing(t.Context(), telemetry.TraceConfig{Endpoint: bad}); err == nil {
			t.Errorf("endpoint %q was accepted", bad)
		}
	}
}

func TestLogsAndMetrics(t *testing.T) {
	var b bytes.Buffer
	log, err := telemetry.NewLogger(&b, telemetry.LogConfig{Format: "json", Level: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hidden")
	log.Warn("shown", "run", "shop-1")
	if s := b.String(); strings.Contains(s, "hidden") || !strings.Contains(s, `"run":"shop-1"`) {
		t.Errorf("log %s", s)
	}
	for _, c := range []telemetry.LogConfig{{Format: "xml"}, {Level: "loud"}} {
		if _, err := telemetry.NewLogger(&b, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	w := httptest.NewRecorder()
	telemetry.MetricsHandler(telemetry.NewRegistry("slipway", "1.2")).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if s := w.Body.String(); !strings.Contains(s, `slipway_build_info{program="slipway",version="1.2"} 1`) || !strings.Contains(s, "go_goroutines") {
		t.Errorf("metrics %s", s)
	}
}

func TestIDs(t *testing.T) {
	a := span.NewTraceID("a", "bc", "d")
	if a == span.NewTraceID("ab", "c", "d") || a != span.NewTraceID("a", "bc", "d") {
		t.Error("trace ids do not tell their parts apart")
	}
	back, err := span.ParseTraceID(a.String())
	if err != nil || back != a {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("0", 32), a.String() + "00"} {
		if _, err := span.ParseTraceID(bad); err == nil {
			t.Errorf("ParseTraceID(%q) has no error", bad)
		}
	}
}
