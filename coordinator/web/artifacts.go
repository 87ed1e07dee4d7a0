package web

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// artifactLink is where what a test left is.
type artifactLink struct{ Name, Note, Path string }

func artifactLinks(run string, t *pb.Task) []artifactLink {
	var out []artifactLink
	for _, a := range t.GetResult().GetArtifacts() {
		path := "/runs/" + url.PathEscape(run) + "/artifacts"
		for part := range strings.SplitSeq(t.GetId()+"/"+a.GetName(), "/") {
			path += "/" + url.PathEscape(part)
		}
		out = append(out, artifactLink{a.GetName(), plural(int(a.GetFiles()), "file", "files") + ", " + size(a.GetSize()), path})
	}
	return out
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
}

// artifact answers what a test left, as a file to be kept: whatever is in it, a browser shows nothing of it here. One
// that turns out to be broken ends before the bytes that were announced.
func (w *Web) artifact(out http.ResponseWriter, r *http.Request) {
	if w.followers.Add(1) > maxFollowers {
		w.followers.Add(-1)
		http.Error(out, "too many pages are being followed; try again later", http.StatusServiceUnavailable)
		return
	}
	defer w.followers.Add(-1)
	run, at := r.PathValue("run"), r.PathValue("artifact")
	i := strings.LastIndexByte(at, '/')
	if i < 0 {
		w.nothing(out, r)
		return
	}
	to := &file{ctx: r.Context(), out: out, ctl: http.NewResponseController(out)}
	err := w.cfg.Runs.Download(&pb.DownloadRequest{Run: run, Task: at[:i], Artifact: at[i+1:]}, to)
	switch {
	case err == nil:
	case !to.begun:
		w.failed(out, r, err)
	default:
		if r.Context().Err() == nil {
			w.cfg.Log.WarnContext(r.Context(), "an artifact was not sent to its end", "run", run, "task", at[:i], "artifact", at[i+1:], "err", err)
		}
		panic(http.ErrAbortHandler) // too late for a status: the answer is cut off
	}
}

// file writes a download as an answer.
type file struct {
	grpc.ServerStream
	ctx   context.Context //nolint:containedctx // it is what a stream answers
	out   http.ResponseWriter
	ctl   *http.ResponseController
	begun bool
}

func (f *file) Context() context.Context { return f.ctx }

// Send writes a piece. A browser that takes nothing for a beat is given up.
func (f *file) Send(m *pb.DownloadResponse) error {
	if !f.begun {
		h := f.out.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": m.GetFile()}))
		h.Set("Content-Length", strconv.FormatInt(m.GetSize(), 10))
		h.Set("ETag", strconv.Quote(m.GetDigest()))
		f.begun = true
	}
	if err := f.ctl.SetWriteDeadline(time.Now().Add(beat)); err != nil {
		return fmt.Errorf("send an artifact: %w", err)
	}
	_, err := f.out.Write(m.GetData())
	return err //nolint:wrapcheck // of the browser's connection
}
