package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// rawLink is where the log of one attempt is as it was written.
type rawLink struct {
	Attempt int32
	Path    string
}

func rawLinks(run string, t *pb.Task) []rawLink {
	var out []rawLink
	for _, a := range t.GetAttempts() {
		if a.GetWorker() != "" {
			out = append(out, rawLink{a.GetNumber(), "/runs/" + url.PathEscape(run) + "/log/raw?task=" + queryEscape(t.GetId()) + "&attempt=" + strconv.Itoa(int(a.GetNumber()))})
		}
	}
	return out
}

// rawLog answers the log of one attempt, so far, or a range of it. Without an attempt it is
// the last.
func (w *Web) rawLog(out http.ResponseWriter, r *http.Request) {
	if w.followers.Add(1) > maxFollowers {
		w.followers.Add(-1)
		http.Error(out, "too many pages are being followed; try again later", http.StatusServiceUnavailable)
		return
	}
	defer w.followers.Add(-1)
	q := r.URL.Query()
	attempt, err := strconv.ParseInt("0"+q.Get("attempt"), 10, 32)
	if err != nil || strings.HasPrefix(q.Get("attempt"), "-") {
		http.Error(out, "attempt is a number from 1 on", http.StatusBadRequest)
		return
	}
	run, task := r.PathValue("run"), q.Get("task")
	stat, err := w.cfg.Logs.Stat(r.Context(), &pb.StatRequest{Run: run, Task: task, Attempt: int32(attempt)})
	if err != nil {
		w.failed(out, r, err)
		return
	}
	h := out.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	name := strings.NewReplacer("/", "-", "@", "-").Replace(fmt.Sprintf("%s-%s-%d.log", run, task, stat.GetAttempt()))
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": name}))
	if stat.GetEnded() { // it does not change any more
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d", run, task, stat.GetAttempt(), stat.GetSize()))
		h.Set("ETag", fmt.Sprintf(`"%x"`, sum[:16]))
	}
	log := &logReader{
		ctx: r.Context(), logs: w.cfg.Logs, size: stat.GetSize(), to: http.NewResponseController(out),
		req: &pb.TailRequest{Run: run, Task: task, Attempt: stat.GetAttempt()},
	}
	defer log.close()
	http.ServeContent(out, r, "", time.Time{}, log)
	if log.err != nil && r.Context().Err() == nil { // too late for a status: the answer is cut off
		w.cfg.Log.WarnContext(r.Context(), "a log was not sent to its end", "run", run, "task", task, "attempt", stat.GetAttempt(), "err", log.err)
	}
}

// logReader is a log as a file.
type logReader struct {
	ctx    context.Context //nolint:containedctx // of the request
	logs   Logs
	req    *pb.TailRequest
	size   int64
	to     *http.ResponseController
	offset int64
	err    error

	open *io.PipeReader // what comes from the offset on; nil: nothing does yet
	end  context.CancelFunc
	done chan struct{}
}

// Seek implements io.Seeker.
func (l *logReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += l.offset
	case io.SeekEnd:
		offset += l.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a log")
	}
	if offset != l.offset {
		l.close()
		l.offset = offset
	}
	return offset, nil
}

// Read implements io.Reader. A browser that takes nothing for a beat is given up.
func (l *logReader) Read(p []byte) (int, error) {
	if l.offset >= l.size {
		return 0, io.EOF
	}
	if l.open == nil {
		l.begin()
	}
	if err := l.to.SetWriteDeadline(time.Now().Add(beat)); err != nil {
		return 0, fmt.Errorf("send a log: %w", err)
	}
	n, err := l.open.Read(p)
	l.offset += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		l.err = err
	}
	return n, err //nolint:wrapcheck // io.EOF is compared
}

func (l *logReader) begin() {
	ctx, cancel := context.WithCancel(l.ctx)
	r, w := io.Pipe()
	done := make(chan struct{})
	l.open, l.end, l.done = r, cancel, done
	req := &pb.TailRequest{Run: l.req.GetRun(), Task: l.req.GetTask(), Attempt: l.req.GetAttempt(), Offset: l.offset, Bytes: l.size - l.offset}
	go func() { // ends with close
		defer close(done)
		_ = w.CloseWithError(l.logs.Tail(req, &piped{ctx: ctx, w: w}))
	}()
}

func (l *logReader) close() {
	if l.open == nil {
		return
	}
	l.end()
	_ = l.open.Close()
	<-l.done
	l.open = nil
}

// piped writes what a log answers, as it is.
type piped struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // it is what a stream answers
	w   *io.PipeWriter
}

func (p *piped) Context() context.Context { return p.ctx }

func (p *piped) Send(m *pb.TailResponse) error {
	_, err := p.w.Write(m.GetData())
	return err //nolint:wrapcheck // the reader's own
}
