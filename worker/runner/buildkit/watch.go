package buildkit

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/mask"
)

const (
	// maxSteps is what a completion may carry.
	maxSteps = 500
	// tailLines of a vertex's output are shown when it failed.
	tailLines = 25
	// keptOutput of a vertex is kept for finding test results in it.
	keptOutput = 512 << 10
	// lineLimit ends a line that does not end by itself.
	lineLimit = 16 << 10
)

// Watch follows one solve: it writes the log that people know from `docker build
// --progress=plain`, reports steps as they go, and remembers them.
type Watch struct {
	report runner.Report
	mask   *mask.Masker // of output before it is cut, into lines and tails

	cache string // what the build cache that steps are taken from is called

	mu    sync.Mutex
	byID  map[digest.Digest]*vertex
	order []*vertex
}

type vertex struct {
	number    int
	name      string
	kind      string // empty: a vertex of BuildKit
	started   time.Time
	finished  time.Time
	cached    bool
	err       string
	header    bool    // its name is in the log
	footer    bool    // and its end
	gone      bool    // it is of a solve that does not count
	feeds     [2]feed // standard output and error
	output    []byte  // of both
	status    client.VertexStatus
	announced map[string]bool // transfers whose end is in the log
}

// feed is one of the outputs of a vertex. Each is masked by itself: pieces of both come in any order, and a secret
// that another output cuts in two would not be found.
type feed struct {
	line   []byte
	clean  bytes.Buffer // output that is masked and not taken yet
	masked *mask.Stream // into clean
}

// standardError is the number of that output, as the daemon counts them.
const standardError = 2

// NewWatch writes to r what m leaves of it.
func NewWatch(r runner.Report, m *mask.Masker) *Watch {
	return &Watch{report: r, mask: m, byID: map[digest.Digest]*vertex{}}
}

// add a vertex; w.mu is held.
func (w *Watch) add(id digest.Digest, x *vertex) *vertex {
	x.number, x.announced = len(w.order)+1, map[string]bool{}
	for i := range x.feeds {
		x.feeds[i].masked = w.mask.Stream(&x.feeds[i].clean)
	}
	w.byID[id] = x
	w.order = append(w.order, x)
	return x
}

// follow runs do and consumes what it sends until it is closed.
func (w *Watch) follow(do func(ch chan *client.SolveStatus) error) error {
	ch := make(chan *client.SolveStatus, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range ch {
			w.take(s)
		}
	}()
	err := do(ch)
	<-done
	w.finish()
	return err
}

func (w *Watch) take(s *client.SolveStatus) {
	var log bytes.Buffer
	changed := map[*vertex]bool{}
	w.mu.Lock()
	for _, v := range s.Vertexes {
		if x := w.vertex(v, &log); x != nil {
			changed[x] = true
		}
	}
	for _, st := range s.Statuses {
		if x := w.byID[st.Vertex]; x != nil {
			x.transfer(st, &log)
			changed[x] = true
		}
	}
	for _, l := range s.Logs {
		if x := w.byID[l.Vertex]; x != nil {
			x.print(l.Stream, l.Data, l.Timestamp, &log)
		}
	}
	for _, wr := range s.Warnings {
		if x := w.byID[wr.Vertex]; x != nil {
			fmt.Fprintf(&log, "#%d WARN: %s\n", x.number, wr.Short)
		}
	}
	// The end of a vertex comes after its output even when both are in one message.
	for _, v := range s.Vertexes {
		if x := w.byID[v.Digest]; x != nil {
			x.close(&log)
		}
	}
	var progress []runner.Progress
	for _, x := range w.order {
		if changed[x] {
			progress = append(progress, x.progress())
		}
	}
	w.mu.Unlock()
	if log.Len() > 0 {
		_, _ = w.report.Write(log.Bytes())
	}
	if len(progress) > 0 {
		w.report.Progress(progress...)
	}
}

// vertex takes in the state of a vertex; nil while it has not begun.
func (w *Watch) vertex(v *client.Vertex, log *bytes.Buffer) *vertex {
	if v.Started == nil && v.Error == "" && !v.Cached {
		return nil
	}
	x := w.byID[v.Digest]
	if x == nil {
		x = w.add(v.Digest, &vertex{name: w.mask.Text(w.called(v.Name))})
	}
	x.gone = false
	if v.Started != nil && (x.started.IsZero() || v.Started.Before(x.started)) {
		x.started = *v.Started
	}
	if v.Completed != nil && v.Completed.After(x.finished) {
		x.finished = *v.Completed
	}
	if v.Completed == nil && v.Started != nil && v.Started.After(x.finished) && !x.finished.IsZero() {
		x.finished = time.Time{} // it goes on
		x.footer, x.err = x.footer && x.err == "", ""
	}
	x.cached = v.Cached
	if v.Error != "" && !isImport(v.Name) { // which costs nothing but the cache
		x.err = w.mask.Text(v.Error)
	}
	if !x.header {
		x.header = true
		if x.number > 1 {
			log.WriteByte('\n')
		}
		fmt.Fprintf(log, "#%d %s\n", x.number, x.name)
	}
	return x
}

func (x *vertex) print(stream int, data []byte, at time.Time, log *bytes.Buffer) {
	f := &x.feeds[0]
	if stream == standardError {
		f = &x.feeds[1]
	}
	_, _ = f.masked.Write(data) // a Buffer never fails
	x.lines(f, at, log)
}

// lines takes what is masked.
func (x *vertex) lines(f *feed, at time.Time, log *bytes.Buffer) {
	defer f.clean.Reset()
	data := f.clean.Bytes()
	x.output = append(x.output, data...)
	if len(x.output) > 2*keptOutput {
		x.output = append([]byte(nil), x.output[len(x.output)-keptOutput:]...)
	}
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			if f.line = append(f.line, data...); len(f.line) > lineLimit {
				x.flush(f, at, log)
			}
			return
		}
		f.line = append(f.line, data[:i]...)
		data = data[i+1:]
		x.flush(f, at, log)
	}
}

// rest writes what is left when the output has ended.
func (x *vertex) rest(at time.Time, log *bytes.Buffer) {
	for i := range x.feeds {
		f := &x.feeds[i]
		f.masked.Flush()
		x.lines(f, at, log)
		if len(f.line) > 0 {
			x.flush(f, at, log)
		}
	}
}

func (x *vertex) flush(f *feed, at time.Time, log *bytes.Buffer) {
	line := bytes.TrimRight(f.line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:] // a progress bar that was drawn over: its last state
	}
	fmt.Fprintf(log, "#%d %.3f %s\n", x.number, at.Sub(x.started).Seconds(), line)
	f.line = f.line[:0]
}

// transfer logs the end of a transfer, not its way there.
func (x *vertex) transfer(s *client.VertexStatus, log *bytes.Buffer) {
	x.status = *s
	if s.Completed == nil || x.announced[s.ID] {
		return
	}
	x.announced[s.ID] = true
	size := ""
	if s.Total > 0 {
		size = fmt.Sprintf(" %s", bytesize(s.Total))
	}
	took := ""
	if s.Started != nil {
		took = fmt.Sprintf(" %.1fs", s.Completed.Sub(*s.Started).Seconds())
	}
	fmt.Fprintf(log, "#%d %s%s%s done\n", x.number, s.ID, size, took)
}

func bytesize(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%dB", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.2fkB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.2fMB", float64(n)/1e6)
	default:
		return fmt.Sprintf("%.2fGB", float64(n)/1e9)
	}
}

func (x *vertex) close(log *bytes.Buffer) {
	if x.footer || (x.finished.IsZero() && x.err == "") {
		return
	}
	x.footer = true
	x.rest(x.finished, log)
	switch {
	case x.canceled():
		fmt.Fprintf(log, "#%d CANCELED\n", x.number)
	case x.err != "":
		fmt.Fprintf(log, "#%d ERROR: %s\n", x.number, x.err)
	case x.cached:
		fmt.Fprintf(log, "#%d CACHED\n", x.number)
	default:
		fmt.Fprintf(log, "#%d DONE %.1fs\n", x.number, x.finished.Sub(x.started).Seconds())
	}
}

func (x *vertex) canceled() bool { return strings.HasSuffix(x.err, "context canceled") }

func (x *vertex) progress() runner.Progress {
	return runner.Progress{
		ID: fmt.Sprintf("#%d", x.number), Name: x.name, Started: x.started, Finished: x.finished,
		Cached: x.cached, Error: x.err, Current: x.status.Current, Total: x.status.Total, Detail: x.status.ID,
	}
}

// finish writes what lines are left when a solve was cut off.
func (w *Watch) finish() {
	w.mu.Lock()
	var log bytes.Buffer
	for _, x := range w.order {
		x.rest(time.Now(), &log)
	}
	w.mu.Unlock()
	if log.Len() > 0 {
		_, _ = w.report.Write(log.Bytes())
	}
}

// Steps are the vertices that began, in the order of their start. What did not end
// has the error "did not end" and ends with the last thing that is known.
func (w *Watch) Steps() []runner.Step {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last time.Time
	for _, x := range w.order {
		for _, at := range []time.Time{x.started, x.finished} {
			if at.After(last) {
				last = at
			}
		}
	}
	var out []runner.Step
	for _, x := range w.order {
		if x.started.IsZero() || x.gone {
			continue
		}
		out = append(out, x.step(last))
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Started.Before(out[j].Started) })
	if len(out) > maxSteps {
		out = out[:maxSteps]
	}
	return out
}

// Failed is the vertex with that digest, or the first one that has an error of its own.
func (w *Watch) Failed(id string) (name string, output []byte, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.byID[digest.Digest(id)]
	for _, v := range w.order {
		if x == nil && v.err != "" && !v.canceled() && !v.gone {
			x = v
		}
	}
	if x == nil {
		return "", nil, false
	}
	return x.name, append([]byte(nil), x.output...), true
}

// Tail is the last lines of output, for a message.
func Tail(output []byte) string {
	lines := strings.Split(strings.TrimRight(strings.ToValidUTF8(string(output), "\uFFFD"), "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	for i, l := range lines {
		l = strings.TrimRight(l, "\r")
		if j := strings.LastIndexByte(l, '\r'); j >= 0 {
			l = l[j+1:]
		}
		if len(l) > 400 {
			l = l[:400] + "…"
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}
