package web_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// answer of a request.
type answer struct {
	code   int
	header http.Header
	body   string
	err    error // of reading the body
}

func ask(t *testing.T, c *http.Client, address string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(data), err}
}

func TestARawLogIsAFileWithRanges(t *testing.T) {
	f := &farm{runs: []*pb.Run{sample()}}
	for i := range 1000 {
		f.raw = fmt.Appendf(f.raw, "line %d %s\n", i, evil)
	}
	size := len(f.raw)
	c, site := browser(t, f, "looker")
	raw := site + "/runs/shop-7-abcd/log/raw?task=test/api/unit"
	whole := ask(t, c, raw)
	if whole.err != nil || whole.code != http.StatusOK || whole.body != string(f.raw) {
		t.Fatalf("%d, %d bytes of %d, %v", whole.code, len(whole.body), size, whole.err)
	}
	h := whole.header
	if h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Disposition") != "inline; filename=shop-7-abcd-test-api-unit-2.log" {
		t.Errorf("headers %v", h)
	}
	for _, r := range []struct{ header, content, body string }{
		{"bytes=0-9", fmt.Sprintf("bytes 0-9/%d", size), string(f.raw[:10])},
		{"bytes=5000-7999", fmt.Sprintf("bytes 5000-7999/%d", size), string(f.raw[5000:8000])},
		{"bytes=-7", fmt.Sprintf("bytes %d-%d/%d", size-7, size-1, size), string(f.raw[size-7:])},
		{fmt.Sprintf("bytes=%d-", size-3), fmt.Sprintf("bytes %d-%d/%d", size-3, size-1, size), string(f.raw[size-3:])},
	} {
		for _, tag := range []string{"", h.Get("ETag")} { // as one who goes on with a download asks
			a := ask(t, c, raw+"&attempt=2", "Range", r.header, "If-Range", tag)
			if a.err != nil || a.code != http.StatusPartialContent || a.header.Get("Content-Range") != r.content || a.body != r.body {
				t.Errorf("%s: %d %s, %d bytes, %v", r.header, a.code, a.header.Get("Content-Range"), len(a.body), a.err)
			}
		}
	}
	if a := ask(t, c, raw, "Range", fmt.Sprintf("bytes=%d-", size)); a.code != http.StatusRequestedRangeNotSatisfiable || a.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
		t.Errorf("behind the end: %d %s", a.code, a.header.Get("Content-Range"))
	}
	for query, want := range map[string]int{"&attempt=3": http.StatusNotFound, "&attempt=x": http.StatusBadRequest, "&attempt=-1": http.StatusBadRequest} {
		if a := ask(t, c, raw+query); a.code != want {
			t.Errorf("%s: %d", query, a.code)
		}
	}
	nobody := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if a := ask(t, nobody, raw); a.code != http.StatusSeeOther || strings.Contains(a.body, "line") {
		t.Errorf("without a session: %d %s", a.code, a.body)
	}
	// A log whose rest is lost is not taken for a whole one.
	f.gone = 4000
	if a := ask(t, c, raw); a.err == nil || len(a.body) > 4000 {
		t.Errorf("%d, %d bytes, %v", a.code, len(a.body), a.err)
	}
	if a := ask(t, c, site+"/runs/shop-7-abcd/log?task=test/api/unit"); !strings.Contains(a.body, `href="/runs/shop-7-abcd/log/raw?task=test%2Fapi%2Funit&amp;attempt=1"`) {
		t.Errorf("the page of the log has no link to it:\n%s", a.body)
	}
}
