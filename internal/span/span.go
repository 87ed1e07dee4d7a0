// Package span holds finished spans as data, and the ids that every program derives
// for itself (DESIGN 7): any component joins a trace without carrying headers, and a
// span that is emitted twice is the same span.
//
// It exports nothing and knows nothing of OpenTelemetry's types; telemetry does.
package span

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// TraceID names a trace.
type TraceID [16]byte

// ID names a span within its trace. The zero ID is none.
type ID [8]byte

// NewTraceID is the trace of a run.
func NewTraceID(project, commit, run string) TraceID {
	sum := hash("slipway trace", project, commit, run)
	return TraceID(sum[:16])
}

// NewID is the id of one span of a task. Attempt 0 is the task as a whole; an empty
// task is the run.
func NewID(t TraceID, task string, attempt int, kind string) ID {
	sum := hash("slipway span", string(t[:]), task, strconv.Itoa(attempt), kind)
	return ID(sum[:8])
}

// ParseTraceID reads 32 hex digits.
func ParseTraceID(s string) (TraceID, error) {
	var t TraceID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(t) || TraceID(b) == t {
		return t, fmt.Errorf("trace id %q: expected 32 hex digits that are not all zero", s)
	}
	return TraceID(b), nil
}

// String is 32 hex digits.
func (t TraceID) String() string { return hex.EncodeToString(t[:]) }

// String is 16 hex digits.
func (i ID) String() string { return hex.EncodeToString(i[:]) }

// Traceparent is the W3C trace context that makes others' spans children of a span.
func Traceparent(t TraceID, parent ID) string {
	return "00-" + t.String() + "-" + parent.String() + "-01"
}

// hash keeps its parts apart by their lengths.
func hash(parts ...string) [sha256.Size]byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}

// Span is a finished span.
type Span struct {
	Trace      TraceID
	ID         ID
	Parent     ID // zero: the root
	Name       string
	Start, End time.Time
	Attributes []Attribute // sorted by key
	Links      []Link
	Failed     bool
	Message    string // why it failed
}

// Attribute is a key with a string, int64, float64 or bool.
type Attribute struct {
	Key   string
	Value any
}

// Link points to a span of another trace.
type Link struct {
	Trace TraceID
	Span  ID
}
