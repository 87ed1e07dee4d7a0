package buildkit

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/worker/runner"
)

// Running is a step that the worker itself carries out within a solve, such as a
// command in a container. Its output goes where that of vertices goes.
type Running struct {
	w *Watch
	x *vertex
}

// Begin adds a step that runs from now on.
func (w *Watch) Begin(name, kind string) *Running {
	now := time.Now()
	w.mu.Lock()
	name = w.mask.Text(name)
	x := w.add(digest.FromString(fmt.Sprintf("%s %d", name, len(w.order)+1)), &vertex{name: name, kind: kind, started: now, header: true})
	var log bytes.Buffer
	if x.number > 1 {
		log.WriteByte('\n')
	}
	fmt.Fprintf(&log, "#%d %s\n", x.number, x.name)
	progress := x.progress()
	w.mu.Unlock()
	_, _ = w.report.Write(log.Bytes())
	w.report.Progress(progress)
	return &Running{w: w, x: x}
}

// Write takes standard output of the step. It never fails.
func (r *Running) Write(p []byte) (int, error) { return r.write(0, p) }

// Stderr takes standard error of the step.
func (r *Running) Stderr() io.WriteCloser { return stderr{r} }

type stderr struct{ *Running }

func (s stderr) Write(p []byte) (int, error) { return s.write(standardError, p) }

func (r *Running) write(stream int, p []byte) (int, error) {
	r.w.mu.Lock()
	var log bytes.Buffer
	r.x.print(stream, p, time.Now(), &log)
	r.w.mu.Unlock()
	if log.Len() > 0 {
		_, _ = r.w.report.Write(log.Bytes())
	}
	return len(p), nil
}

// Close does nothing: a process closes its two outputs before it has ended.
func (r *Running) Close() error { return nil }

// End says how the step ended; empty: well. It answers the end of the step's output.
func (r *Running) End(problem string) []byte {
	r.w.mu.Lock()
	r.x.finished, r.x.err = time.Now(), r.w.mask.Text(problem)
	var log bytes.Buffer
	r.x.close(&log)
	progress := r.x.progress()
	output := append([]byte(nil), r.x.output...)
	r.w.mu.Unlock()
	_, _ = r.w.report.Write(log.Bytes())
	r.w.report.Progress(progress)
	return output
}

// Output is what all vertices printed, one after the other in the order of their
// start, the end of it where it is long; not that of a solve that does not count.
func (w *Watch) Output() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []byte
	for _, x := range w.order {
		if !x.gone {
			out = append(out, x.output...)
		}
	}
	if len(out) > 4*keptOutput {
		out = out[len(out)-4*keptOutput:]
	}
	return out
}

// step is the record of a vertex that began; last stands in for an end that is not known.
func (x *vertex) step(last time.Time) runner.Step {
	s := runner.Step{
		Name: x.name, Kind: x.kind, Started: x.started, Finished: x.finished, Cached: x.cached, Error: x.err,
		Attributes: map[string]string{"number": fmt.Sprint(x.number)},
	}
	if s.Kind == "" {
		s.Kind = "vertex"
	}
	if s.Finished.IsZero() {
		s.Finished = last
		if s.Error == "" {
			s.Error = "did not end"
		}
	}
	return s
}
