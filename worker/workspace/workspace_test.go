package workspace_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/worker/workspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func archive(tb testing.TB, headers ...tar.Header) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := []byte("content of " + h.Name)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(body); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func file(name string, mode int64) tar.Header {
	return tar.Header{Name: name, Mode: mode, Typeflag: tar.TypeReg}
}

func link(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
}

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	size, err := workspace.Extract(dir, bytes.NewReader(archive(t,
		tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "abc"}},
		tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755}, file("a/run.sh", 0o4755), file("b/c/x", 0o644), link("a/x", "../b/c/x"),
	)), workspace.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(len("content of a/run.sh") + len("content of b/c/x")); size != want {
		t.Errorf("size %d, want %d", size, want)
	}
	for name, mode := range map[string]os.FileMode{"a/run.sh": 0o755, "b/c/x": 0o644, "b/c": os.ModeDir | 0o755, "a": os.ModeDir | 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode || info.ModTime().Unix() != 315532800 {
			t.Errorf("%s: mode %s, time %s", name, info.Mode(), info.ModTime())
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "a/x")); err != nil || string(data) != "content of b/c/x" {
		t.Errorf("through the link: %q, %v", data, err)
	}
}

func TestRefused(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"parent":            {file("../x", 0o644)},
		"parent further in": {file("a/../../x", 0o644)},
		"absolute":          {file("/etc/x", 0o644)},
		"link out":          {link("a", "../x")},
		"absolute link":     {link("a", "/etc/passwd")},
		"twice":             {file("a", 0o644), file("a", 0o644)},
		"file as folder":    {file("a", 0o644), file("a/b", 0o644)},
		"device":            {{Name: "dev", Typeflag: tar.TypeChar}},
		"hard link":         {file("a", 0o644), {Name: "b", Linkname: "a", Typeflag: tar.TypeLink}},
		"too many":          {file("a", 0o644), file("b", 0o644), file("c", 0o644), file("d", 0o644)},
		"too large":         {file(strings.Repeat("long", 20), 0o644)},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := workspace.Extract(dir, bytes.NewReader(archive(t, headers...)), workspace.Limits{Files: 3, Bytes: 80})
			if !errors.Is(err, workspace.ErrRefused) {
				t.Errorf("error %v, want refused", err)
			}
			if entries, _ := os.ReadDir(outer); len(entries) != 1 {
				t.Errorf("something was written outside: %v", entries)
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		data := archive(t, file("a", 0o644))
		if _, err := workspace.Extract(t.TempDir(), bytes.NewReader(data[:520]), workspace.Limits{}); err == nil || errors.Is(err, workspace.ErrRefused) {
			t.Errorf("error %v, want one that is not the repository's fault", err)
		}
	})
}

func FuzzExtract(f *testing.F) {
	f.Add(archive(f, file("a", 0o644), link("b", "a")))
	f.Add(archive(f, file("../a", 0o644)))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = workspace.Extract(dir, bytes.NewReader(data), workspace.Limits{Files: 10, Bytes: 1 << 16})
		if entries, _ := os.ReadDir(outer); len(entries) != 1 {
			t.Errorf("something was written outside: %v", entries)
		}
	})
}

func open(t *testing.T, keep int64) *workspace.Cache {
	t.Helper()
	c, err := workspace.Open(workspace.Config{Dir: t.TempDir(), Keep: keep, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestSharing(t *testing.T) {
	c := open(t, 0)
	data := archive(t, file("a", 0o644))
	var fetches atomic.Int32
	fetch := func(_ context.Context, _ workspace.Source, w io.Writer) error {
		fetches.Add(1)
		_, err := w.Write(data)
		return err
	}
	var wg sync.WaitGroup
	for i := range 20 {
		paths := []string{"x", "y"}
		if i%2 == 0 {
			paths = []string{"y", "x"}
		}
		wg.Go(func() {
			dir, _, release, err := c.Acquire(t.Context(), workspace.Source{Project: "shop", Commit: "c1", Paths: paths}, fetch)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches for one source", n)
	}
}

func TestFailedFetchIsForgotten(t *testing.T) {
	c := open(t, 0)
	s := workspace.Source{Commit: "c1"}
	data := archive(t, file("a", 0o644))
	away := errors.New("coordinator away")
	_, _, _, err := c.Acquire(t.Context(), s, func(_ context.Context, _ workspace.Source, w io.Writer) error {
		_, _ = w.Write(data[:600])
		return away
	})
	if !errors.Is(err, away) {
		t.Fatalf("error %v, want the fetch's", err)
	}
	_, reused, release, err := c.Acquire(t.Context(), s, func(_ context.Context, _ workspace.Source, w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil || reused {
		t.Fatalf("reused %v, error %v", reused, err)
	}
	release()
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := open(t, 2*int64(len("content of a")))
	get := func(commit string) (dir string, reused bool, release func()) {
		t.Helper()
		dir, reused, release, err := c.Acquire(t.Context(), workspace.Source{Commit: commit}, func(_ context.Context, _ workspace.Source, w io.Writer) error {
			_, err := w.Write(archive(t, file("a", 0o644)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return dir, reused, release
	}
	kept, _, release := get("in use")
	for _, commit := range []string{"1", "2", "1", "3"} {
		_, _, r := get(commit)
		r()
	}
	for commit, want := range map[string]bool{"1": true, "3": true} {
		_, reused, r := get(commit)
		r()
		if reused != want {
			t.Errorf("commit %s reused: %v, want %v", commit, reused, want)
		}
	}
	_, reused, r := get("2")
	r()
	if reused {
		t.Error("the least recently used folder was kept")
	}
	if _, err := os.Stat(filepath.Join(kept, "a")); err != nil {
		t.Errorf("a folder in use was removed: %v", err)
	}
	release()
}

func TestOneProcessPerFolder(t *testing.T) {
	cfg := workspace.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	c, err := workspace.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workspace.Open(cfg); err == nil || !strings.Contains(err.Error(), "in use by another worker") {
		t.Errorf("error %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
