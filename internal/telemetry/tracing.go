package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/slipway-build/slipway/internal/span"
)

// queueSize is how many spans wait for export; more are dropped. A run of a few
// thousand tasks that ends at once fits.
const queueSize = 1 << 16

// TraceConfig says where traces go.
type TraceConfig struct {
	// Endpoint of an OTLP receiver that speaks gRPC: "host:port", "http://host:port"
	// (plain) or "https://host:port" (TLS). Without scheme loopback is plain and
	// everything else TLS. Empty: nothing is traced.
	Endpoint string
	// Service is the name of the program: "slipway-coordinator".
	Service  string
	Version  string
	Instance string
}

// Tracing exports spans until Shutdown. The zero Tracing drops them.
type Tracing struct {
	provider *sdktrace.TracerProvider
}

// NewTracing does not wait for the receiver: one that cannot be reached costs spans
// and nothing else.
func NewTracing(ctx context.Context, c TraceConfig) (*Tracing, error) {
	if c.Endpoint == "" {
		return &Tracing{}, nil
	}
	address, plain, err := parseEndpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}
	opts := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(address)}
	if plain {
		opts = append(opts, otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("trace endpoint %s: %w", c.Endpoint, err)
	}
	return newTracing(sdktrace.NewBatchSpanProcessor(exporter,
		sdktrace.WithMaxQueueSize(queueSize), sdktrace.WithBatchTimeout(time.Second), sdktrace.WithMaxExportBatchSize(2048)), c), nil
}

// NewTracingTo hands spans to an exporter within the process, one by one.
func NewTracingTo(e sdktrace.SpanExporter, c TraceConfig) *Tracing {
	return newTracing(sdktrace.NewSimpleSpanProcessor(e), c)
}

func newTracing(p sdktrace.SpanProcessor, c TraceConfig) *Tracing {
	return &Tracing{provider: sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(p),
		sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithSampler(sampler{}),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", c.Service),
			attribute.String("service.version", c.Version),
			attribute.String("service.instance.id", c.Instance),
			attribute.String("service.namespace", "slipway"),
		)),
	)}
}

// Provider is for calls and for libraries that trace themselves.
func (t *Tracing) Provider() trace.TracerProvider {
	if t.provider == nil {
		return noop.NewTracerProvider()
	}
	return t.provider
}

// Shutdown exports what waits.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("export the last spans: %w", err)
	}
	return nil
}

// Flush exports what waits and goes on.
func (t *Tracing) Flush(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// Enabled reports that spans go somewhere: without, nobody needs to make them.
func (t *Tracing) Enabled() bool { return t.provider != nil }

// Emit exports finished spans with the ids and times they have. It does not block.
func (t *Tracing) Emit(ctx context.Context, spans ...span.Span) {
	if t.provider == nil {
		return
	}
	tracer := t.provider.Tracer("github.com/slipway-build/slipway")
	for i := range spans {
		emit(ctx, tracer, &spans[i])
	}
}

func emit(ctx context.Context, tracer trace.Tracer, s *span.Span) {
	ctx = context.WithValue(ctx, givenKey{}, given{trace.TraceID(s.Trace), trace.SpanID(s.ID)})
	opts := []trace.SpanStartOption{trace.WithTimestamp(s.Start), trace.WithAttributes(attributes(s.Attributes)...)}
	if s.Parent == (span.ID{}) {
		opts = append(opts, trace.WithNewRoot())
	} else {
		ctx = trace.ContextWithRemoteSpanContext(ctx, spanContext(s.Trace, s.Parent))
	}
	for _, l := range s.Links {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: spanContext(l.Trace, l.Span)}))
	}
	_, out := tracer.Start(ctx, s.Name, opts...)
	if s.Failed {
		out.SetStatus(codes.Error, s.Message)
	}
	out.End(trace.WithTimestamp(s.End))
}

func spanContext(t span.TraceID, s span.ID) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(t), SpanID: trace.SpanID(s), TraceFlags: trace.FlagsSampled, Remote: true})
}

func attributes(list []span.Attribute) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(list))
	for _, a := range list {
		switch v := a.Value.(type) {
		case string:
			out = append(out, attribute.String(a.Key, v))
		case int64:
			out = append(out, attribute.Int64(a.Key, v))
		case float64:
			out = append(out, attribute.Float64(a.Key, v))
		case bool:
			out = append(out, attribute.Bool(a.Key, v))
		default:
			out = append(out, attribute.String(a.Key, fmt.Sprint(v)))
		}
	}
	return out
}

// given are ids that were decided elsewhere, on their way to the generator.
type given struct {
	trace trace.TraceID
	span  trace.SpanID
}

type givenKey struct{}

// ids takes the given ids, else random ones.
type ids struct{}

func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if g, ok := ctx.Value(givenKey{}).(given); ok {
		return g.trace, g.span
	}
	var t trace.TraceID
	rand.Read(t[:])
	return t, random()
}

func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if g, ok := ctx.Value(givenKey{}).(given); ok {
		return g.span
	}
	return random()
}

func random() trace.SpanID {
	var s trace.SpanID
	rand.Read(s[:])
	return s
}

// sampler exports given spans and what joins a trace that is exported.
type sampler struct{}

func (sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	res := sdktrace.SamplingResult{Decision: sdktrace.Drop, Tracestate: parent.TraceState()}
	if _, ok := p.ParentContext.Value(givenKey{}).(given); ok || parent.IsSampled() {
		res.Decision = sdktrace.RecordAndSample
	}
	return res
}

func (sampler) Description() string { return "given spans, and what joins an exported trace" }

func parseEndpoint(endpoint string) (address string, plain bool, err error) {
	bad := fmt.Errorf("trace endpoint %q: expected host:port, http://host:port or https://host:port", endpoint)
	address = endpoint
	scheme := ""
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" && u.Path != "/" {
			return "", false, bad
		}
		address, scheme = u.Host, u.Scheme
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", false, bad
	}
	ip, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && ip.IsLoopback()
	return address, scheme == "http" || scheme == "" && loopback, nil
}
