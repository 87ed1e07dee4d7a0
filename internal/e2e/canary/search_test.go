//go:build e2e

package canary_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// forms of values, written here again: the search must not rest on what it tests.
func forms(values ...string) [][]byte {
	var out [][]byte
	for _, v := range values {
		for _, text := range append(strings.Split(v, "\n"), v) {
			list := []string{text, url.QueryEscape(text), url.PathEscape(text), hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text)))}
			if data, err := json.Marshal(text); err == nil {
				list = append(list, string(data[1:len(data)-1]))
			}
			for shift := range 3 {
				for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
					all := enc.EncodeToString([]byte(strings.Repeat("x", shift) + text))
					list = append(list, all[(shift*8+5)/6:(shift+len(text))*8/6])
				}
			}
			for _, form := range list {
				out = append(out, []byte(form))
			}
		}
	}
	return out
}

// search is what is looked for, and where it was found.
type search struct {
	forms [][]byte
	mu    sync.Mutex
	found map[string]bool
}

func newSearch(values ...string) *search {
	return &search{forms: forms(values...), found: map[string]bool{}}
}

func (s *search) in(place string, data []byte) {
	flat := bytes.ReplaceAll(data, []byte("\n"), nil) // base64 breaks its lines
	for _, form := range s.forms {
		if bytes.Contains(data, form) || bytes.Contains(flat, form) {
			s.mu.Lock()
			s.found[place] = true
			s.mu.Unlock()
			return
		}
	}
}

func (s *search) places() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for p := range s.found {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// everything that the farm keeps: files, also within compressed ones, streams, spans.
func (s *search) everything(t *testing.T, f *farm) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(f.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(name, f.path("bin")+"/") {
			return nil //nolint:nilerr // files come and go
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		files++
		rel := strings.TrimPrefix(name, f.dir+"/")
		place, _, _ := strings.Cut(rel, "/")
		if place == "bk" {
			place = filepath.Dir(rel) // there is much
		}
		s.in("files in "+place, data)
		s.in("compressed files in "+place, unpacked(data))
		return nil
	})
	must(t, err)
	messages := s.streams(t, f)
	exported := f.spans.all()
	s.in("spans", exported)
	t.Logf("searched %d files, %d messages, %d bytes of spans", files, messages, len(exported))
	if files < 50 || messages < 20 || len(exported) < 1000 {
		t.Error("that is less than a run leaves: the search does not look where things are")
	}
}

// unpacked is what data is compressed from, as layers of images are and what tests leave; nil: it is not.
func unpacked(data []byte) []byte {
	if r, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		plain, _ := io.ReadAll(r)
		return plain
	}
	if r, err := zstd.NewReader(bytes.NewReader(data)); err == nil {
		defer r.Close()
		plain, _ := io.ReadAll(r)
		return plain
	}
	return nil
}

// logged is what a message has of logs that are packed. Its header has their sizes: of each block
// its bytes, and behind a slash how many it is packed from; where it has several logs, behind the
// name of each, its offset and its size.
func logged(m *jetstream.RawStreamMsg) (plain []byte) {
	sizes := strings.Fields(m.Header.Get("Slipway-Blocks"))
	for _, h := range m.Header["Slipway-Log"] {
		switch words := strings.Fields(h); {
		case len(words) > 3:
			sizes = append(sizes, words[3:]...)
		case len(words) == 3:
			sizes = append(sizes, words[2])
		}
	}
	data := m.Data
	for _, size := range sizes {
		size, _, packed := strings.Cut(size, "/")
		n, err := strconv.Atoi(size)
		if err != nil || n > len(data) {
			break
		}
		if packed {
			if some, err := s2.Decode(nil, data[:n]); err == nil {
				plain = append(plain, some...)
			}
		} else {
			plain = append(plain, data[:n]...)
		}
		data = data[n:]
	}
	return plain
}

// streams reads every message of every stream: the journal, logs, buckets of keys and of objects.
func (s *search) streams(t *testing.T, f *farm) (n int) {
	t.Helper()
	conn, err := nats.Connect("nats://" + f.nats)
	must(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	must(t, err)
	list := js.ListStreams(t.Context())
	for info := range list.Info() {
		stream, err := js.Stream(t.Context(), info.Config.Name)
		must(t, err)
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq && seq > 0; seq++ {
			m, err := stream.GetMsg(t.Context(), seq)
			if err != nil {
				continue // purged, or taken from the queue
			}
			n++
			s.in("stream "+info.Config.Name, fmt.Appendf(nil, "%s %v %s", m.Subject, m.Header, m.Data))
			s.in("packed logs in stream "+info.Config.Name, logged(m))
			s.in("compressed messages in stream "+info.Config.Name, unpacked(m.Data))
		}
	}
	must(t, list.Err())
	return n
}

// processes looks at the arguments of all processes, and at the environment of the
// farm's own, again and again until stop is closed. A test's own environment has the
// value, which is its purpose.
func (s *search) processes(f *farm, stop <-chan struct{}) (looks int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		looks++
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			args, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
			s.in("arguments of processes", args)
			if slices.Contains(f.pids, pid) || bytes.Contains(args, []byte("buildkitd")) {
				env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
				s.in("environment of processes", env)
			}
		}
		select {
		case <-stop:
			return looks
		case <-tick.C:
		}
	}
}
