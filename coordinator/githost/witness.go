package githost

import (
	"bytes"
	"io"
	"net/http"
)

// witness sees what came of one call, whatever a library makes of it: libraries have
// errors of their own for limits, redirects and bodies that they cannot read.
type witness struct {
	base http.RoundTripper

	asked  bool
	host   string
	status int // 0: no answer
	header http.Header
	body   []byte // the beginning
	err    error
}

// RoundTrip implements http.RoundTripper. The last answer is the one that counts: those
// before it were redirects.
func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	w.asked, w.host, w.status = true, req.URL.Host, 0
	resp, err := w.base.RoundTrip(req)
	if err != nil {
		w.err = err
		return nil, err
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what came of it
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	w.status, w.header, w.body = resp.StatusCode, resp.Header, body
	return resp, nil
}
