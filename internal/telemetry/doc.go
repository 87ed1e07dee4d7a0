// Package telemetry sets up what a program says about itself: logs, metrics, and
// traces over OTLP, also spans whose ids and times were decided elsewhere.
//
// There is one tracer provider. Spans of calls follow the decision of the trace they
// join and are never the root of one, so that polling and sessions make no traces of
// their own. Spans given to an Emitter are always exported.
//
// The package does not know what a run or a task is, and attaches no attribute of
// one to a metric.
package telemetry
